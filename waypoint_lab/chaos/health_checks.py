"""Check the application's health while faults are on."""

import threading
from urllib.parse import urlsplit

from waypoint_lab.chaos.schedule_file import HealthCheck
from waypoint_lab.errors import LabError
from waypoint_lab.measure.http_answer import NoAnswerError, ask

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
        url = urlsplit(self._check.url)
        where = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()  # without a password
        try:
            status, text = ask(self._check.url, self._check.seconds, MOST_BYTES)
        except NoAnswerError as error:
            return f"{where} does not answer: {error}"
        if status >= 400:
            return f"{where} answers {status}"
        found = self._check.contains in text.decode(errors="replace")
        return "" if found else f"{where} answers without {self._check.contains!r}"

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
