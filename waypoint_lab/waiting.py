"""Wait for something with a limit."""

import time
from collections.abc import Callable, Iterator

from waypoint_lab.errors import LabError, WaitError

POLL_SECONDS = 0.2


def polls(limit_seconds: float, poll_seconds: float = POLL_SECONDS) -> Iterator[float]:
    """Yield the seconds since the start, at intervals; at least once, and for the last time after the limit.

    Args:
        limit_seconds: Limit of the whole time.
        poll_seconds: Pause between two values.
    """
    began = time.monotonic()
    while True:
        yield (passed := time.monotonic() - began)
        if passed >= limit_seconds:
            return
        time.sleep(min(poll_seconds, max(0.0, began + limit_seconds - time.monotonic())))


def wait(
    problem: Callable[[], str],
    what: str,
    limit_seconds: float,
    poll_seconds: float = POLL_SECONDS,
    error: type[LabError] = WaitError,
) -> float:
    """Wait until `problem` finds none.

    Args:
        problem: Returns the reason to wait longer; an empty text ends the wait.
        what: The expected state, for the error.
        limit_seconds: Limit of the wait.
        poll_seconds: Pause between two calls of `problem`.
        error: Class of the error.

    Returns:
        The seconds that it took.

    Raises:
        LabError: The limit passed; of class `error`.
    """
    missing = ""
    began = time.monotonic()
    for _ in polls(limit_seconds, poll_seconds):
        if not (missing := problem()):
            return time.monotonic() - began
    raise error(f"{what}: not within {limit_seconds:g} s: {missing}")
