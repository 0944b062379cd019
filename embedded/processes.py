"""Processes of this machine: identify them beyond reuse of their ids, start them in namespaces, end them."""

import ctypes
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from embedded.files import write_private

PR_SET_PDEATHSIG = 1
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
SYS_CLONE = {"x86_64": 56, "aarch64": 220}
# PyDLL keeps the interpreter's lock during a call, so that it is in order on both sides of clone().
_libc = ctypes.PyDLL(None, use_errno=True)


def start_time(pid: int) -> int:
    """Return the start time of a process in clock ticks since boot, or 0 if it does not run.

    Process ids are used again; an id together with its start time is not.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rsplit(")", 1)[1].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def read_living(file: Path) -> int:
    """Return the process id in `file` if that very process runs, else 0."""
    try:
        pid, _, started = file.read_text().strip().partition(":")
    except OSError:
        return 0
    if not pid.isdigit() or not started.isdigit() or started == "0":
        return 0
    return int(pid) if start_time(int(pid)) == int(started) else 0


def write_identity(file: Path, pid: int) -> None:
    """Write `PID:START` of a process, for `read_living`."""
    write_private(file, f"{pid}:{start_time(pid)}".encode())


def die_with_parent() -> None:
    """Let the kernel kill the calling process when its parent ends. For `preexec_fn`."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start_child(name: str, work: Callable[[], None]) -> int:
    """Run `work` in a child that ends with the caller; `name` begins the line that an error writes. Return its id."""
    if pid := os.fork():
        return pid
    try:
        die_with_parent()
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        work()
    except BaseException as error:
        print(f"{name}: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(0)


def start_in_namespaces(argv: list[str]) -> int:
    """Start a program as PID 1 of mount, network and process namespaces of its own.

    It ends when the caller ends, and all processes of its namespaces end with it. Without root it is also root of a
    user namespace of its own. It starts with SIGTERM blocked: PID 1 would lose one that comes before its handler.

    Args:
        argv: The program's absolute path and its arguments. Inheritable file descriptors are kept open.

    Returns:
        The process id outside the new namespaces.

    Raises:
        OSError: The kernel refuses.
    """
    user, group = os.geteuid(), os.getegid()
    flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | (CLONE_NEWUSER if user else 0)
    # clone() without a stack is fork() with namespaces. The command `unshare` would be one more process to watch.
    pid = int(_libc.syscall(SYS_CLONE[platform.machine()], flags | signal.SIGCHLD, 0, 0, 0, 0))
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "clone")
    if pid:
        return pid
    try:
        die_with_parent()
        if user:
            for name, value in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
                Path("/proc/self", name).write_text(value)
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGTERM})
        os.execv(argv[0], argv)
    finally:
        os._exit(127)


def end(pid: int, seconds: float) -> None:
    """Send SIGTERM, and SIGKILL after `seconds`. Return when the process is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        if wait_until_gone([pid], seconds):
            os.kill(pid, signal.SIGKILL)
            wait_until_gone([pid], 5)


def descendants(pid: int) -> list[int]:
    """Return `pid` and every process that descends from it; nothing for pid 0."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [pid] if pid else []
    while queue:
        one = queue.pop()
        found.append(one)
        queue.extend(children.get(one, []))
    return found


def child_namespace_pid(pid: int) -> int:
    """Return the id of `pid` in the process namespace below the caller's; 0 if it is in none."""
    with suppress(OSError, StopIteration, IndexError):
        return _namespace_pids(pid)[len(_namespace_pids(os.getpid()))]
    return 0


def _namespace_pids(pid: int) -> list[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [int(one) for one in next(line for line in lines if line.startswith("NSpid:")).split()[1:]]


def proportional_memory(pid: int) -> int:
    """Return the proportional set size of a process in bytes (a shared page counts in parts); 0 if it is gone."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return 0


def wait_until_gone(pids: list[int], seconds: float) -> list[int]:
    """Wait until all of `pids` have ended, at most `seconds`. Return those that still run."""
    limit = time.monotonic() + seconds
    left = [pid for pid in pids if start_time(pid)]
    while left and time.monotonic() < limit:
        time.sleep(0.05)
        left = [pid for pid in left if start_time(pid)]
    return left
