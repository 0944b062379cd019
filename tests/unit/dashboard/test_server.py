"""The server of the dashboard, over real connections."""

import http.client
import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.dashboard.states import States, snapshot
from waypoint_lab.dashboard.access import PageAccess
from waypoint_lab.dashboard.actions import PageActions
from waypoint_lab.dashboard.feed import PageFeed
from waypoint_lab.dashboard.server import FILES, MOST_BYTES, DashboardError, serving

Answer = tuple[int, bytes, http.client.HTTPMessage]


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> States:
    """Return the source of the page's snapshots."""
    monkeypatch.setattr("waypoint_lab.dashboard.feed.WAIT_SECONDS", 0.02)  # the end of a test waits for it
    return States()


@pytest.fixture
def access(tmp_path: Path, states: States) -> Iterator[PageAccess]:
    """Serve the page of a stack without a promotion, and return its addresses."""
    actions = PageActions(
        [sys.executable, "-c", "import time; time.sleep(5)"], tmp_path, "dev", lambda: (0.0, 100.0), lambda: False
    )
    with PageFeed(states) as feed:
        feed.actions = actions.document
        with serving(0, feed, actions) as found:
            yield found
    actions.close(lambda _line: None)


def ask(access: PageAccess, method: str, path: str, body: str = "", **headers: str) -> Answer:
    """Send one request with headers that may be wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", access.port, timeout=5)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body or None, named)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def own(access: PageAccess) -> dict[str, str]:
    """Return the header of a request that the page sends."""
    return {"Origin": access.address[: access.address.index("/", 8)]}


def test_get_page_and_its_files_are_sent_with_a_policy(access: PageAccess) -> None:
    for name in ("", *FILES, "plotly.min.js"):
        status, body, headers = ask(access, "GET", f"/{access.token}/{name}")
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert body
        assert name == "plotly.min.js" or not re.search(rb"https?://(?!www\.w3\.org/)", body)


@pytest.mark.parametrize("path", ["/", "/events", "/TOKEN", "/TOKENx/", "/actions/promote"])
def test_get_without_token_returns_403(access: PageAccess, path: str) -> None:
    assert ask(access, "GET", path.replace("TOKEN", access.token))[0] == 403


@pytest.mark.parametrize("path", ["/TOKEN/../access.py", "/TOKEN/static/index.html", "/TOKEN/actions/promote"])
def test_get_other_path_returns_404(access: PageAccess, path: str) -> None:
    assert ask(access, "GET", path.replace("TOKEN", access.token))[0] == 404


@pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
def test_post_of_foreign_origin_returns_403(access: PageAccess, origin: str) -> None:
    headers = {"Origin": origin} if origin else {}
    assert ask(access, "POST", f"/{access.token}/actions/rollback", "{}", **headers)[0] == 403
    assert ask(access, "GET", f"/{access.token}/events", **{"Origin": origin or "null"})[0] == 403


def test_serving_listens_on_127_0_0_1_alone_with_a_new_token(
    access: PageAccess, tmp_path: Path, states: States
) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", access.port), timeout=5)
    actions = PageActions(["lab"], tmp_path, "dev", lambda: (), lambda: False)
    with PageFeed(states) as feed, serving(0, feed, actions) as other:
        assert access.token != other.token
    actions.close(lambda _line: None)


def test_get_with_foreign_host_returns_403(access: PageAccess) -> None:
    assert ask(access, "GET", f"/{access.token}/", Host=f"evil.example:{access.port}")[0] == 403


def test_post_of_impossible_action_returns_409_and_the_reason(access: PageAccess) -> None:
    status, body, _ = ask(access, "POST", f"/{access.token}/actions/pause", "{}", **own(access))
    assert (status, json.loads(body)) == (409, {"error": "pause: no promotion runs"})


@pytest.mark.parametrize(
    ("body", "status"), [("", 200), ("[]", 200), ("{", 200), ('{"confirm": 7}', 409), ("x" * 5000, 200)]
)
def test_post_without_the_word_of_before_starts_no_command(access: PageAccess, body: str, status: int) -> None:
    place = f"/{access.token}/actions/promote"
    assert ask(access, "POST", place, body, **own(access))[0] == status  # at most, it is asked for a confirmation
    assert ask(access, "POST", place, "{}", **own(access))[0] == 200, "no command has been started"


def test_post_of_a_long_body_is_not_read(access: PageAccess) -> None:
    place = f"/{access.token}/actions/promote"
    word = json.loads(ask(access, "POST", place, "{}", **own(access))[1])["confirm"]
    body = json.dumps({"confirm": word}) + " " * MOST_BYTES
    assert "confirm" in json.loads(ask(access, "POST", place, body, **own(access))[1])


def test_events_send_the_state_first_and_then_what_is_new(access: PageAccess, states: States) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", access.port, timeout=5)
    connection.request("GET", f"/{access.token}/events")
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"
    first = json.loads(answer.readline().removeprefix(b"data: "))
    assert {"snapshot", "actions", "points", "changes"} == {*first}
    states.newest = snapshot(time.time(), 80.0)
    weights = []
    until = time.monotonic() + 5
    while 80.0 not in weights and time.monotonic() < until:
        line = answer.readline()
        if line.startswith(b"data: "):
            found = json.loads(line.removeprefix(b"data: "))
            weights.append(found["snapshot"]["services"][0]["backends"][1]["live_weight"])
    assert weights[-1] == 80.0
    key = "bookinfo-backends/reviews:9080/bookinfo-backends/reviews-stable:9080"
    assert [point["backends"][key]["weight"] for point in found["points"]] == [80.0]
    answer.close()
    connection.close()


def test_serving_used_port_is_one_line(tmp_path: Path, states: States) -> None:
    actions = PageActions(["lab"], tmp_path, "dev", lambda: (), lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            PageFeed(states) as feed,
            pytest.raises(DashboardError, match=f"port {port} of 127.0.0.1: .*; choose another --port"),
            serving(port, feed, actions),
        ):
            pass
    actions.close(lambda _line: None)


def test_events_go_on_after_a_clock_that_was_set_back(states: States) -> None:
    with PageFeed(states) as feed:
        number, _ = feed.next(0, 5.0)
        states.newest = snapshot(time.time() - 3600, 80.0)
        assert feed.next(number, 5.0)[0] == number + 1
