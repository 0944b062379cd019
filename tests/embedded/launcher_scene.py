"""Scenes with a real launcher, run by `test_launcher.py` in namespaces of their own."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest.mock import patch

from embedded.node.kubelet import mounts, security
from embedded.node.launcher import system
from embedded.node.launcher.client import LauncherClient
from embedded.node.launcher.process import Command, LaunchError, Process, read_pipe

_socketpair = socket.socketpair
ENV = {"PATH": mounts.SYSTEM_PATH}


class LauncherScene:
    """A launcher with one Pod, whose containers see this machine without the cluster's state and homes."""

    def __init__(self, folder: Path, launcher: LauncherClient, pause: Process) -> None:
        self.folder, self.launcher, self.pause = folder, launcher, pause
        self.state = folder / "state" / "node"

    async def run(self, script: str, env: dict[str, str] | None = None, *, shell: bool = True) -> tuple[int, str]:
        """Run a shell script, or a program, as a container; return its exit code and its output."""
        read, write = os.pipe()
        null = os.open("/dev/null", os.O_RDONLY)
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        plan = mounts.plan({}, mounts.hidden_folders(str(self.state)))
        command = Command(["sh", "-c", script] if shell else [script], env or ENV, "/", security.capabilities({}))
        try:
            process = await self.launcher.run(self.pause, command, str(root), plan, [null, write, write])
        finally:
            os.close(null)
            os.close(write)
        output = bytearray()
        await read_pipe(read, output.extend, process, 20)
        return await process.wait(), output.decode()

    async def output(self, script: str) -> str:
        return (await self.run(script))[1].strip()


async def hidden(scene: LauncherScene) -> None:
    """A container sees neither the cluster's state nor homes, and runs our Python all the same."""
    secret = scene.state.parent / "pki"
    secret.mkdir(parents=True)
    (secret / "token").write_text("word")
    assert "No such file" in await scene.output(f"cat {secret}/token")
    python = {Path(sys.base_prefix).resolve().parts[2]} if Path(sys.base_prefix).resolve().parts[1] == "root" else set()
    assert set((await scene.output("ls -A /root")).split()) == python
    assert "No such file" in await scene.output(f"ls {mounts.REPOSITORY}/pyproject.toml")
    script = f"PYTHONPATH={mounts.REPOSITORY} {sys.executable} -m embedded.bookinfo --help"
    assert "One service of bookinfo" in await scene.output(script)
    assert await scene.output("ls -A /proc/1/root/") == "" or "denied" in await scene.output("ls /proc/1/root/")


async def limited(scene: LauncherScene) -> None:
    """A container has the usual capabilities and changes nothing of the machine."""
    usual = sum(1 << bit for bit in security.USUAL.values())
    status = await scene.output("grep Cap /proc/self/status")
    assert {int(line.split()[1], 16) for line in status.splitlines()} == {usual, 0}, status
    for script in (
        "mount -o remount,rw,bind /usr",
        "mount -t tmpfs none /mnt",
        "umount /usr",
        "touch /usr/x",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo b > /proc/sysrq-trigger",
        "mknod /tmp/disk b 8 0",
        f"touch {mounts.REPOSITORY}/embedded/x",
        "unshare --user --map-root-user --mount sh -c 'mount -o remount,rw,bind /usr && touch /usr/x'",
    ):
        code, text = await scene.run(script)
        assert code != 0, (script, text)
    assert await scene.output("ls /dev | tr '\\n' ' '") == (
        "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"
    )
    assert await scene.output("echo hello > /dev/null; echo free > /tmp/mine; cat /tmp/mine") == "free"


async def big(scene: LauncherScene) -> None:
    """A big environment reaches the container, and one that is too big fails alone."""
    other = asyncio.create_task(scene.run("sleep 3; echo alive"))
    env = ENV | {f"K{number}": "x" * 1000 for number in range(1200)}
    assert (await scene.run("echo ${#K0} $K1199 | cut -c 1-10", env))[1].strip() == "1000 xxxxx"
    with contextlib.suppress(LaunchError):
        await scene.run("true", ENV | {f"K{number}": "x" * 100_000 for number in range(100)})
        raise AssertionError("10 MB of environment were taken")
    with contextlib.suppress(LaunchError):
        await scene.run("true", ENV | {"A": "nul\0byte"})
        raise AssertionError("a zero byte was taken")
    with contextlib.suppress(LaunchError):
        await scene.launcher._request({"op": "nosuch"})
        raise AssertionError("an unknown order was taken")
    assert await other == (0, "alive\n")
    assert not scene.launcher.gone.is_set()


async def small_buffers(scene: LauncherScene) -> None:
    """With the least buffers of a kernel, as with a small net.core.wmem_max, nothing changes, nor with long errors."""
    await big(scene)
    with contextlib.suppress(LaunchError):
        await scene.run("\U0001f600" * 500, shell=False)
        raise AssertionError("a program that does not exist was started")
    assert await scene.run("echo alive") == (0, "alive\n")


async def signals(scene: LauncherScene) -> None:
    """No signal is ignored or blocked in a container, but for those that the C library keeps for itself."""
    status = await scene.output("grep -E 'SigIgn|SigBlk' /proc/self/status")
    own = (
        1 << 31 | 1 << 32
    )  # signals 32 and 33: glibc refuses every program's wish to set them, and keeps what it inherits
    assert [int(line.split()[1], 16) & ~own for line in status.splitlines()] == [0, 0], status


async def old_kernel(scene: LauncherScene) -> None:
    """Without mount_setattr (before Linux 5.12) a tree is made read-only mount by mount."""
    tree = scene.folder / "tree"
    (tree / "inner").mkdir(parents=True)
    system.mount("tmpfs", str(tree / "inner"), "tmpfs")
    system.mount(str(tree), str(tree), flags=system.MS_BIND | system.MS_REC)
    system._SYS_MOUNT_SETATTR = 9999  # a call that no kernel has
    system.set_read_only(str(tree))
    for place in (tree, tree / "inner"):
        done = subprocess.run(["touch", str(place / "x")], capture_output=True, text=True, check=False)
        assert "Read-only file system" in done.stderr, place


SCENES: dict[str, Callable[[LauncherScene], Awaitable[None]]] = {
    scene.__name__: scene for scene in (hidden, limited, big, small_buffers, signals, old_kernel)
}


def _least_buffers(*kind: int) -> tuple[socket.socket, socket.socket]:
    """Return a pair with the kernel's least buffers, 4.5 KiB: net.core.wmem_max is the whole machine's."""
    pair = _socketpair(*kind)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    return pair


async def play(name: str, folder: Path) -> None:
    """Start a launcher and a Pod, play the scene, and end both."""
    launcher = LauncherClient()
    with patch.object(socket, "socketpair", _least_buffers if name == small_buffers.__name__ else _socketpair):
        await launcher.start()
    try:
        await SCENES[name](LauncherScene(folder, launcher, await launcher.pause("pod")))
    finally:
        await launcher.close()


if __name__ == "__main__":
    asyncio.run(play(sys.argv[1], Path(sys.argv[2])))
