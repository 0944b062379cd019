"""What a container sees as its file system: this machine's, read-only, with the Pod's own files on top.

A mount point that this machine has not got (`/etc/istio/proxy`) cannot be made in the machine's own folders. The folder
above it is therefore mirrored: an empty folder in a tmpfs, in which each of the original's entries is mounted. An
overlay file system was turned down: without root the kernel refuses one over folders that have other mounts below them.
"""

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
# Every container has these to itself; the mode is the folder's.
SCRATCH = {"/tmp": "1777", "/run": "755", "/dev/shm": "1777", "/var/tmp": "1777"}


@dataclass(frozen=True)
class Bind:
    """One file or folder of this machine that a container sees at some path."""

    source: str
    read_only: bool = False


def real(path: str) -> str:
    """`path` with this machine's symbolic links resolved, as far as it exists."""
    return os.path.realpath("/" + path.strip("/"))


def _below(path: str, parent: str) -> bool:
    return path.startswith(parent.rstrip("/") + "/")


class _Planner:
    def __init__(self, binds: Mapping[str, Bind]) -> None:
        self.binds = binds
        self.steps: list[list[str]] = []

    def _needs_mirror(self, folder: str) -> bool:
        """Whether something is to be mounted below `folder` at a place that does not exist."""
        return any(_below(target, folder) and not os.path.exists(target) for target in self.binds)

    def place(self, path: str) -> None:
        """Puts this machine's `path` into the new root, or mirrors it, or gives an own one."""
        if path in SCRATCH:
            self.steps += [["dir", "", path], ["tmpfs", SCRATCH[path], path]]
            return
        if path == "/proc":
            self.steps += [["dir", "", path], ["proc", "", path]]
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
            for inner, bits in SCRATCH.items():
                if _below(inner, path) and os.path.isdir(inner):
                    self.steps.append(["tmpfs", bits, inner])

    def bind(self, target: str, bind: Bind) -> None:
        kind = "dir" if os.path.isdir(bind.source) else "file"
        if not os.path.exists(target) or any(_below(target, scratch) for scratch in SCRATCH):
            self.steps.append([kind, "", target])
        self.steps.append(["bind-ro" if bind.read_only else "bind", bind.source, target])


def plan(binds: Mapping[str, Bind]) -> list[list[str]]:
    """The steps (kind, source or mode, target), for the launcher, that build a root with `binds`.

    `binds` are by path in the container; one through a symbolic link of this machine (`/var/run`) follows it.
    """
    needed = {real(target): bind for target, bind in binds.items()}
    # What the lab's own commands need stays visible where it lies below a folder that containers have to themselves.
    for kept in (str(REPOSITORY), sys.prefix, sys.base_prefix):
        path = real(kept)
        if any(_below(path, scratch) for scratch in SCRATCH):
            needed.setdefault(path, Bind(path, read_only=True))
    planner = _Planner(needed)
    planner.steps += [["tmpfs", "755", "/"]]
    for name in sorted(os.listdir("/")):
        planner.place("/" + name)
    for name in SCRATCH:
        if not os.path.exists(name) and os.path.dirname(name) == "/":
            planner.steps += [["dir", "", name], ["tmpfs", SCRATCH[name], name]]
    for target in sorted(needed, key=lambda target: target.count("/")):
        planner.bind(target, needed[target])
    return planner.steps
