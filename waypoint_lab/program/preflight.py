"""Checks of the target before the first resource is registered."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pulumi

from embedded.errors import ClusterError
from embedded.identity import verify_identity
from embedded.project import PROJECT_FOLDER, default_state
from waypoint_lab import kubectl
from waypoint_lab.config.models import KindTarget
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError, KubectlError
from waypoint_lab.program.backend_checks import Application as Application
from waypoint_lab.program.backend_checks import application

SECONDS = 30
Missing = Callable[[LabConfig], Sequence[str]]


class Preflight:
    """Check of the target's requirements. It runs in the background."""

    def __init__(self, config: LabConfig, missing: Missing) -> None:
        """Start the check.

        Args:
            config: The stack's configuration.
            missing: Returns one line for each requirement that an existing cluster does not meet.

        Raises:
            KubectlError: kubectl is not on PATH.
        """
        kubectl.require()
        stack = this_stack()  # which another thread does not know
        checks: dict[str, Callable[[LabConfig], Application | None]] = {
            "embedded": embedded,
            "existing": lambda config: existing(config, missing(config)),
            "kind": lambda config: kind(config, stack),
        }
        self._pool = ThreadPoolExecutor(1)
        self._answer = self._pool.submit(checks[config.target.kind], config)

    def result(self) -> Application | None:
        """Wait for the check.

        Returns:
            The application; None on kind, before there is one.

        Raises:
            ConfigError: The cluster cannot be used; one line for each reason.
        """
        self._pool.shutdown()
        return self._answer.result()


def embedded(config: LabConfig) -> Application:
    """Check that the kubeconfig leads to the embedded cluster, and that the Service exists. Raises ConfigError."""
    try:
        verify_identity(default_state())
    except ClusterError as error:
        raise ConfigError(str(error)) from None
    try:
        if config.installs_bookinfo:
            kubectl.run(config.target, "get", "namespace", "default", "--output=name")
        return application(config)
    except KubectlError as error:
        raise ConfigError(f"embedded cluster: {error}; check `lab status` and KUBECONFIG") from None


def existing(config: LabConfig, missing: Sequence[str]) -> Application:
    """Check an existing cluster. Raise ConfigError if it lacks something."""
    if len(missing) == 1:
        raise ConfigError(f"the cluster is not ready for the lab: {missing[0]}")
    if missing:
        head = f"the cluster is not ready for the lab; fix {len(missing)} problems:"
        raise ConfigError("\n  ".join([head, *missing]))
    try:
        return application(config)
    except KubectlError as error:
        raise ConfigError(str(error)) from None


def this_stack() -> str:
    """Return the names of the project and the stack, as the owner file of a kind cluster has them."""
    return f"{pulumi.get_project()}/{pulumi.get_stack()}"


def kind(config: LabConfig, stack: str) -> Application | None:
    """Check that kind works, and that the cluster's name is free or its owner is `stack`. Raises ConfigError."""
    for tool in ("kind", "istioctl"):
        if shutil.which(tool) is None:
            raise ConfigError(f'{tool} is not on PATH; in this clone: eval "$(.venv/bin/lab env --stack NAME)"')
    command = ["kind", "get", "clusters"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"kind: no answer within {SECONDS} s; start Docker or Podman") from None
    if done.returncode:
        line = (done.stderr.strip().splitlines() or ["kind failed without a message"])[-1]
        raise ConfigError(f"kind: there is no container runtime; start Docker or Podman ({line})")
    assert isinstance(config.target, KindTarget)
    name = config.target.name
    if name in done.stdout.split() and (other := _other_owner(config.target, stack)) is not None:
        renamed = f"if it was renamed, write {stack} into {config.target.kubeconfig}.owner"
        but = f" but of {other}; set another name, destroy that stack, or, {renamed}"
        unknown = f"; set another name, or remove it: kind delete cluster --name {name}"
        raise ConfigError(
            f"waypoint-lab:target.name: kind has a cluster {name} already, not of this stack{but if other else unknown}"
        )
    return _application_on_kind(config) if name in done.stdout.split() else None


def _other_owner(target: KindTarget, stack: str) -> str | None:
    """Return the owner of a cluster that is not of `stack`, empty if it is not known; None for one of `stack`."""
    try:
        owner = (PROJECT_FOLDER / f"{target.kubeconfig}.owner").read_text().strip()
    except FileNotFoundError:
        return ""
    return None if owner == stack else owner


def _application_on_kind(config: LabConfig) -> Application | None:
    """Return the application; None before the cluster and the user's own Service exist."""
    if not (PROJECT_FOLDER / config.target.kubeconfig).exists():
        return None
    where = ("service", config.app.service, "--namespace", config.app.namespace)
    try:
        found = config.installs_bookinfo or kubectl.get(config.target, *where)
        return application(config) if found else None
    except KubectlError as error:
        raise ConfigError(str(error)) from None
