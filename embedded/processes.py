"""Processes outside the cluster's namespaces: who they are beyond doubt, waiting for their end, ending them."""

import ctypes
import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def start_time(pid: int) -> int:
    """The kernel's start time of a process in clock ticks, 0 where there is none: with the id it names one for ever."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rsplit(")", 1)[1].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def identity(pid: int) -> str:
    """`PID:START`, to be written into files."""
    return f"{pid}:{start_time(pid)}"


def living(identity: str) -> int:
    """The process id that `identity` names if that very process lives, else 0."""
    pid, _, started = identity.strip().partition(":")
    if not pid.isdigit() or not started.isdigit() or started == "0":
        return 0
    return int(pid) if start_time(int(pid)) == int(started) else 0


def read_living(file: Path) -> int:
    """`living` of what `file` holds; 0 where it cannot be read."""
    try:
        return living(file.read_text())
    except OSError:
        return 0


def write_identity(file: Path, pid: int) -> None:
    """Writes the identity of `pid` so that readers see all of it or nothing."""
    # Named after the writer: the old keeper and the new one may both write at the same moment.
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    new.write_text(identity(pid))
    new.replace(file)


def die_with_parent() -> None:
    """For `preexec_fn`: the kernel kills this process when its parent ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def wait_any(pids: list[int], seconds: float | None = None) -> list[int]:
    """Waits until one of `pids` (children or not) has ended, at most `seconds`; returns those that have."""
    fds: dict[int, int] = {}
    ended = []
    poll = select.poll()
    try:
        for pid in pids:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                ended.append(pid)
                continue
            fds[fd] = pid
            poll.register(fd, select.POLLIN)
        if not ended:
            ended = [fds[fd] for fd, _ in poll.poll(None if seconds is None else seconds * 1000)]
    finally:
        for fd in fds:
            os.close(fd)
    for pid in ended:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return ended


def end(pid: int, seconds: float) -> None:
    """SIGTERM, and SIGKILL after `seconds`; returns when the process is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        if not wait_any([pid], seconds):
            os.kill(pid, signal.SIGKILL)
            wait_any([pid], 5)


def descendants(pid: int) -> list[int]:
    """`pid` and all that descend from it, as this PID namespace numbers them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        queue.extend(children.get(one, []))
    return found


def child_namespace_pid(pid: int) -> int:
    """The id of `pid` in the process namespace below ours: in the cluster's own, not in that of a Pod. 0 if none."""
    with suppress(OSError, StopIteration, IndexError):
        level = len(_namespace_pids(os.getpid()))
        return _namespace_pids(pid)[level]
    return 0


def _namespace_pids(pid: int) -> list[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [int(one) for one in next(line for line in lines if line.startswith("NSpid:")).split()[1:]]


def proportional_memory(pid: int) -> int:
    """Bytes of memory of one process, each page divided by the number of processes that share it; 0 once it is gone."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return 0


def wait_until_gone(pids: list[int], seconds: float) -> list[int]:
    """Those of `pids` that are still there after at most `seconds`."""
    limit = time.monotonic() + seconds
    left = [pid for pid in pids if start_time(pid)]
    while left and time.monotonic() < limit:
        time.sleep(0.05)
        left = [pid for pid in left if start_time(pid)]
    return left
