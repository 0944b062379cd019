"""Requests around a change: their kinds, their outcomes, and their times in the access log."""

import time
from datetime import UTC, datetime

import pytest

from tests.unit.configs import lab_config
from tests.unit.measure.waypoint_logs import NEXT, TWO, line, use
from waypoint_lab.measure import access_log, changes
from waypoint_lab.measure.client import Answer
from waypoint_lab.stages import expectations


def test_kinds_have_the_plain_request_first_and_each_kind_once() -> None:
    config = lab_config("waypoint", "l7Policy", "canary")
    found = changes.kinds(config, (*expectations.l7_policy(config), *expectations.canary(config)))
    assert list(found) == ["GET", "DELETE"]
    assert found["DELETE"].method == "DELETE"


def test_kinds_name_what_differs_from_the_plain_request() -> None:
    config = lab_config("waypoint", "premium")
    assert list(changes.kinds(config, expectations.premium(config))) == ["GET", "end-user: premium-user"]


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (Answer(200, "red"), "", "canary"),
        (Answer(200, "none"), "", "baseline"),
        (Answer(200, "blue"), "", "200"),
        (Answer(503, "red"), "", "503"),
        (Answer(200, "none", proxied=False), "", "baseline, past the waypoint"),
        (Answer(200, "none", seconds=2.1), "", "baseline, late"),
        (Answer(200, "none", seconds=1.998), "", "baseline, late"),
        (Answer(0, error="TimeoutError", proxied=False), "", "TimeoutError"),
        (Answer(403), "DELETE", "DELETE: 403"),
    ],
)
def test_outcome_names_what_distinguishes_an_answer(answer: Answer, kind: str, text: str) -> None:
    config = lab_config("waypoint", "delay", fault={"delay": {"seconds": 2}})
    assert text == changes.outcome(config, answer, kind)


def test_seen_has_the_kind_of_each_answer_of_a_round() -> None:
    answers = [Answer(200, "none", at=2.0), Answer(403, at=2.0), Answer(200, "red", at=1.0), Answer(405, at=1.0)]
    found = changes.seen(lab_config("waypoint"), answers, ["GET", "DELETE"])
    assert found == [(1.0, "DELETE: 405"), (1.0, "canary"), (2.0, "DELETE: 403"), (2.0, "baseline")]


def stamped(at: float, **more: str) -> str:
    """Return a line of the access log with a start."""
    start = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"[{start}] {line(**more).partition('] ')[2]}"


def test_logged_requests_have_the_waypoint_or_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "POLL_SECONDS", 0.001)
    now = time.time()
    logs = {"waypoint": [[stamped(now - 3), stamped(now - 1)]], "waypoint_next": [[stamped(now, status="503")]]}
    fake = use(monkeypatch, **logs)
    found = changes.logged(TWO, now - 2, by_waypoint=True)
    windows = {word for command in fake.commands for word in command if word.startswith("--since=")}
    assert windows <= {"--since=4s", "--since=5s", "--since=6s"}
    assert [one.outcome for one in found] == ["waypoint", NEXT]
    assert [one.outcome for one in changes.logged(TWO, now - 2)] == ["reviews", "503"]


def test_logged_without_access_log_is_nothing() -> None:
    assert changes.logged(lab_config("waypoint"), 0.0) == []
