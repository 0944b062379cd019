"""Interfaces between container, Pod and node, and the rule that they share: back-off."""

from pathlib import Path
from typing import Protocol

from embedded.kube import Kube, Object
from embedded.node.config import NodeConfig
from embedded.node.kubelet.api_cache import ApiStore
from embedded.node.kubelet.sandbox import Addresses, Sandbox
from embedded.node.kubelet.volumes import Volumes
from embedded.node.launcher.client import LauncherClient

BACKOFF_SECONDS, BACKOFF_MAX, BACKOFF_FORGOTTEN = 10.0, 300.0, 600.0


class PodContext(Protocol):
    """The Pod as its containers see it."""

    config: NodeConfig
    launcher: LauncherClient
    store: ApiStore
    sandbox: Sandbox | None
    folder: Path
    volumes: Volumes
    capacity: dict[str, str]

    def view(self) -> Object:
        """Return the Pod object with its present addresses."""

    def changed(self) -> None:
        """Schedule a write of the Pod's status."""

    def event(self, kind: str, reason: str, message: str) -> None:
        """Record an Event on the Pod."""


class NodeContext(Protocol):
    """The node as its Pods see it."""

    config: NodeConfig
    kube: Kube
    launcher: LauncherClient
    addresses: Addresses
    capacity: dict[str, str]
    store: ApiStore

    def event(self, pod: Object, kind: str, reason: str, message: str) -> None:
        """Record an Event on a Pod."""


def backoff(failures: int) -> float:
    """Return the seconds to wait before a restart, given the number of ends in a row."""
    return 0.0 if failures <= 1 else float(min(BACKOFF_SECONDS * 2 ** (failures - 2), BACKOFF_MAX))
