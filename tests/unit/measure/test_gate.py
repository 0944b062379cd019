"""Verdicts of the gate, its record, and its figures from Prometheus."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.components.recording import Recording, run
from tests.unit.configs import lab_config
from waypoint_lab import kubectl
from waypoint_lab.config.settings import PROMOTION, SKIP_GATE, LabConfig
from waypoint_lab.config.traffic_models import CanarySettings, GateSettings, PrometheusSettings
from waypoint_lab.config.weights import StepsError, read_steps, shown
from waypoint_lab.errors import ConfigError, GateError, NotSyncedError, ProbeError
from waypoint_lab.measure import envoy_config, gate, prometheus, traffic
from waypoint_lab.measure.client import Answer
from waypoint_lab.measure.traffic import TrafficBlock
from waypoint_lab.measure.unpaired import Outcomes
from waypoint_lab.program import build
from waypoint_lab.program.context import GateCheck

GOOD, RED, FAILED = Answer(200, "none"), Answer(200, "red"), Answer(503, "unknown")
SILENT, SLOW = Answer(0, error="TimeoutError", seconds=15.0), Answer(200, "none", seconds=2.0)
FULL = GateSettings(success_rate=99, p99_seconds=1, share=True, minimum_requests=100)


def failures(weight: float, settings: GateSettings, answers: list[Answer]) -> list[str]:
    return gate.failures(LabConfig(canary=CanarySettings(weight=weight)), settings, answers)


def test_failures_traffic_as_declared_has_none() -> None:
    assert failures(20, FULL, [GOOD] * 400 + [RED] * 100) == []


def test_failures_low_success_rate_has_interval_and_sample() -> None:
    (line,) = failures(20, GateSettings(success_rate=99), [GOOD] * 470 + [FAILED] * 30)
    assert line == ("success rate: declared at least 99.00%, measured 94.00%, interval 88.81%-97.32%, 500 requests")


def test_failures_exactly_the_declared_success_rate_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for percent in (99.9, 99.7, 55.3, 7.0, 99.0):  # 1 - 0.93 is less than 0.07
        failed = round(10 * (100 - percent))
        rows = [GOOD] * (1000 - failed) + [FAILED] * failed
        assert failures(0, GateSettings(success_rate=percent), rows) == []
        Blocks(monkeypatch, users(Outcomes(), Outcomes(1000, failed)))
        assert judged(success_rate=percent) == []
        numbers = gate.PrometheusNumbers(1000, gate.share_of(percent))
        assert gate.judge_prometheus(GateSettings(success_rate=percent), numbers) == []
        assert failures(0, GateSettings(success_rate=percent), [*rows[1:], FAILED])


def test_users_requests_at_exactly_the_ratio_of_p99_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    slow, fast = [traffic.LoggedRequest(200, 230)] * 400, [traffic.LoggedRequest(200, 100)] * 400
    both = {"canary": Outcomes(400), "baseline": Outcomes(400)}
    Blocks(monkeypatch, TrafficBlock(both, {"canary": slow, "baseline": fast}))
    assert judged(p99_ratio=2.3) == []  # 2.3 * 0.1 is less than 0.23


def test_failures_requests_without_answer_fail_rate_and_p99() -> None:
    rate, p99 = failures(0, GateSettings(success_rate=99, p99_seconds=1), [GOOD] * 480 + [SILENT] * 20)
    assert "measured 96.00%" in rate
    assert "p99: declared at most 1 s, measured no answer" in p99


def test_failures_slow_p99_is_named() -> None:
    (line,) = failures(0, GateSettings(p99_seconds=0.5), [GOOD] * 480 + [SLOW] * 20)
    assert line == "p99: declared at most 0.5 s, measured 2.000 s, interval 2.000 s-no upper end, 500 requests"
    assert failures(0, GateSettings(p99_seconds=0.5), [GOOD] * 496 + [SLOW] * 4) == []


def test_failures_share_outside_its_interval_is_named() -> None:
    (line,) = failures(20, GateSettings(share=True), [GOOD] * 300 + [RED] * 200)
    assert line.startswith("share of the canary: declared 20.00%, measured 40.00%, interval ")


@pytest.mark.parametrize("least", [100, 499, 500])
def test_failures_share_of_the_least_sample_has_none(least: int) -> None:
    settings = GateSettings(share=True, minimum_requests=least)
    sample = gate._sample(settings, 0.5)
    assert least == sample
    assert failures(50, settings, [GOOD, RED] * (sample // 2) + [GOOD] * (sample % 2)) == []


def test_failures_small_sample_never_passes() -> None:
    for rows in ([], [GOOD] * 499):
        (line,) = failures(20, GateSettings(success_rate=1), rows)
        assert line == (f"sample: declared at least 500 requests in 30 s, measured {len(rows)}: no data is not a pass")


def test_check_failed_probe_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_more: object) -> None:
        raise ProbeError("the Pod is gone")

    monkeypatch.setattr(envoy_config, "wait", lambda _config: 0)
    monkeypatch.setattr(envoy_config, "wait_for_traffic", lambda _config: 0)
    monkeypatch.setattr(gate, "send", broken)
    with pytest.raises(GateError) as error:
        gate.check(LabConfig(canary=CanarySettings(gate=GateSettings(success_rate=99))))
    assert str(error.value) == "waypoint-lab:canary.gate: not measured, and no data is not a pass: the Pod is gone"


# The record of a passed gate.


def gated(config: LabConfig) -> Recording:
    if not config.canary.gate or not config.stages.canary:
        return run(lambda: build.build(config))
    check = GateCheck(gate.record(config), (lambda: gate.check(config)) if gate.wanted() else None)
    return run(lambda: build.build(config, gate=check))


def built(**canary: object) -> dict[str, object]:
    record = gated(lab_config("waypoint", "canary", canary=canary))
    return record.inputs("reviews-gate")["metadata"]["annotations"] if "reviews-gate" in record.made else {}


def test_record_without_a_gate_is_absent() -> None:
    assert built() == {}


def test_record_changes_with_weight_cohort_and_gate_only() -> None:
    first = built(gate={"successRate": 99})
    assert built(gate={"successRate": "99"}, mirrorPercent=5) == first
    assert built(gate={"successRate": 99}, weight=30) != first
    assert built(gate={"successRate": 98}) != first
    assert built(gate={"successRate": 99}, cohort={"header": "end-user", "value": "me"}) != first


def by_prometheus(user: str = "reader:S3cret@", **more: Any) -> dict[str, Any]:
    source = {"url": f"https://{user}prom.example/t0ken", "requests": "sum(up)", "successRate": "avg(ok)", **more}
    return {"evidence": "prometheus", "gate": {"successRate": 99, "prometheus": source}}


def test_record_has_no_address_query_or_value_that_may_be_secret() -> None:
    first = built(**by_prometheus(), cohort={"header": "end-user", "value": "m3mber"})
    for text in ("S3cret", "prom.example", "t0ken", "sum(up)", "avg(ok)", "m3mber"):
        assert text not in str(first)


def test_record_changes_with_the_prometheus_and_not_with_its_password() -> None:
    first = built(**by_prometheus())
    assert built(**by_prometheus("reader:other@")) == first
    assert built(**by_prometheus(requests="sum(down)")) != first


def test_record_of_a_rollback_has_no_hook_and_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = built(gate={"successRate": 99})
    monkeypatch.setenv(SKIP_GATE, "1")
    config = lab_config("waypoint", "canary", canary={"gate": {"successRate": 99}})
    record = gated(config)
    assert "reviews-gate" not in record.hooks
    found = record.inputs("reviews-gate")["metadata"]["annotations"]
    assert found["waypoint-lab/passed"] == "{}"
    assert found != passed


def test_record_without_a_canary_is_absent() -> None:
    config = lab_config("waypoint", "premium", canary={"gate": {"successRate": 99}})
    assert "reviews-gate" not in gated(config).made


# Weights below one percent.


def test_shown_weights_have_no_trailing_zeros() -> None:
    assert [shown(weight) for weight in (0, 0.1, 20.0, 12.5, 100)] == ["0", "0.1", "20", "12.5", "100"]


@pytest.mark.parametrize("text", ["", "5,5", "5,1", "0,5", "5,101", "a", "nan", "1,,2", "0.00001"])
def test_read_steps_that_do_not_rise_are_refused(text: str) -> None:
    with pytest.raises(StepsError, match="rising percentages"):
        read_steps(text)


def test_build_cohort_rule_precedes_all_others() -> None:
    config = LabConfig.from_mapping(
        {
            "stages": {"waypoint": True, "canary": True, "premium": True},
            "canary": {"cohort": {"header": "end-user", "value": "me"}, "weight": 0},
        }
    )
    rules = run(lambda: build.build(config)).inputs("reviews-route")["spec"]["rules"]
    assert [[ref["name"] for ref in rule["backendRefs"]] for rule in rules] == [
        ["reviews-stable"],
        ["reviews-premium"],
        ["reviews-baseline"],
    ]


# Prometheus.


class _Server(HTTPServer):
    answers: dict[str, tuple[int, str]]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)["query"][0]
        assert isinstance(self.server, _Server)
        status, text = self.server.answers[query]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_args: object) -> None:
        pass


def vector(*values: str) -> tuple[int, str]:
    rows = [{"metric": {}, "value": [0, value]} for value in values]
    return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}})


@pytest.fixture
def server() -> Iterator[_Server]:
    """A stand-in for Prometheus that answers queries by their text."""
    with _Server(("127.0.0.1", 0), _Handler) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def asked(server: _Server, **answers: tuple[int, str]) -> list[str]:
    server.answers = {"requests": vector("1000"), "rate": vector("99.5"), "p99": vector("0.2"), **answers}
    url = f"http://127.0.0.1:{server.server_port}"
    settings = GateSettings(
        success_rate=99,
        p99_seconds=1,
        seconds=0.01,
        prometheus=PrometheusSettings(url=url, requests="requests", success_rate="rate", p99="p99"),
    )
    assert settings.prometheus
    return gate.prometheus_failures(settings, settings.prometheus)


def test_prometheus_within_the_thresholds_passes(server: _Server) -> None:
    assert asked(server) == []
    scalar = json.dumps({"status": "success", "data": {"resultType": "scalar", "result": [0, "99.9"]}})
    assert asked(server, rate=(200, scalar)) == []


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"rate": vector("98")}, "success rate: declared at least 99.00%, measured 98.00%, interval 95.68%-99.29%"),
        ({"p99": vector("1.5")}, "p99: declared at most 1 s, measured 1.500 s, 1000 requests"),
        ({"requests": vector("10")}, "sample: declared at least 500 requests in 0.01 s, Prometheus has 10: no data is"),
        ({"requests": vector()}, "has no data for 'requests'"),
        ({"requests": vector("NaN")}, "has nan for 'requests', which is not a number"),
        ({"rate": vector("NaN")}, "has nan for 'rate', which is not a number"),
        ({"rate": vector()}, "has no data for 'rate'"),
        ({"rate": vector("1", "2")}, "'rate' gives 2 numbers: it must give one, as sum() does"),
        ({"rate": vector("140")}, "'rate' gives 140: it must give percent, 0 to 100"),
        ({"rate": (400, '{"error": "parse error"}')}, "answers 400 to 'rate': parse error"),
        ({"rate": (200, "<html>")}, "does not answer 'rate' as a Prometheus does"),
        ({"rate": (200, "x" * ((1 << 20) + 1))}, "answers 'rate' with more than 1048576 bytes"),
    ],
)
def test_prometheus_bad_answer_is_one_line(server: _Server, answers: dict[str, tuple[int, str]], said: str) -> None:
    (line,) = asked(server, **answers)
    assert said in line
    assert "\n" not in line


def test_prometheus_is_asked_only_for_the_numbers_of_the_thresholds(server: _Server) -> None:
    server.answers = {"requests": vector("1000"), "p99": vector("0.2")}
    url = f"http://127.0.0.1:{server.server_port}"
    source = PrometheusSettings(url=url, requests="requests", success_rate="rate", p99="p99")
    assert gate.prometheus_numbers(GateSettings(p99_seconds=1), source) == (1000, None, 0.2)


def test_prometheus_percent_with_floating_point_noise_is_100(server: _Server) -> None:
    for noisy in ("100.00000000000001", "99.99999999999999"):  # PromQL gives both for 100 * a / a
        assert asked(server, rate=vector(noisy)) == []
        assert prometheus.number(f"http://127.0.0.1:{server.server_port}", "rate") == 100


LAST = json.dumps({"weight": "20", "cohort": ""})


@pytest.mark.parametrize(
    ("canary", "last", "waits"),
    [
        ({"weight": 50}, LAST, True),
        ({"weight": 20, "cohort": {"header": "end-user", "value": "me"}}, LAST, True),
        ({"weight": 20}, "{}", True),
        ({"weight": 20}, "", True),
        ({"weight": 20}, LAST, False),
        ({"weight": 0}, LAST, False),
    ],
    ids=["weight", "cohort", "rolled back", "first", "same", "none"],
)
def test_check_by_prometheus_waits_until_the_queries_look_back_on_the_weight_alone(
    monkeypatch: pytest.MonkeyPatch, canary: dict[str, Any], last: str, *, waits: bool
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(envoy_config, "wait", lambda _config: 0)
    record = ("get", "configmap", "reviews-gate")
    monkeypatch.setattr(kubectl, "run", lambda _target, *words: last if words[:3] == record else LAST)
    monkeypatch.setattr(prometheus.time, "sleep", slept.append)
    monkeypatch.setattr(gate, "prometheus_failures", lambda *_args: [])
    gate.check(lab_config("waypoint", "canary", canary={**canary, **by_prometheus(windowSeconds=30)}))
    assert [29 < seconds <= 30 for seconds in slept] == [True] * waits


def test_prometheus_unreachable_fails_at_once() -> None:
    with HTTPServer(("127.0.0.1", 0), _Handler) as taken:
        port = taken.server_port
    settings = PrometheusSettings(url=f"http://127.0.0.1:{port}", requests="requests")
    (line,) = gate.prometheus_failures(GateSettings(success_rate=99, seconds=30), settings)
    assert line.startswith(f"Prometheus at http://127.0.0.1:{port} does not answer: ")


def test_share_without_the_probe_is_refused() -> None:
    source = {"url": "http://x", "requests": "sum(up)"}
    with pytest.raises(ConfigError, match="only the probe can measure it"):
        lab_config(canary={"evidence": "prometheus", "gate": {"share": True, "prometheus": source}})


# Requests of users.


class Blocks:
    """A reader of traffic with these blocks in turn, and then empty ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *blocks: TrafficBlock | None) -> None:
        self.left = list(blocks)
        monkeypatch.setattr(traffic, "TrafficReader", lambda _config: self)
        monkeypatch.setattr(gate, "POLL_SECONDS", 0.001)

    def read(self) -> TrafficBlock | None:
        return self.left.pop(0) if self.left else TrafficBlock(dict.fromkeys(traffic.ROLES, Outcomes()))


def users(canary: Outcomes, baseline: Outcomes, *, slow: int = 0, fast: int = 400) -> TrafficBlock:
    requests = [traffic.LoggedRequest(200, 900)] * slow + [traffic.LoggedRequest(200, 20)] * fast
    logged = {"canary": requests, "baseline": [traffic.LoggedRequest(200, 20)] * 400}
    return TrafficBlock({"canary": canary, "baseline": baseline}, logged)


def judged(seconds: float = 30, **thresholds: Any) -> list[str]:
    return gate.traffic_failures(LabConfig(), GateSettings(minimum_requests=500, seconds=seconds, **thresholds))


def test_users_requests_within_the_thresholds_pass_once_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    block = users(Outcomes(50, 1), Outcomes(200, 1))
    Blocks(monkeypatch, block, None, block)  # 500 requests, as declared
    assert judged(success_rate=99, p99_seconds=1, p99_ratio=2) == []


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        ({"success_rate": 99}, "success rate: declared at least 99.00%, measured 97.50%, interval 94.62%-99.11%"),
        ({"p99_seconds": 0.5}, "p99: declared at most 0.5 s, measured 0.900 s"),
        ({"p99_ratio": 3}, "p99: declared at most 0.06 s, measured 0.900 s"),
    ],
)
def test_users_requests_beyond_a_threshold_fail(
    monkeypatch: pytest.MonkeyPatch, thresholds: dict[str, float], said: str
) -> None:
    Blocks(monkeypatch, users(Outcomes(100, 20), Outcomes(700), slow=20))
    (line,) = judged(**thresholds)
    assert line.startswith(said)


def test_too_few_requests_of_users_are_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    Blocks(monkeypatch, users(Outcomes(10), Outcomes(489)))
    assert judged(0.01, success_rate=1) == [
        "sample: declared at least 500 requests in 0.01 s, measured 499 of users: no data is not a pass"
    ]
    monkeypatch.setattr(traffic, "none_passed", lambda _config: "no request passed the waypoint")
    Blocks(monkeypatch)
    (line,) = judged(0.01, success_rate=1)
    assert line.endswith("measured 0 of users (no request passed the waypoint): no data is not a pass")
    block = users(Outcomes(500), Outcomes(500), fast=49)
    Blocks(monkeypatch, block, block)
    (line,) = judged(0.01, p99_ratio=2)
    assert "measured 98 of users to one backend, of at least 100" in line


def test_ratio_to_a_baseline_without_answers_is_taken_of_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, left, slow = (traffic.LoggedRequest(*one) for one in ((200, 10), (0, 10), (200, 60_000)))
    both = {"canary": Outcomes(300), "baseline": Outcomes(300)}
    Blocks(monkeypatch, TrafficBlock(both, {"canary": [slow] * 300, "baseline": [fast] * 196 + [left] * 4}))
    (line,) = judged(p99_ratio=1.5)
    assert line.startswith("p99: declared at most 0.015 s, measured 60.000 s")
    Blocks(monkeypatch, TrafficBlock(both, {"canary": [fast] * 300, "baseline": [fast] * 99 + [left] * 201}))
    (line,) = judged(0.01, p99_ratio=1.5)
    assert "measured 99 of users to one backend, of at least 100 (to the baseline, with an answer)" in line


@pytest.mark.parametrize(
    ("canary", "baseline", "said"),
    [(6, 6, ""), (0, 6, ""), (12, 6, "measured no answer"), (6, 0, "measured no answer")],
)
def test_canary_may_have_as_many_requests_without_an_answer_as_the_baseline(
    monkeypatch: pytest.MonkeyPatch, canary: int, baseline: int, said: str
) -> None:
    answer, left = traffic.LoggedRequest(200, 10), traffic.LoggedRequest(0, 10)
    both = {"canary": Outcomes(300), "baseline": Outcomes(300)}
    logged = {"canary": canary, "baseline": baseline}
    block = TrafficBlock(both, {role: [left] * gone + [answer] * (300 - gone) for role, gone in logged.items()})
    Blocks(monkeypatch, block)
    assert said in "".join(judged(p99_ratio=1.5)) if said else judged(p99_ratio=1.5) == []


def test_baseline_without_answers_hides_no_slow_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, left, slow = (traffic.LoggedRequest(*one) for one in ((200, 10), (0, 10), (200, 900)))
    both = {"canary": Outcomes(300), "baseline": Outcomes(300)}
    logged = {"canary": [slow] * 20 + [fast] * 280, "baseline": [left] * 60 + [fast] * 240}
    Blocks(monkeypatch, TrafficBlock(both, logged))
    (line,) = judged(p99_ratio=1.5)
    assert line.startswith("p99: declared at most 0.015 s, measured 0.900 s")


def test_ratio_is_judged_of_a_weight_below_one_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    Blocks(monkeypatch, users(Outcomes(300), Outcomes(300), slow=20))
    low = LabConfig(canary=CanarySettings(weight=0.5))
    (line,) = gate.traffic_failures(low, GateSettings(p99_ratio=3))
    assert line.startswith("p99: declared at most 0.06 s, measured 0.900 s")


def test_check_by_traffic_alone_sends_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object, **_more: object) -> None:
        raise AssertionError("a request was sent")

    monkeypatch.setattr(envoy_config, "wait", lambda _config: 0)
    monkeypatch.setattr(envoy_config, "wait_for_traffic", refused)
    monkeypatch.setattr(gate, "send", refused)
    Blocks(monkeypatch, users(Outcomes(100), Outcomes(400)))
    gate.check(LabConfig(canary=CanarySettings(evidence=("traffic",), gate=GateSettings(success_rate=99))))


def test_check_of_a_waypoint_that_is_not_in_sync_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(_config: LabConfig) -> None:
        raise NotSyncedError("the route is late")

    monkeypatch.setattr(envoy_config, "wait", late)
    Blocks(monkeypatch, users(Outcomes(100), Outcomes(400)))
    with pytest.raises(GateError, match=r"not measured, and no data is not a pass: the route is late$"):
        gate.check(LabConfig(canary=CanarySettings(evidence=("traffic",), gate=GateSettings(success_rate=99))))


def test_check_in_a_promotion_leaves_the_requests_of_users_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROMOTION, "1")
    monkeypatch.setattr(envoy_config, "wait", lambda _config: 0)
    Blocks(monkeypatch)
    config = LabConfig(canary=CanarySettings(evidence=("traffic",), gate=GateSettings(success_rate=99)))
    gate.check(config)
    assert gate.record(config) == {}
    assert gate.record(LabConfig(canary=CanarySettings(gate=GateSettings(success_rate=99)))) != {}


def test_check_in_a_promotion_leaves_prometheus_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROMOTION, "1")
    monkeypatch.setattr(envoy_config, "wait", lambda _config: 0)
    monkeypatch.setattr(gate, "prometheus_failures", lambda *_args: ["too few requests"])
    config = lab_config("waypoint", "canary", canary=by_prometheus())
    gate.check(config)
    assert gate.record(config) == {}
