"""What the cluster knows of a fault with a length: whether it is still on, until when, or over."""

import hashlib
import json
import subprocess
from dataclasses import dataclass

import msgspec

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure.probe import PROJECT_FOLDER, kubectl

KUBECTL_SECONDS = 30
FAULT, UNTIL, EXPIRED = "waypoint-lab/fault", "waypoint-lab/fault-until", "waypoint-lab/fault-expired"


@dataclass(frozen=True)
class Record:
    """From the annotations of the VirtualServices: ids of the fault that is on, and of those that are over.

    `until` is the end of the one that is on, in RFC 3339; empty where it has not begun.
    """

    on: str = ""
    until: str = ""
    over: frozenset[str] = frozenset()


def fault_id(config: LabConfig) -> str:
    """An id of the declared fault; empty where it has no length. New settings or a new `fault.start` make another."""
    if not config.faulty or not config.fault.duration_seconds:
        return ""
    settings = [
        config.fault.delay.seconds if config.stages.delay else None,
        [config.fault.abort.status, config.fault.abort.percent] if config.stages.abort else None,
        [config.fault.at, config.fault.header_pair, config.fault.duration_seconds, config.fault.start],
    ]
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:10]


class Reading:
    """Asks for the record; starts at once and is heard later. Asks nothing where no fault has a length."""

    def __init__(self, config: LabConfig) -> None:
        """Starts kubectl."""
        self._process: subprocess.Popen[str] | None = None
        # A kind cluster that is not there yet knows of no fault.
        if fault_id(config) and (config.target.kind != "kind" or (PROJECT_FOLDER / config.target.kubeconfig).exists()):
            names = [f"{config.app.service}-fault", f"{config.app.service}-traffic"]  # of both owners
            what = ["get", "virtualservices.networking.istio.io", *names, "--namespace", config.app.namespace]
            command = kubectl(config, "--request-timeout=10s", *what, "--ignore-not-found", "--output", "json")
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(self) -> Record:
        """Waits for the answer. Raises ConfigError: without the record a fault that is over could come back."""
        if self._process is None:
            return Record()
        try:
            out, said = self._process.communicate(timeout=KUBECTL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise ConfigError(f"the cluster did not say within {KUBECTL_SECONDS} s whether the fault is over") from None
        if self._process.returncode:
            line = (said.strip().splitlines() or ["kubectl said nothing"])[-1]
            raise ConfigError(f"whether the fault is over cannot be read: {line}")
        return parse(out)


def parse(text: str) -> Record:
    """The record in kubectl's answer: nothing, one object, or a list."""
    document = json.loads(text) if text.strip() else {}
    found = [item["metadata"].get("annotations") or {} for item in document.get("items", [document]) if item]
    over = frozenset(item[EXPIRED] for item in found if item.get(EXPIRED))
    for item in found:
        fault = item.get(FAULT, "")
        if fault and fault not in over:
            known, _, until = item.get(UNTIL, "").partition(" ")
            return Record(fault, until if known == fault else "", over)
    return Record(over=over)


def effective(config: LabConfig, record: Record) -> LabConfig:
    """The config as it is in force: without delay and abort where they are over."""
    if fault_id(config) not in record.over:
        return config
    return msgspec.structs.replace(config, stages=msgspec.structs.replace(config.stages, delay=False, abort=False))


def now(config: LabConfig) -> LabConfig:
    """As `effective`, by what the cluster says. Raises ConfigError where it does not say."""
    return effective(config, Reading(config).result())
