"""Attribution of answers to backends."""

import json
from collections.abc import Sequence

import pytest

from tests.unit.configs import lab_config
from tests.unit.measure.waypoint_logs import MINE, line, use
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ProbeError
from waypoint_lab.measure import access_log, attribution, client, request
from waypoint_lab.measure.attribution import check_identities
from waypoint_lab.measure.client import Answer, Endpoint, Group

LOGGED = lab_config("waypoint", "accessLog", "canary", app={"identify": {"kind": "accessLog"}})


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(access_log, "LIMIT_SECONDS", 0.01)


def answer(monkeypatch: pytest.MonkeyPatch, *found: Answer) -> None:
    """Let the client answer one group with these answers."""

    def send(_config: LabConfig, _groups: Sequence[Group], _seconds: float) -> list[list[Answer]]:
        return [[*found]]

    monkeypatch.setattr(client, "send", send)


def to(service: str, agent: str) -> str:
    return line(agent).replace("|reviews.", f"|{service}.")


def test_send_names_the_backend_of_each_logged_request(monkeypatch: pytest.MonkeyPatch) -> None:
    log = [
        to("reviews-stable", f"{MINE}-0"),
        to("reviews-baseline", f"{MINE}-1"),
        to("shop", f"{MINE}-2"),
        to("x", "y"),
    ]
    fake = use(monkeypatch, waypoint=[[], log])
    answer(monkeypatch, *(Answer(200, f"{MINE}-{number}") for number in range(4)))
    (found,) = attribution.send(LOGGED, [Group()])
    assert [one.identity for one in found] == ["canary", "baseline", "shop", "not logged"]
    windows = [word for command in fake.commands for word in command if word.startswith("--since=")]
    assert windows[0] == "--since=5s", "kubectl counts whole seconds"


def test_send_without_a_waypoint_reads_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = use(monkeypatch, waypoint=[[]])
    answer(monkeypatch, Answer(200, f"{MINE}-0", proxied=False))
    attribution.send(LOGGED, [Group()])
    assert fake.commands == []


def test_send_by_json_keeps_the_identities(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, Answer(200, "red"))
    assert [[Answer(200, "red")]] == attribution.send(lab_config("waypoint", "accessLog"), [Group()])


def test_check_identities_that_never_match_is_one_line() -> None:
    with pytest.raises(ProbeError) as caught:
        check_identities(LabConfig(), [Answer(200, "unknown")] * 5 + [Answer(503, "red")])
    assert str(caught.value) == (
        "waypoint-lab:app.identify: none of 5 answers names a backend, they have 'unknown'; "
        "set app.identify to what the application answers"
    )


def test_check_identities_without_a_logged_request_is_one_line() -> None:
    with pytest.raises(
        ProbeError, match=r"^waypoint-lab:app.identify: the access log names no backend for 1 answers, "
    ):
        check_identities(LOGGED, [Answer(200, "not logged")])


@pytest.mark.parametrize("answers", [[], [Answer(503, "unknown")], [Answer(200, "unknown"), Answer(200, "red")]])
def test_check_identities_with_a_match_or_without_success_passes(answers: list[Answer]) -> None:
    check_identities(LabConfig(), answers)


def sent(config: LabConfig, headers: dict[str, str]) -> dict[str, str]:
    """Return the headers of a request of the application with `headers`."""
    (endpoint,) = request.task(config, Group((Endpoint(headers=headers),)))["endpoints"]  # type: ignore[misc]
    return dict(endpoint["headers"])


def test_endpoint_keeps_the_cookies_of_the_request() -> None:
    app = {"request": {"headers": {"Cookie": "session=abc"}}, "cohorts": {"premium": {"cookie": "tier", "value": "a"}}}
    config = lab_config("waypoint", app=app)
    assert sent(config, {})["cookie"] == "session=abc"
    assert sent(config, {"cookie": "tier=a"})["cookie"] == "session=abc; tier=a"


@pytest.mark.parametrize(
    "objects",
    [
        {"fault": {"header": {"name": "Cookie", "value": "tester=1"}}},
        {"canary": {"cohort": {"header": "Cookie", "value": "tester=1"}}},
    ],
)
def test_endpoint_with_a_whole_header_cookie_has_it_alone(objects: dict[str, object]) -> None:
    config = lab_config("waypoint", app={"request": {"headers": {"cookie": "session=abc"}}}, **objects)
    assert sent(config, {"cookie": "tester=1"})["cookie"] == "tester=1"


@pytest.mark.parametrize(
    ("on", "objects", "seconds"),
    [
        ((), {}, 15),
        ((), {"fault": {"delay": {"seconds": 20}}}, 15),
        (("delay",), {"fault": {"delay": {"seconds": 20}}}, 35),
        (("delay", "retries"), {"fault": {"at": "upstream", "delay": {"seconds": 20}}}, 17.175),
        (("abort", "retries"), {"retries": {"attempts": 2, "backoff": "10s"}}, 45),
    ],
)
def test_limit_of_a_request_leaves_delay_and_retries_their_time(
    on: tuple[str, ...], objects: dict[str, object], seconds: float
) -> None:
    assert request.limit_seconds(lab_config("waypoint", *on, **objects)) == pytest.approx(seconds)


def test_endpoints_have_the_applications_request() -> None:
    own = {"method": "POST", "path": "/cart?x=1", "headers": {"Host": "shop.example.com", "User-Agent": "mine"}}
    config = lab_config(app={"request": own})
    (endpoint,) = request.task(config, Group())["endpoints"]  # type: ignore[misc]
    assert (endpoint["method"], endpoint["path"]) == ("POST", "/cart?x=1")
    assert endpoint["headers"] == {"host": "shop.example.com", "user-agent": "mine"}
    assert json.dumps(endpoint)


def test_endpoint_identity_by_json_has_the_path_as_text() -> None:
    config = lab_config(app={"identify": {"path": "versions.1.²"}})
    (endpoint,) = request.task(config, Group())["endpoints"]  # type: ignore[misc]
    assert endpoint["identity"] == {"json": ["versions", "1", "²"]}
