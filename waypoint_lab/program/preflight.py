"""Questions to the cluster before anything is planned, so that what is wrong is said in plain lines."""

import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from embedded.errors import ClusterError
from embedded.identity import verify_identity
from embedded.project import default_state
from waypoint_lab.config.models import KindTarget
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure.probe import PROJECT_FOLDER, kubectl

SECONDS = 30


class Preflight:
    """Asks what the target needs; starts at once and is heard later, so that it costs little time of its own."""

    def __init__(self, config: LabConfig) -> None:
        """Starts asking. Raises ConfigError where kubectl is missing."""
        if shutil.which("kubectl") is None:
            raise ConfigError('kubectl is not on PATH; in this clone: eval "$(.venv/bin/lab env)"')
        self._pool = ThreadPoolExecutor(1)
        self._answer = self._pool.submit(CHECKS[config.target.kind], config)

    def result(self) -> None:
        """Waits for the answer. Raises ConfigError with a line for each thing that is not there."""
        self._pool.shutdown()
        self._answer.result()


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except FileNotFoundError:
        raise ConfigError(f'{command[0]} is not on PATH; in this clone: eval "$(.venv/bin/lab env)"') from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{' '.join(command[:2])} gave no answer within {SECONDS} s") from None


def _last(said: str, who: str = "kubectl") -> str:
    return (said.strip().splitlines() or [f"{who} said nothing"])[-1]


def embedded(config: LabConfig) -> None:
    """Check that the kubeconfig leads to the embedded cluster, and that the Service is there."""
    try:
        verify_identity(default_state())
    except ClusterError as error:
        raise ConfigError(str(error)) from None
    wanted = ["namespace", "default"]
    if not config.installs_bookinfo:
        wanted = ["service", config.app.service, "--namespace", config.app.namespace]
    done = _run(kubectl(config, "--request-timeout=10s", "get", *wanted, "--output", "name"))
    line = _last(done.stderr)
    if done.returncode and "NotFound" in line:
        where = f"{config.app.namespace}/{config.app.service}"
        raise ConfigError(
            f"there is no Service {where} in the cluster: set waypoint-lab:app.namespace and app.service ({line})"
        )
    if done.returncode:
        raise ConfigError(
            f"the cluster cannot be used: {line.removeprefix('error: ')}; is it up (lab status), is KUBECONFIG set?"
        )


def existing(config: LabConfig) -> None:
    """All that `lab doctor` looks at."""
    from waypoint_lab.cli import doctor  # a fifth of a second, which only these stacks are to pay

    found = [f"{item.what}: {item.found}; mend: {item.mend}" for item in doctor.missing(config)]
    if len(found) == 1:
        raise ConfigError(f"the cluster is not ready for the lab: {found[0]}")
    if found:
        raise ConfigError(
            "\n  ".join([f"the cluster is not ready for the lab, {len(found)} things are missing:", *found])
        )


def kind(config: LabConfig) -> None:
    """Whether kind works here, and whether the name is free or this stack's own."""
    for tool in ("kind", "istioctl"):
        if shutil.which(tool) is None:
            raise ConfigError(f'{tool} is not on PATH; in this clone: eval "$(.venv/bin/lab env --stack NAME)"')
    done = _run(["kind", "get", "clusters"])
    if done.returncode:
        raise ConfigError(f"kind has no container runtime: start Docker or Podman ({_last(done.stderr, 'kind')})")
    owner = PROJECT_FOLDER / f"{config.target.kubeconfig}.owner"
    assert isinstance(config.target, KindTarget)
    if config.target.name in done.stdout.split() and not owner.exists():
        raise ConfigError(
            f"kind has a cluster {config.target.name} already, not of this stack: set waypoint-lab:target.name "
            f"to another name, or remove it: kind delete cluster --name {config.target.name}"
        )


CHECKS: dict[str, Callable[[LabConfig], None]] = {"embedded": embedded, "existing": existing, "kind": kind}
