"""Which connections the probe sends its requests on: kept ones, as an application's are, or new ones for each."""

import contextlib
import http.server
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from waypoint_lab.measure import probe_script


class Server(http.server.ThreadingHTTPServer):
    """Counts the requests on each of its connections.

    Where `workers` is set, an answer waits until as many requests are there, so that each worker sends as many.
    `answers` is how many requests are answered before it is closed, of one connection after the other, and of all later
    ones as of the last; without any, all requests are.
    """

    daemon_threads = True

    def __init__(self, workers: int = 1, *answers: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.together = threading.Barrier(workers)
        self.answers = answers
        self.connections = 0
        self.lock = threading.Lock()
        self.requests: Counter[int] = Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1
            self.number = self.server.connections

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests[self.number] += 1
        self.server.together.wait(20)
        answers = self.server.answers[: self.number]
        if answers and self.server.requests[self.number] > answers[-1]:
            self.close_connection = True
            return
        body = b'{"reviews": [{"rating": {"color": "red"}}]}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(workers: int = 1, *answers: int) -> Iterator[Server]:
    with Server(workers, *answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def probe(capsys: pytest.CaptureFixture[str], server: Server, *groups: dict[str, int], workers: int) -> list[list[Any]]:
    """What the probe says of each of `groups`, sent by as many `workers`."""
    given = [{"method": "GET", "path": "/reviews/0", "headers": {}, **group} for group in groups]
    spec = {"host": "127.0.0.1", "port": server.server_port, "groups": given, "concurrency": workers}
    spec |= {"seconds": 20, "request_seconds": 5, "pause_seconds": 0, "until_stdin_ends": False}
    probe_script.main(spec)  # type: ignore[no-untyped-call]
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("fresh", "connections"),
    [
        ({}, [10, 10]),
        ({"fresh_workers": 0}, [10, 10]),
        ({"fresh_workers": 1}, [10, *([1] * 10)]),
        ({"fresh_workers": 2}, [1] * 20),
        ({"fresh_workers": 9}, [1] * 20),
    ],
)
def test_the_first_workers_of_a_group_use_a_new_connection_for_each_request(
    capsys: pytest.CaptureFixture[str], fresh: dict[str, int], connections: list[int]
) -> None:
    with serving(2) as server:
        (rows,) = probe(capsys, server, {"requests": 20, **fresh}, workers=2)
    assert [row[:3] for row in rows] == [[200, "red", "no"]] * 20
    assert sorted(server.requests.values(), reverse=True) == connections


def test_each_group_has_fresh_workers_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        kept, fresh = probe(capsys, server, {"requests": 6}, {"requests": 3, "fresh_workers": 1}, workers=1)
    assert (len(kept), len(fresh)) == (6, 3)
    assert list(server.requests.values()) == [6, 1, 1, 1]


def test_a_request_on_a_kept_connection_that_was_closed_is_sent_again_and_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(1, 1) as server:
        (rows,) = probe(capsys, server, {"requests": 3}, workers=1)
    assert [(row[0], row[4:]) for row in rows] == [(200, []), (200, ["reconnected"]), (200, ["reconnected"])]


def test_a_request_on_a_new_connection_that_is_closed_is_a_failure_and_not_sent_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(1, 1, 0) as server:
        (rows,) = probe(capsys, server, {"requests": 3, "fresh_workers": 1}, workers=1)
    assert [[row[0], row[1], *row[4:]] for row in rows] == [[200, "red"], *([[0, "RemoteDisconnected"]] * 2)]
    assert list(server.requests.values()) == [1, 1, 1]


def test_a_fresh_worker_never_meets_a_kept_connection_that_was_closed(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(1, 1) as server:
        (rows,) = probe(capsys, server, {"requests": 3, "fresh_workers": 1}, workers=1)
    assert [(row[0], row[4:]) for row in rows] == [(200, [])] * 3
