"""Errors of a Prometheus whose answer is stalled or cut, or that wants a password."""

import pytest

from tests.unit.chaos.test_health_checks import HEAD, Application
from tests.unit.measure.servers import CUT, STALLED, answering
from tests.unit.rollout.test_notify import server
from waypoint_lab.measure import prometheus
from waypoint_lab.measure.http_answer import place
from waypoint_lab.measure.prometheus import PrometheusError


@pytest.mark.parametrize("answer", [CUT, STALLED])
def test_number_of_a_stalled_or_cut_error_is_one_line(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with answering(answer) as url, pytest.raises(PrometheusError) as caught:
        prometheus.number(url, "up", 0.2)
    assert f"Prometheus at {url} answers 503 to 'up'" == str(caught.value)


def test_number_of_an_answer_without_an_end_has_a_limit_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Application() as server:
        server.parts, server.pause = (HEAD, *[b"1"] * 30), 0.1  # no pause is as long as the limit
        with pytest.raises(PrometheusError, match=r"does not answer: timed out$"):
            prometheus.number(server.check().url, "up", 0.3)


def test_number_with_a_password_sends_it_and_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with server(401) as there, pytest.raises(PrometheusError) as caught:
        prometheus.number(there.url.replace("//", "//user:S3cret@"), "up")
    assert there.authorization == ["Basic dXNlcjpTM2NyZXQ="]
    assert str(caught.value) == f"Prometheus at {place(there.url)} answers 401 to 'up'"
