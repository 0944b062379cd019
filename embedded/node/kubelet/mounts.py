"""The file system of a container: this machine's, read-only, with the Pod's own files on top.

A mount point that this machine lacks (`/etc/istio/proxy`) cannot be created in the machine's own folders. The folder
above it is therefore mirrored: an empty folder in a tmpfs, in which each of the original's entries is mounted. An
overlay file system is no alternative: without root the kernel refuses one over folders that have mounts below them.
"""

import os
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Every container has its own: path → mode.
SCRATCH = {"/tmp": "1777", "/run": "755", "/var/tmp": "1777"}
DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}


@dataclass(frozen=True)
class Bind:
    """One file or folder of this machine that a container sees at some path; no part of `source` is a link."""

    source: str
    read_only: bool = False


def real(path: str) -> str:
    """Return `path` with this machine's symbolic links resolved, as far as it exists."""
    return os.path.realpath("/" + path.strip("/"))


def _below(path: str, parent: str) -> bool:
    return path.startswith(parent.rstrip("/") + "/")


def _visible() -> list[str]:
    """Return the folders that the stand-ins of images need: our package `embedded`, and Python."""
    return [real(path) for path in (str(REPOSITORY / "embedded"), sys.prefix, sys.base_prefix)]


def hidden_folders(state_dir: str) -> list[str]:
    """Return the folders of this machine that no container sees: homes, this repository, the cluster's state.

    Args:
        state_dir: The node agent's folder inside the cluster's state, beside the cluster's keys.
    """
    home = real(os.path.expanduser("~"))
    found = ["/root", "/home", real(os.path.dirname(state_dir)), real(str(REPOSITORY))]
    if home not in map(real, SYSTEM_PATH.split(":")):
        found.append(home)
    return sorted({path for path in found if path != "/" and os.path.isdir(path)} - set(_visible()))


class _Planner:
    def __init__(self, binds: Mapping[str, Bind], scratch: Mapping[str, str], cwd: str) -> None:
        self.binds = binds
        self.cwd = cwd
        self.scratch = scratch
        self.steps: list[list[str]] = []

    def _needs_mirror(self, folder: str) -> bool:
        """Return True if something is to be below `folder` at a place that does not exist."""
        return any(_below(target, folder) and not os.path.exists(target) for target in (*self.binds, self.cwd))

    def place(self, path: str) -> None:
        """Show this machine's `path` in the new root, or mirror it, or replace it by an empty one."""
        if path in self.scratch:
            self.steps += [["dir", "", path], ["tmpfs", self.scratch[path], path]]
            return
        if path == "/proc":
            self.steps += [["dir", "", path], ["proc", "", path]]
            return
        if path == "/dev":
            self._place_devices()
            return
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            self.steps.append(["link", os.readlink(path), path])
        elif not stat.S_ISDIR(mode):
            self.steps += [["file", "", path], ["show", path, path]]
        elif self._needs_mirror(path):
            self.steps.append(["dir", "", path])
            for name in sorted(os.listdir(path)):
                self.place(os.path.join(path, name))
        else:
            self.steps += [["dir", "", path], ["show", path, path]]
            inner = sorted(each for each in self.scratch if _below(each, path) and os.path.isdir(each))
            # A folder inside another empty one does not exist any more.
            outer = [each for each in inner if not any(_below(each, other) for other in inner)]
            self.steps += [["tmpfs", self.scratch[each], each] for each in outer]

    def _place_devices(self) -> None:
        self.steps += [["dir", "", "/dev"], ["tmpfs", "755", "/dev"]]
        for path in (f"/dev/{name}" for name in DEVICES if os.path.exists(f"/dev/{name}")):
            self.steps += [["file", "", path], ["show", path, path]]
        self.steps += [["link", source, f"/dev/{name}"] for name, source in DEVICE_LINKS.items()]
        self.steps += [["dir", "", "/dev/shm"], ["tmpfs", "1777", "/dev/shm"]]
        self.steps += [["dir", "", "/dev/pts"], ["devpts", "", "/dev/pts"]]

    def bind(self, target: str, bind: Bind) -> None:
        """Mount a file or folder, at a place that is created where it is missing."""
        kind = "dir" if os.path.isdir(bind.source) else "file"
        # Inside an empty folder or a volume, a folder of this machine does not exist.
        if not os.path.exists(target) or any(_below(target, own) for own in (*self.scratch, *self.binds, "/dev")):
            self.steps.append([kind, "", target])
        self.steps.append(["bind-ro" if bind.read_only else "bind", bind.source, target])

    def show(self, paths: Iterable[str], visible: Mapping[str, Bind], hidden: Iterable[str]) -> None:
        """Mount folders that commands need, and keep hidden ones inside them empty."""
        shown = sorted(paths, key=lambda path: path.count("/"))
        for path in shown:
            self.bind(path, visible[path])
        # The state may lie inside a folder that has just been shown.
        self.steps += [["tmpfs", "755", each] for each in hidden if any(_below(each, path) for path in shown)]


def _read_only(steps: list[list[str]]) -> list[list[str]]:
    """Return the steps that make the empty folders of a root read-only, except `/dev` and those that a mount covers."""
    found = []
    for number, (kind, _, target) in enumerate(steps):
        later = [at for how, _, at in steps[number + 1 :] if how in ("bind", "bind-ro", "show", "tmpfs")]
        covered = target in later or any(_below(target, each) for each in later)
        if kind == "tmpfs" and not covered and target != "/dev" and not _below(target, "/dev"):
            found.append(["read-only", "", target])
    return found


def plan(
    binds: Mapping[str, Bind], hidden: Iterable[str] = (), *, cwd: str = "/", read_only: bool = False
) -> list[list[str]]:
    """Return the steps (kind, source or mode, target) by which the launcher builds a container's root.

    Args:
        binds: Mounts by their path in the container; symbolic links of this machine (`/var/run`) are followed.
        hidden: Folders of this machine that are empty in the container, except for what commands need below them.
        cwd: The working directory, which is created where it is missing, as container runtimes do.
        read_only: Only `binds`, `/dev` and `/proc` are writable.
    """
    scratch = {**dict.fromkeys(hidden, "755"), **SCRATCH}
    wanted = {real(target): bind for target, bind in binds.items()}
    visible = {path: Bind(path, read_only=True) for path in _visible() if any(_below(path, each) for each in scratch)}
    planner = _Planner(visible | wanted, scratch, real(cwd))
    planner.steps += [["tmpfs", "755", "/"]]
    for name in sorted(os.listdir("/")):
        planner.place("/" + name)
    for name in SCRATCH:
        if not os.path.exists(name) and os.path.dirname(name) == "/":
            planner.steps += [["dir", "", name], ["tmpfs", SCRATCH[name], name]]
    planner.show(visible, visible, hidden)
    # One with other mounts inside becomes read-only at the end, when their mount points are there.
    late = [at for at in wanted if wanted[at].read_only and any(_below(each, at) for each in (*wanted, *visible))]
    for target in sorted(wanted, key=lambda target: target.count("/")):
        planner.bind(target, Bind(wanted[target].source) if target in late else wanted[target])
    # A volume on a folder above them, such as /tmp, covers what commands need.
    planner.show([path for path in visible if any(_below(path, target) for target in wanted)], visible, hidden)
    steps = planner.steps + [["read-only", "", target] for target in late] + [["dir", "", real(cwd)]]
    return steps + (_read_only(planner.steps) if read_only else [])
