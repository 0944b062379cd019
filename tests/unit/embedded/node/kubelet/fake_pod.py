"""A Pod and a launcher for tests of containers, without processes."""

import asyncio
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embedded.kube import Object
from embedded.node.kubelet import container, termination
from embedded.node.kubelet.container import Container
from embedded.node.kubelet.sandbox import Sandbox
from embedded.node.launcher.process import Command, Process


class FakeLauncher:
    """Launcher of processes that end by SIGKILL, and by SIGTERM with code 143 unless `stubborn`."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.stubborn = stubborn
        self.processes: list[Process] = []
        self.signals: list[int] = []
        self.commands: list[list[str]] = []

    async def run(self, pause: Process, command: Command, root: str, plan: Any, handles: Any, *, tty: bool) -> Process:
        self.processes.append(Process(100 + len(self.processes)))
        return self.processes[-1]

    async def kill(self, process: Process, number: int = signal.SIGKILL, *, group: bool = False) -> None:
        if not process.ended.is_set():
            self.signals.append(number)
            if number == signal.SIGKILL or not self.stubborn:
                process.end(128 + number)

    async def capture(self, pause: Process, inside: Process, command: Command, seconds: float) -> tuple[int, str]:
        self.commands.append(command.argv)
        return int(command.argv == ["false"]), ""


class FakePod:
    """The Pod as a container sees it."""

    def __init__(self, folder: Path, *, stubborn: bool = False) -> None:
        self.folder, self.launcher = folder, FakeLauncher(stubborn=stubborn)
        self.config: Any = SimpleNamespace()
        self.store: Any = None
        self.volumes: Any = None
        self.capacity: dict[str, str] = {}
        self.sandbox: Sandbox | None = Sandbox(Process(1), "127.0.0.1", "veth")
        self.reasons: list[str] = []

    def view(self) -> Object:
        return {"metadata": {"uid": "u", "name": "p", "namespace": "n"}, "spec": {"terminationGracePeriodSeconds": 0.2}}

    def changed(self) -> None:
        pass

    def event(self, kind: str, reason: str, message: str) -> None:
        self.reasons.append(reason)

    def container(self, policy: str = "Always", **spec: Any) -> Container:
        """Return a container of this Pod named `main`."""
        return Container(self, {"name": "main", "image": "i", **spec}, policy)  # type: ignore[arg-type]


async def until(question: Any, seconds: float = 5.0) -> None:
    """Wait until `question` is answered with something true."""
    async with asyncio.timeout(seconds):
        while not question():
            await asyncio.sleep(0.005)


def skip_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every container be prepared at once, whatever its image."""

    async def pull(*_: Any) -> None:
        return None

    async def prepare(pod: Any, spec: Object, _: None) -> tuple[Command, list[list[str]]]:
        termination.clear(pod.folder, spec)
        return Command(["sleep"], {}), []

    monkeypatch.setattr(container, "pull", pull)
    monkeypatch.setattr(container, "prepare", prepare)
