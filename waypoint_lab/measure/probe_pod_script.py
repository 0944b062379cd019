"""Main process of a probe Pod. `probe_pod.py` runs this text; it needs Python's standard library only."""

import os
import time

STEP_SECONDS = 1.0


def wait(life_seconds: float, idle_seconds: float, processes: str = "/proc") -> None:
    """Return after `life_seconds`, or after `idle_seconds` in which the Pod had no command that `kubectl exec` started.

    Such a command has a higher number than this process. Where a Pod sees the processes of its node, it is never idle.

    Args:
        life_seconds: The longest life.
        idle_seconds: The longest time without a command.
        processes: Folder of the kernel's process table.
    """
    now = used = time.monotonic()
    ends = now + life_seconds
    while now < min(ends, used + idle_seconds):
        time.sleep(min(STEP_SECONDS, idle_seconds))
        now = time.monotonic()
        if any(name.isdigit() and int(name) > os.getpid() for name in os.listdir(processes)):
            used = now
