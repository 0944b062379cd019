"""Sources of the evidence of a step, one after the other."""

from dataclasses import replace

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.config.traffic_models import GateSettings, PrometheusSettings
from waypoint_lab.measure import gate as gates
from waypoint_lab.measure.client import Answer, Endpoint, Group
from waypoint_lab.measure.gate import PrometheusNumbers
from waypoint_lab.measure.prometheus import NoDataError, PrometheusError
from waypoint_lab.measure.traffic import TrafficBlock
from waypoint_lab.measure.unpaired import Outcomes
from waypoint_lab.rollout import prometheus_analysis, step_analysis
from waypoint_lab.rollout.analysis import ProbeEvidence, StepDecision, Thresholds
from waypoint_lab.rollout.prometheus_analysis import PrometheusEvidence
from waypoint_lab.rollout.state import CanaryStep
from waypoint_lab.rollout.step_analysis import Decided, StepAnalysis

OK, BAD = Answer(200, seconds=0.01), Answer(503, seconds=0.01)
LIMITS = Thresholds(0.02, 0.01, 0.01, limit_seconds=0.05)
GOOD, POOR = PrometheusNumbers(1000, 0.999), PrometheusNumbers(1000, 0.9)
SOURCE = {"url": "http://x", "requests": "r", "successRate": "s"}


class Sources:
    """Answers of each source; `asked` has the sources in the order of their use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.canary = OK
        self.users = TrafficBlock({"canary": Outcomes(500), "baseline": Outcomes(500)})
        self.numbers: PrometheusNumbers | PrometheusError = GOOD
        self.asked: list[str] = []
        self.groups: list[Group] = []
        self.limits: tuple[float, ...] = ()
        self.signal, self.window_seconds = "", 0.0
        sources = self

        class Client:
            def __init__(self, _config: object, groups: list[Group], *limits: float) -> None:
                sources.groups, sources.limits = groups, limits
                sources.asked.append("probe")

            def __enter__(self) -> "Client":
                return self

            def __exit__(self, *_args: object) -> None:
                sources.asked.append("probe ended")

            def read(self, _seconds: float) -> list[tuple[Answer, ...]]:
                return [(sources.canary, OK, OK)] * 500

        class Reader:
            def __init__(self, _config: object) -> None:
                sources.asked.append("traffic")

            def read(self) -> TrafficBlock:
                return sources.users

        def numbers(*_args: object) -> PrometheusNumbers:
            self.asked.append("prometheus")
            if isinstance(self.numbers, PrometheusError):
                raise self.numbers
            return self.numbers

        monkeypatch.setattr(step_analysis, "Client", Client)
        monkeypatch.setattr(step_analysis, "TrafficReader", Reader)
        monkeypatch.setattr(step_analysis, "INTERVAL_SECONDS", 0.001)
        monkeypatch.setattr(step_analysis, "none_passed", lambda _config: "no request passed the waypoint")
        monkeypatch.setattr(gates, "prometheus_numbers", numbers)

    def decide(self, *evidence: str) -> Decided:
        self.asked.clear()
        source = {**SOURCE, "windowSeconds": self.window_seconds}
        gate = {"gate": {"successRate": 99, "prometheus": source}} if "prometheus" in evidence else {}
        config = lab_config("waypoint", "canary", canary={"evidence": list(evidence), **gate})
        analysis = StepAnalysis(config, CanaryStep(20), LIMITS, None, lambda: self.signal)
        found = analysis.run()
        self.document = analysis.document()
        return found


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Sources:
    return Sources(monkeypatch)


def test_run_promotes_where_all_sources_agree_and_ends_the_probe_before_traffic(sources: Sources) -> None:
    decision, why = sources.decide("prometheus", "traffic", "probe")
    assert decision is StepDecision.PROMOTE
    assert sources.asked == ["probe", "probe ended", "traffic", "prometheus"]
    assert set(sources.document) == {"probe", "traffic", "prometheus"}
    assert why.endswith("; 1000 requests in Prometheus meet the thresholds of canary.gate")


def test_run_by_the_probe_reads_all_rounds_that_are_there(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    left, seen = [[(OK, OK, OK)]] * 30, list[int]()
    monkeypatch.setattr(step_analysis, "INTERVAL_SECONDS", 60.0)
    monkeypatch.setattr(step_analysis.Client, "read", lambda _client, _seconds: left.pop() if left else [])
    decide = ProbeEvidence.decide
    monkeypatch.setattr(ProbeEvidence, "decide", lambda one, at: seen.append(one.rounds) or decide(one, at + 1))
    assert sources.decide("probe")[0] is StepDecision.PAUSE
    assert seen == [30]


def test_run_by_the_probe_asks_canary_baseline_and_the_route_as_the_cohort_does(sources: Sources) -> None:
    config = lab_config("waypoint", "canary", "delay", trafficApi="virtual-service", fault={"delay": {"seconds": 2}})
    StepAnalysis(config, CanaryStep(20, "query:a=b"), LIMITS, None, lambda: "").run()
    (group,) = sources.groups
    services = (Endpoint(config.app.canary.service), Endpoint(config.app.baseline.service))
    assert (*services, Endpoint("", {}, "GET", "/reviews/0?a=b")) == group.endpoints
    assert (LIMITS.limit_seconds + 30, 7.0) == sources.limits


def test_run_by_traffic_alone_starts_no_probe(sources: Sources) -> None:
    assert sources.decide("traffic")[0] is StepDecision.PROMOTE
    assert sources.asked == ["traffic"]


def test_run_rolls_back_where_one_source_does(sources: Sources) -> None:
    sources.canary = BAD
    assert sources.decide("probe", "traffic", "prometheus")[0] is StepDecision.ROLL_BACK
    assert sources.asked == ["probe", "probe ended"]
    sources.canary, sources.users = OK, TrafficBlock({"canary": Outcomes(500, 50), "baseline": Outcomes(500)})
    assert sources.decide("probe", "traffic", "prometheus")[0] is StepDecision.ROLL_BACK
    sources.users, sources.numbers = TrafficBlock({"canary": Outcomes(500), "baseline": Outcomes(500)}), POOR
    decision, why = sources.decide("probe", "traffic", "prometheus")
    assert decision is StepDecision.ROLL_BACK
    assert why.startswith("success rate: declared at least 99.00%, measured 90.00%")


def test_run_pauses_where_one_source_has_too_few_requests(sources: Sources) -> None:
    sources.users = TrafficBlock({"canary": Outcomes(), "baseline": Outcomes()})
    decision, why = sources.decide("probe", "traffic")
    assert decision is StepDecision.PAUSE
    assert why.endswith("are needed if it is healthy; no request passed the waypoint")
    sources.users = TrafficBlock({"canary": Outcomes(), "baseline": Outcomes(1)})
    assert sources.decide("traffic")[1].endswith("are needed if it is healthy")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (PrometheusNumbers(10), "Prometheus has 10 requests after 0 s; 500 are needed"),
        (NoDataError("no data for 'r'"), "no data for 'r'"),
        (PrometheusError("does not answer"), "does not answer"),
    ],
)
def test_run_by_prometheus_without_enough_data_pauses(
    sources: Sources, numbers: PrometheusNumbers | PrometheusError, said: str
) -> None:
    sources.numbers = numbers
    assert sources.decide("prometheus") == (StepDecision.PAUSE, said)


@pytest.mark.parametrize(
    ("numbers", "before", "after"),
    [
        (GOOD, None, StepDecision.PROMOTE),
        (PrometheusNumbers(10), None, StepDecision.PAUSE),
        (POOR, StepDecision.ROLL_BACK, StepDecision.ROLL_BACK),
    ],
    ids=["good", "few", "poor"],
)
def test_prometheus_evidence_of_an_earlier_weight_neither_promotes_nor_pauses(
    sources: Sources, numbers: PrometheusNumbers, before: StepDecision | None, after: StepDecision
) -> None:
    sources.numbers = numbers
    source = PrometheusSettings("http://x", "r", success_rate="s")
    evidence = PrometheusEvidence(GateSettings(success_rate=99, prometheus=source), LIMITS, window_seconds=60)
    evidence.read()
    found = [evidence.decide(elapsed_seconds) for elapsed_seconds in (59, 60)]
    assert [before, after] == [decided and decided[0] for decided in found]


def test_prometheus_evidence_has_the_least_time_and_number_of_requests_of_the_command(sources: Sources) -> None:
    source = PrometheusSettings("http://x", "r", success_rate="s")
    gate, longer = GateSettings(success_rate=99, prometheus=source), replace(LIMITS, min_seconds=60)
    evidence = PrometheusEvidence(gate, longer, window_seconds=0)
    evidence.read()
    assert [bool(evidence.decide(seconds)) for seconds in (59, 60)] == [False, True]
    more = PrometheusEvidence(gate, replace(LIMITS, min_rounds=2000), window_seconds=0)
    more.read()
    want = "Prometheus has 1000 requests after 60 s; 2000 are needed"
    assert more.decide(60) == (StepDecision.PAUSE, want)


def test_prometheus_evidence_that_is_no_longer_read_is_not_judged(sources: Sources) -> None:
    source = PrometheusSettings("http://x", "r", success_rate="s", p99="p")
    evidence = PrometheusEvidence(GateSettings(success_rate=99, prometheus=source), LIMITS, window_seconds=0)
    sources.numbers = PrometheusNumbers(1000, 0.997, 0.2)
    evidence.read()
    assert evidence.document() == {"requests": {"canary": 1000}, "failed": {"canary": 3}, "p99": 0.2}
    sources.numbers = PrometheusError("does not answer")
    evidence.read()
    assert evidence.decide(60) == (StepDecision.PAUSE, "does not answer")


def test_run_by_prometheus_asks_until_the_window_is_over(sources: Sources) -> None:
    sources.window_seconds = 0.05
    assert sources.decide("prometheus")[0] is StepDecision.PROMOTE
    assert len(sources.asked) > 1


def test_run_by_prometheus_that_is_silent_too_long_raises(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_analysis, "UNREADABLE_SECONDS", -1.0)
    sources.numbers = PrometheusError("does not answer")
    with pytest.raises(PrometheusError, match="does not answer"):
        sources.decide("prometheus")


def test_run_that_is_asked_to_stop_rolls_back(sources: Sources) -> None:
    sources.signal, sources.users = "SIGINT", TrafficBlock({"canary": Outcomes(), "baseline": Outcomes()})
    assert sources.decide("traffic") == (StepDecision.ROLL_BACK, "stopped by SIGINT")


@pytest.mark.parametrize("evidence", [("probe",), ("traffic", "prometheus"), ("probe", "traffic")])
def test_sources_share_the_probability_of_a_wrong_rollback(sources: Sources, evidence: tuple[str, ...]) -> None:
    sources.decide(*evidence)
    parts = [one["healthy_rolled_back"] for one in sources.document.values() if "healthy_rolled_back" in one]
    assert sum(parts) == pytest.approx(LIMITS.healthy_rolled_back)
