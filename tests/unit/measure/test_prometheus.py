"""Errors of a Prometheus whose answer is stalled or cut."""

import pytest

from tests.unit.measure.servers import CUT, STALLED, answering
from waypoint_lab.measure import prometheus
from waypoint_lab.measure.prometheus import PrometheusError


@pytest.mark.parametrize("answer", [CUT, STALLED])
def test_number_of_a_stalled_or_cut_error_is_one_line(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with answering(answer) as url, pytest.raises(PrometheusError) as caught:
        prometheus.number(url, "up", 0.2)
    assert f"Prometheus at {url} answers 503 to 'up'" == str(caught.value)
