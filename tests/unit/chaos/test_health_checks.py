"""Health checks of an application whose server answers wrongly, slowly or without an end."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from waypoint_lab.chaos import health_checks
from waypoint_lab.chaos.health_checks import HealthMonitor, UnhealthyError
from waypoint_lab.chaos.schedule_file import HealthCheck

HEALTHY = (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",)
CUT = (b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nok",)
CUT_CHUNK = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nok",)
BAD_REQUEST = (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nok",)
ODD = (b"garbage\r\n\r\n",)
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Application:
    """A server that sends `parts` to each client, with a pause after each."""

    def __init__(self) -> None:
        self.parts: tuple[bytes, ...] = HEALTHY
        self.pause = 0.0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def check(self, **more: object) -> HealthCheck:
        return HealthCheck(url=f"http://127.0.0.1:{self._socket.getsockname()[1]}/", **more)  # type: ignore[arg-type]

    def _serve(self) -> None:
        while True:
            client, _ = self._socket.accept()
            with client, contextlib.suppress(ConnectionError):
                if not client.recv(4096):
                    return
                for part in self.parts:
                    client.sendall(part)
                    time.sleep(self.pause)

    def __enter__(self) -> "Application":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.create_connection(self._socket.getsockname()):  # without a request
            pass
        self._thread.join()
        self._socket.close()


@pytest.fixture
def application() -> Iterator[Application]:
    with Application() as made:
        yield made


@pytest.mark.parametrize(
    ("parts", "want"),
    [
        (HEALTHY, ""),
        (CUT, "{} does not answer: IncompleteRead(2 bytes read, 198 more expected)"),
        (CUT_CHUNK, "{} does not answer: IncompleteRead("),
        (ODD, "{} does not answer: garbage"),
        (BAD_REQUEST, "{} answers 400"),
    ],
)
def test_problem_answer_that_is_an_error_or_not_http_is_one_line(
    application: Application, parts: tuple[bytes, ...], want: str
) -> None:
    application.parts = parts
    check = application.check()
    found = HealthMonitor(check).problem()
    assert found.startswith(want.format(check.url))
    assert len(found.splitlines()) == bool(want)


@pytest.mark.parametrize("parts", [CUT, ODD])
def test_monitor_answer_that_is_not_http_sets_unhealthy(
    application: Application, monkeypatch: pytest.MonkeyPatch, parts: tuple[bytes, ...]
) -> None:
    monkeypatch.setattr(health_checks, "POLL_SECONDS", 0.01)
    with HealthMonitor(application.check()) as monitor:
        application.parts = parts
        assert monitor.unhealthy.wait(10)
    assert "does not answer" in monitor.why


def test_monitor_of_an_application_that_is_unhealthy_already_starts_nothing(application: Application) -> None:
    application.parts = BAD_REQUEST
    with pytest.raises(UnhealthyError, match=r"so no fault was started: .* answers 400; fix it, or the health check$"):
        HealthMonitor(application.check()).__enter__()


def test_monitor_is_unhealthy_after_as_many_failures_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ["", "down", "down", "", "down", "down", "down", "down"]
    monkeypatch.setattr(health_checks, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(HealthMonitor, "problem", lambda _monitor: found.pop(0))
    with HealthMonitor(HealthCheck(url="http://127.0.0.1:1/", failures=3)) as monitor:
        assert monitor.unhealthy.wait(10)
    assert (monitor.why, found) == ("down", ["down"])


def test_monitor_ends_without_waiting_for_the_limit_of_an_answer(application: Application) -> None:
    began = time.monotonic()
    with HealthMonitor(application.check(seconds=10)) as monitor:
        pass
    assert time.monotonic() - began < 5
    assert not monitor.unhealthy.is_set()


def test_problem_answer_without_an_end_has_a_limit_of_time(application: Application) -> None:
    application.parts, application.pause = (HEAD, *[b"x"] * 30), 0.1  # no pause is as long as the limit
    began = time.monotonic()
    found = HealthMonitor(application.check(seconds=0.3)).problem()
    assert found.endswith("does not answer: timed out")
    assert time.monotonic() - began < 2


def test_problem_with_a_password_does_not_show_it(application: Application) -> None:
    application.parts = CUT
    check = application.check()
    found = HealthMonitor(msgspec.structs.replace(check, url=check.url.replace("//", "//user:S3cret@"))).problem()
    assert found.startswith(f"{check.url} does not answer: IncompleteRead(")


def test_problem_long_answer_is_read_in_part(application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_checks, "MOST_BYTES", 1000)
    application.parts = (HEAD, b"x" * 995, b"last text")
    assert HealthMonitor(application.check()).problem() == ""
    assert HealthMonitor(application.check(contains="last text")).problem().endswith("answers without 'last text'")
