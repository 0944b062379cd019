"""What a container needs of its Pod and a Pod of its node, and what they share: back-off, how times are written."""

import time
from pathlib import Path
from typing import Protocol

from embedded.kube import Kube, Object
from embedded.node.config import NodeConfig
from embedded.node.kubelet.mounts import Bind
from embedded.node.kubelet.sandbox import Addresses, Sandbox
from embedded.node.kubelet.volumes import Tokens
from embedded.node.launcher.client import LauncherClient

BACKOFF_SECONDS, BACKOFF_MAX, BACKOFF_FORGOTTEN = 10.0, 300.0, 600.0


class PodContext(Protocol):
    """What a container needs of its Pod."""

    config: NodeConfig
    launcher: LauncherClient
    store: Tokens
    sandbox: Sandbox | None
    folder: Path
    capacity: dict[str, str]

    def view(self) -> Object:
        """The Pod as it is now, with its addresses."""

    def binds(self, container: Object) -> dict[str, Bind]:
        """The container's mounts."""

    def service_env(self) -> dict[str, str]:
        """Where the API server is, as every container is told."""

    def changed(self) -> None:
        """Has the Pod's status written."""

    def event(self, kind: str, reason: str, message: str) -> None:
        """Records an event on the Pod."""


class NodeContext(Protocol):
    """What all Pods of the node share."""

    config: NodeConfig
    kube: Kube
    launcher: LauncherClient
    addresses: Addresses
    capacity: dict[str, str]

    @property
    def store(self) -> Tokens:
        """Where Pods read what they refer to."""

    def event(self, pod: Object, kind: str, reason: str, message: str) -> None:
        """Records an event on a Pod."""


def backoff(failures: int) -> float:
    """Seconds to wait before the start that follows the given number of ends in a row; the first is tried at once."""
    return 0.0 if failures <= 1 else float(min(BACKOFF_SECONDS * 2 ** (failures - 2), BACKOFF_MAX))


def now() -> str:
    """Now as Kubernetes writes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
