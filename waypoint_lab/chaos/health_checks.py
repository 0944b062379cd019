"""Watches whether the application is well while faults are on."""

import threading
import urllib.error
import urllib.request
from dataclasses import dataclass


class NotWell(Exception):
    """The application is not well to begin with; one line."""


@dataclass(frozen=True)
class Health:
    """A URL that must answer below 400 within `seconds`, with `contains` in its text; asked every half second.

    Without an answer so for `failures` times in a row, the application is not well.
    """

    url: str
    contains: str = ""
    seconds: float = 2.0
    failures: int = 2


class Watch:
    """Asks for the application's health in a thread; `ill` is set, with `why`, when it is not well."""

    def __init__(self, health: Health) -> None:
        """Starts nothing yet."""
        self.ill = threading.Event()
        self.why = ""
        self._health = health
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def ask(self) -> str:
        """What is wrong now; empty where the application is well."""
        try:
            with urllib.request.urlopen(self._health.url, timeout=self._health.seconds) as answer:  # noqa: S310
                text = answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return f"{self._health.url} answers {error.code}"
        except (OSError, ValueError) as error:
            return f"{self._health.url} does not answer: {getattr(error, 'reason', None) or error}"
        return "" if self._health.contains in text else f"{self._health.url} answers without {self._health.contains!r}"

    def _run(self) -> None:
        missed = 0
        while not self._stop.wait(0.5):
            why = self.ask()
            missed = missed + 1 if why else 0
            if missed >= self._health.failures:
                self.why = why
                self.ill.set()
                return

    def __enter__(self) -> "Watch":
        """Begins to watch. Raises NotWell where the application is not well to begin with."""
        if why := self.ask():
            raise NotWell(f"no fault begins: the application is not well: {why}")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join(self._health.seconds + 1)
