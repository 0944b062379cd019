"""The requests that the client script sends, and the connections that it sends them on."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.measure.servers import Server, answering, serving, streaming
from waypoint_lab.measure import client_script
from waypoint_lab.measure.client import Answer

DEFAULTS = {"workers": 1, "fresh_workers": 0, "pause_seconds": 0, "warm_seconds": 0}


@pytest.fixture
def stdin() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for end in (read, write):
        with contextlib.suppress(OSError):
            os.close(end)


def send(
    capsys: pytest.CaptureFixture[str],
    stdin: int,
    *groups: dict[str, Any],
    port: int,
    seconds: float = 20,
    request_seconds: float = 5,
    identity: dict[str, Any] | None = None,
    **more: object,
) -> list[list[Answer]]:
    """Run the script; return the rounds, flat, by group."""
    endpoint: dict[str, Any] = {"host": "127.0.0.1", "port": port, "method": "GET", "path": "/", "headers": {}}
    endpoint["identity"] = identity or {"json": ["reviews", "0", "rating", "color"]}
    endpoint |= more
    given = [{**DEFAULTS, "endpoints": [endpoint] * group.pop("count", 1), **group} for group in groups]
    spec = {"groups": given, "seconds": seconds, "request_seconds": request_seconds}
    client_script.main(spec, stdin)
    *lines, end = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert end == "end"
    found: list[list[Answer]] = [[] for _ in groups]
    for line in lines:
        for answers in line:
            found[answers[0][7]] += [Answer(*one) for one in answers]
    return found


@pytest.mark.parametrize(
    ("fresh", "connections"), [(0, [10, 10]), (1, [10, *([1] * 10)]), (2, [1] * 20), (9, [1] * 20)]
)
def test_script_fresh_workers_open_a_connection_for_each_request(
    capsys: pytest.CaptureFixture[str], stdin: tuple[int, int], fresh: int, connections: list[int]
) -> None:
    with serving(2) as server:
        group = {"rounds": 20, "workers": 2, "fresh_workers": fresh}
        (answers,) = send(capsys, stdin[0], group, port=server.server_port)
    assert [(one.status, one.identity, one.proxied) for one in answers] == [(200, "red", False)] * 20
    assert sorted(server.requests.values(), reverse=True) == connections


def test_script_each_group_has_its_own_fresh_workers(
    capsys: pytest.CaptureFixture[str], stdin: tuple[int, int]
) -> None:
    with serving() as server:
        groups = ({"rounds": 6}, {"rounds": 3, "fresh_workers": 1})
        kept, fresh = send(capsys, stdin[0], *groups, port=server.server_port)
    assert (len(kept), len(fresh)) == (6, 3)
    assert list(server.requests.values()) == [6, 1, 1, 1]


@pytest.mark.parametrize(
    ("answers", "fresh", "want"),
    [
        ((1,), 0, [(200, "", False), (200, "", True), (200, "", True)]),
        ((1,), 1, [(200, "", False)] * 3),
        ((1, 0), 1, [(200, "", False), *([(0, "RemoteDisconnected", False)] * 2)]),
    ],
)
def test_script_closed_connection_is_opened_again_once_if_it_was_kept(
    capsys: pytest.CaptureFixture[str],
    stdin: tuple[int, int],
    answers: tuple[int, ...],
    fresh: int,
    want: list[tuple[int, str, bool]],
) -> None:
    with serving(1, *answers) as server:
        (found,) = send(capsys, stdin[0], {"rounds": 3, "fresh_workers": fresh}, port=server.server_port)
    assert want == [(one.status, one.error, one.reconnected) for one in found]


@pytest.mark.parametrize(("rounds", "seconds"), [(10, 30.0), (10_000_000, 0.3)])
def test_script_is_bounded_in_count_and_time(
    capsys: pytest.CaptureFixture[str], stdin: tuple[int, int], rounds: int, seconds: float
) -> None:
    with serving() as server:
        group = {"rounds": rounds, "workers": 2}
        (found,) = send(capsys, stdin[0], group, port=server.server_port, seconds=seconds)
    assert len(found) == 10 if rounds == 10 else 0 < len(found) < rounds


def test_script_end_of_standard_input_ends_all_groups(
    capsys: pytest.CaptureFixture[str], stdin: tuple[int, int]
) -> None:
    os.close(stdin[1])
    began = time.monotonic()
    with serving() as server:
        send(capsys, stdin[0], {"rounds": 10_000_000}, {"rounds": 10_000_000}, port=server.server_port)
    assert time.monotonic() - began < 5


def test_script_round_has_one_answer_of_each_endpoint(
    capsys: pytest.CaptureFixture[str], stdin: tuple[int, int]
) -> None:
    with serving() as server:
        (found,) = send(capsys, stdin[0], {"rounds": 2, "count": 3, "warm_seconds": 5}, port=server.server_port)
    assert len(found) == 6
    assert len({one.at for one in found}) == 2
    assert list(server.requests.values()) == [3, 3, 3], "one to warm each connection up, two that count"


def test_script_silent_endpoint_is_measured_after_the_warm_up(
    capsys: pytest.CaptureFixture[str], stdin: tuple[int, int]
) -> None:
    with Server() as server:
        port = server.server_port
    (found,) = send(capsys, stdin[0], {"rounds": 2, "warm_seconds": 0.1}, port=port)
    assert [(one.status, one.error) for one in found] == [(0, "ConnectionRefusedError")] * 2


@pytest.mark.parametrize("header", [b"", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 1000000\r\n"])
def test_script_limits_the_whole_answer(
    capsys: pytest.CaptureFixture[str], stdin: tuple[int, int], header: bytes
) -> None:
    began = time.monotonic()
    with streaming(header) as port:
        (found,) = send(capsys, stdin[0], {"rounds": 1}, port=port, request_seconds=0.2)
    assert [(one.status, one.error) for one in found] == [(0, "TimeoutError")]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (b"Content-Length: 2\r\n\r\nok", (200, "")),
        (b"Content-Length: 2\r\nConnection: close\r\n\r\nok", (200, "")),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", (200, "")),
        (b"Transfer-Encoding: chunked\r\n\r\nno number\r\n", (0, "IncompleteRead")),
        (b"Content-Length: 0\r\n\r\n", (200, "")),
    ],
)
def test_script_reads_the_whole_answer(
    capsys: pytest.CaptureFixture[str], stdin: tuple[int, int], text: bytes, want: tuple[int, str]
) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n" + text) as url:
        (found,) = send(capsys, stdin[0], {"rounds": 1}, port=int(url.rpartition(":")[2]))
    assert [want] == [(one.status, one.error) for one in found]


@pytest.mark.parametrize(
    ("body", "want"),
    [
        ('{"reviews": [{"rating": {"color": "red"}}]}', "red"),
        ('{"reviews": [{"rating": {"stars": 5}}]}', "none"),
        ('{"reviews": [{"rating": null}]}', "none"),
        ('{"reviews": [{}]}', "none"),
        ('{"reviews": []}', "unknown"),
        ("[]", "unknown"),
        ("no JSON", "unknown"),
        ('{"reviews": [{"rating": []}]}', "none"),
        ('{"reviews": [{"rating": {"color": ""}}]}', "none"),
        ('{"reviews": [{"rating": "red"}]}', "unknown"),
    ],
)
def test_identity_is_read_from_the_body(body: str, want: str) -> None:
    assert want == client_script.in_json(body, ["reviews", "0", "rating", "color"])


@pytest.mark.parametrize(
    ("body", "path", "want"),
    [
        ('[{"version": "v1"}]', "0.version", "v1"),
        ('{"servers": ["a", "b"]}', "servers.1", "b"),
        ('{"servers": ["a", "b"]}', "servers.2", "none"),
        ('{"servers": "ab"}', "servers.0", "unknown"),
        ('["v1"]', "0", "v1"),
        ('{"items": [{"version": "v1"}]}', "items.0.version", "v1"),
        ('{"versions": {"1": "v1"}}', "versions.1", "v1"),
        ('{"a": [{"b": {"c": "x"}}]}', "a.0.b.c", "x"),
        ('{"canary": true}', "canary", "true"),
        ('{"canary": false}', "canary", "false"),
        ('{"canary": 0}', "canary", "0"),
        ('{"canary": 1.5}', "canary", "1.5"),
        ('{"canary": null}', "canary", "none"),
    ],
)
def test_identity_by_keys_and_indexes(body: str, path: str, want: str) -> None:
    assert want == client_script.in_json(body, path.split("."))


@pytest.mark.parametrize(
    ("header", "want"), [("x-backend", "blue"), ("X-Backend", "blue"), ("x-other", "none"), ("x-name", "müller")]
)
def test_script_identifies_by_a_header(
    capsys: pytest.CaptureFixture[str], stdin: tuple[int, int], header: str, want: str
) -> None:
    with serving() as server:
        (answers,) = send(capsys, stdin[0], {"rounds": 2}, port=server.server_port, identity={"header": header})
    assert [want] * 2 == [one.identity for one in answers]


def test_script_gives_each_request_a_user_agent_of_its_own(
    capsys: pytest.CaptureFixture[str], stdin: tuple[int, int]
) -> None:
    with serving() as server:
        (answers,) = send(capsys, stdin[0], {"rounds": 20}, port=server.server_port, identity={"agent": "lab/1"})
    agents = [one.identity for one in answers]
    assert len(set(agents)) == 20
    assert sorted(server.agents) == sorted(agents)
    assert all(agent.startswith("lab/1-") for agent in agents)


@pytest.mark.parametrize("text", ["müller", "日本"])
def test_script_sends_headers_in_utf_8(capsys: pytest.CaptureFixture[str], stdin: tuple[int, int], text: str) -> None:
    with serving() as server:
        send(capsys, stdin[0], {"rounds": 1}, port=server.server_port, headers={"user-agent": text})
    assert [text] == [agent.encode("latin-1").decode() for agent in server.agents]


def test_script_path_that_cannot_be_sent_is_an_answer(
    capsys: pytest.CaptureFixture[str], stdin: tuple[int, int]
) -> None:
    with serving() as server:
        (found,) = send(capsys, stdin[0], {"rounds": 2}, port=server.server_port, path="/jäger")
    assert [(one.status, one.error) for one in found] == [(0, "UnicodeEncodeError")] * 2
