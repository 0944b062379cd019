"""Check the application's health while faults are on."""

import http.client
import threading
import time
import urllib.error
import urllib.request

from waypoint_lab.chaos.schedule_file import HealthCheck
from waypoint_lab.errors import LabError

POLL_SECONDS = 0.5
MOST_BYTES = 1 << 20  # of an answer that are read


class UnhealthyError(LabError):
    """Report an application that is unhealthy before the first fault."""


class HealthMonitor:
    """Thread that checks the application's health; `unhealthy` is set with the reason in `why`."""

    def __init__(self, check: HealthCheck) -> None:
        """Keep the check; `__enter__` starts the thread."""
        self.unhealthy = threading.Event()
        self.why = ""
        self._check = check
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def problem(self) -> str:
        """Check once. Return the reason why the application is unhealthy; empty where it is healthy."""
        url, until = self._check.url, time.monotonic() + self._check.seconds
        try:
            with urllib.request.urlopen(url, timeout=self._check.seconds) as answer:  # noqa: S310
                text = _body(answer, until).decode(errors="replace")
        except urllib.error.HTTPError as error:
            return f"{url} answers {error.code}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = str(getattr(error, "reason", None) or error or type(error).__name__)
            return f"{url} does not answer: {' '.join(why.split())}"
        return "" if self._check.contains in text else f"{url} answers without {self._check.contains!r}"

    def _run(self) -> None:
        failures = 0
        while not self._stop.wait(POLL_SECONDS):
            why = self.problem()
            failures = failures + 1 if why else 0
            if failures >= self._check.failures:
                self.why = why
                self.unhealthy.set()
                return

    def __enter__(self) -> "HealthMonitor":
        """Start the thread.

        Raises:
            UnhealthyError: The application is unhealthy already.
        """
        if why := self.problem():
            raise UnhealthyError(
                f"health: the application is unhealthy, so no fault was started: {why}; fix it, or the health check"
            )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(self._check.seconds + 1)


def _body(answer: http.client.HTTPResponse, until: float) -> bytes:
    """Return the first MOST_BYTES of an answer.

    Raises:
        TimeoutError: It has not ended at `until`, by the monotonic clock.
        HTTPException: It is cut.
    """
    body = b""
    while len(body) < MOST_BYTES and (chunk := answer.read1(MOST_BYTES - len(body))):
        body += chunk
        if time.monotonic() > until:
            raise TimeoutError("timed out")
    if len(body) < MOST_BYTES and answer.length:
        raise http.client.IncompleteRead(body, answer.length)
    return body
