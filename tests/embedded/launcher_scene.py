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

from embedded import groups
from embedded.node.kubelet import mounts, security
from embedded.node.kubelet.volumes import write_atomically
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
        self.ids = (0, 0)
        self.groups: tuple[int, ...] = ()
        self.binds: dict[str, mounts.Bind] = {}
        self.cwd, self.read_only = "/", False

    async def run(self, script: str, env: dict[str, str] | None = None, *, shell: bool = True) -> tuple[int, str]:
        """Run a shell script, or a program, as a container; return its exit code and its output."""
        read, write = os.pipe()
        null = os.open("/dev/null", os.O_RDONLY)
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        hidden = mounts.hidden_folders(str(self.state))
        plan = mounts.plan(self.binds, hidden, cwd=self.cwd, read_only=self.read_only)
        argv = ["sh", "-c", script] if shell else [script]
        command = Command(argv, env or ENV, self.cwd, security.capabilities({}), False, *self.ids, self.groups)
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


async def sealed(scene: LauncherScene) -> None:
    """A read-only root leaves volumes, /dev and /dev/shm writable, for root and for other users."""
    volume = scene.folder / "volume"
    volume.mkdir()
    script = "for at in / /tmp /run /var/tmp /root /usr /dev /dev/shm /opt/new; do touch $at/x 2>&1 && echo $at; done"
    scene.binds, scene.read_only = {"/opt/new": mounts.Bind(str(volume))}, True
    for ids in ((0, 0), (1337, 1338)):
        scene.ids = ids
        written = [line for line in (await scene.output(script)).splitlines() if line.startswith("/")]
        assert written == ["/dev", "/dev/shm", "/opt/new"], written
        assert "Read-only file system" in await scene.output("touch /tmp/x 2>&1")
    assert (await scene.run("mount -o remount,rw,bind / && touch /x"))[0] != 0
    scene.binds |= {"/tmp": mounts.Bind(str(volume))}
    assert await scene.output("touch /tmp/x && echo written") == "written"
    scene.binds, scene.read_only = {}, False
    assert await scene.output("touch /tmp/x /run/x && echo written") == "written"


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


async def links(scene: LauncherScene) -> None:
    """A symbolic link in a volume leads to nothing of this machine when a mount point is created behind it."""
    volume, outside, other = (scene.folder / name for name in ("volume", "outside", "other"))
    for folder in (volume, outside, other):
        folder.mkdir()
    (other / "file").write_text("content")
    (volume / "absolute").symlink_to(outside)
    (volume / "relative").symlink_to(f"../../../..{outside}")
    (volume / "inner").symlink_to("/opt/new/folder")  # as `/var/run -> /run` in images
    (volume / "folder").mkdir()
    scene.binds = {"/opt/new": mounts.Bind(str(volume)), "/opt/new/inner/sub/file": mounts.Bind(str(other / "file"))}
    assert await scene.run("cat /opt/new/folder/sub/file") == (0, "content")
    for name in ("absolute", "relative"):
        for source in (other, other / "file"):
            scene.binds = {
                "/opt/new": mounts.Bind(str(volume)),
                f"/opt/new/{name}/made/x": mounts.Bind(str(source)),
            }
            with contextlib.suppress(LaunchError):  # the link leads nowhere, or into the container's own root
                await scene.run("true")
    assert [*outside.iterdir()] == []


async def swapped_link(scene: LauncherScene) -> None:
    """A link that a container puts at a subPath after its check leads to nothing of this machine."""
    volume, outside = scene.folder / "volume", scene.folder / "outside"
    for folder in (volume, outside):
        folder.mkdir()
    (volume / "sub").symlink_to(outside)
    scene.binds = {"/opt/new": mounts.Bind(str(volume / "sub"))}
    with contextlib.suppress(LaunchError):
        raise AssertionError(await scene.run("touch /opt/new/x"))
    assert [*outside.iterdir()] == []


async def nested(scene: LauncherScene) -> None:
    """Mounts inside a read-only volume have their places, also after a change of the volume, which stays read-only."""
    outer, inner, file = (scene.folder / name for name in ("outer", "inner", "file"))
    inner.mkdir()
    file.write_text("content")
    for content in (b"1", b"2"):
        write_atomically(outer, {"key": (content, 0o644)})
        scene.binds = {
            "/etc/web": mounts.Bind(str(outer), read_only=True),
            "/etc/web/certs": mounts.Bind(str(inner)),
            "/etc/web/extra": mounts.Bind(str(file), read_only=True),
        }
        script = (
            "cd /etc/web; cat key extra; echo; for at in . certs extra; do touch $at/x 2>/dev/null && echo $at; done"
        )
        assert (await scene.output(script)).splitlines() == [f"{content.decode()}content", "certs"]


async def working_directory(scene: LauncherScene) -> None:
    """A working directory that is missing is created in the container, also in a read-only root, and only there."""
    for cwd in ("/app-of-mine", "/usr/of-mine/app"):
        for read_only in (False, True):
            scene.cwd, scene.read_only = cwd, read_only
            assert await scene.output("pwd") == cwd
        assert not Path(cwd).exists()


async def users(scene: LauncherScene) -> None:
    """A container and its further commands have their user and group, without rights, also to /dev/stdout."""
    scene.ids = (1337, 1338)
    script = "echo $(id -u) $(id -g) $(grep -h CapEff /proc/self/status) > /dev/stdout; mount -t tmpfs x /mnt 2>&1"
    first, second, *_ = (await scene.output(script)).splitlines()
    assert first.split() == ["1337", "1338", "CapEff:", "0" * 16]
    assert "denied" in second or "superuser" in second
    null = os.open("/dev/null", os.O_RDWR)
    ids = (security.capabilities({}), False, *scene.ids)
    root = scene.folder / "root"
    first_process = Command(["sleep", "60"], ENV, "/", *ids)
    main = await scene.launcher.run(scene.pause, first_process, str(root), mounts.plan({}), [null, null, null])
    command = Command(["sh", "-c", "id -u; tr '\\0' ' ' < /proc/$(pgrep -x sleep)/cmdline"], ENV, "/", *ids)
    assert await scene.launcher.capture(scene.pause, main, command, 20) == (0, "1337\nsleep 60 ")
    os.close(null)


async def supplemental_groups(scene: LauncherScene) -> None:
    """A container has its further groups, reads files of a volume by one of them, and gives new ones its own group."""
    scene.ids, scene.groups = (1337, 1338), (5000, 6000)
    if not groups.available():
        with contextlib.suppress(LaunchError):
            raise AssertionError(await scene.run("id -G"))
        return
    volume = scene.folder / "volume"
    write_atomically(volume, {"file": (b"content", 0o400)}, 5000)
    scene.binds = {"/opt/new": mounts.Bind(str(volume))}
    script = "id -G; cd /opt/new; touch mine; stat -Lc '%u %g %a' . file mine; cat file"
    expected = ["1338 5000 6000", "1337 5000 2755", "1337 5000 440", "1337 5000 644", "content"]
    assert (await scene.output(script)).splitlines() == expected
    scene.ids = (0, 0)
    (volume / "mine").unlink()
    expected = ["0 5000 6000", "0 5000 2755", "0 5000 440", "0 5000 644", "content"]
    assert (await scene.output(script)).splitlines() == expected


async def ids_of_the_machine(scene: LauncherScene) -> None:
    """Where the kernel allows no user namespace, root sets the ids themselves."""
    code = (
        "import os; from embedded.node.launcher import system; system.NEWUSER = 1 << 30 | 1\n"
        "system.become_user(1337, 1338, 1 << 3)\n"
        "os.execvp('sh', ['sh', '-c', 'echo $(id -u) $(id -G) $(grep -h CapEff /proc/self/status) > /dev/stdout'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if Path("/proc/self/uid_map").read_text().split()[2] == "1":  # nor has root another user than itself
        assert "Error" in done.stderr
    else:
        assert done.stdout.split() == ["1337", "1338", "CapEff:", "0" * 16], done.stderr


SCENES: dict[str, Callable[[LauncherScene], Awaitable[None]]] = {
    scene.__name__: scene
    for scene in (
        hidden,
        limited,
        sealed,
        big,
        small_buffers,
        signals,
        old_kernel,
        links,
        swapped_link,
        nested,
        working_directory,
        users,
        supplemental_groups,
        ids_of_the_machine,
    )
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
