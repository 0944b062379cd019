"""The cluster's record of faults that expire: the identifiers of those that have expired."""

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from embedded.project import PROJECT_FOLDER
from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError, KubectlError

UNTIL, EXPIRED = "waypoint-lab/fault-until", "waypoint-lab/fault-expired"
KIND = "virtualservices.networking.istio.io"


def fault_id(config: LabConfig) -> str:
    """Return the identifier of the declared fault; empty if it does not expire.

    Other settings of the fault, or another `fault.start`, give another identifier.
    """
    fault, stages = config.fault, config.stages
    if not config.faulty or not fault.duration_seconds:
        return ""
    settings = [
        fault.delay.seconds if stages.delay else None,
        [fault.abort.status, fault.abort.percent] if stages.abort else None,
        [fault.at, fault.header_pair, fault.duration_seconds, fault.start],
    ]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:10]


class RecordReader:
    """Reader of the record, in the background. It runs no query if no declared fault expires."""

    def __init__(self, config: LabConfig) -> None:
        """Start the query."""
        self._answer: Future[list[kubectl.Object]] | None = None
        target = config.target
        # The cluster of target kind does not exist before the first update.
        if fault_id(config) and (target.kind != "kind" or (PROJECT_FOLDER / target.kubeconfig).exists()):
            pool = ThreadPoolExecutor(1)
            names = [f"{config.app.service}-fault", f"{config.app.service}-traffic"]  # one of them exists
            self._answer = pool.submit(kubectl.items, target, KIND, *names, "--namespace", config.app.namespace)
            pool.shutdown(wait=False)

    def result(self) -> frozenset[str]:
        """Return the identifiers of the faults that have expired.

        Raises:
            ConfigError: The cluster does not answer. Without the record, a fault that has expired could start again.
        """
        try:
            with kubectl.readable(KIND):
                return read(self._answer.result()) if self._answer else frozenset()
        except KubectlError as error:
            raise ConfigError(
                f"record of the fault: {error}; check the cluster (lab status), and run the command again"
            ) from None


def read(items: Iterable[kubectl.Object]) -> frozenset[str]:
    """Return the identifiers of the expired faults, from the annotations of VirtualServices."""
    found = [item["metadata"].get("annotations") or {} for item in items]
    return frozenset(item[EXPIRED] for item in found if item.get(EXPIRED))


def effective(config: LabConfig, expired: frozenset[str]) -> LabConfig:
    """Return the configuration in force: without delay and abort if they have expired."""
    if fault_id(config) not in expired:
        return config
    return msgspec.structs.replace(config, stages=msgspec.structs.replace(config.stages, delay=False, abort=False))


def now(config: LabConfig) -> LabConfig:
    """Return the configuration in force now.

    Raises:
        ConfigError: The cluster does not answer.
    """
    return effective(config, RecordReader(config).result())
