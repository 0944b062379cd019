import http.server
import json
import threading
from pathlib import Path

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.cli import output
from waypoint_lab.config.target import stack_config
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure import probe_script
from waypoint_lab.measure.envoy_config import problem, weights
from waypoint_lab.measure.probe import Row
from waypoint_lab.measure.verify import Verdict, judge
from waypoint_lab.stages.table import Expect, Measure


def rows(count: int, *, status: int = 200, colour: str = "none", seconds: float = 0.01) -> list[Row]:
    return [Row(status, colour, "yes", seconds, False)] * count


def test_no_data_is_never_a_pass() -> None:
    for measure in Measure:
        verdict = judge(Expect("nothing", measure, "200", share=0.0), [])
        assert not verdict.passed
        assert verdict.why in ("no data", "no answer")


def test_fewer_requests_than_asked_for_are_a_miss() -> None:
    verdict = judge(Expect("short", Measure.STATUS, "200", requests=100), rows(99))
    assert not verdict.passed
    assert verdict.why == "only 99 of 100 requests were made"


@pytest.mark.parametrize(("red", "passed"), [(400, True), (500, False), (300, False)])
def test_the_default_sample_tells_20_percent_from_25(red: int, passed: bool) -> None:
    seen = rows(red, colour="red") + rows(2000 - red)
    verdict = judge(Expect("red", Measure.COLOUR, "red", 0.2, requests=2000), seen)
    assert verdict.passed is passed
    assert verdict.observed == {"red": red, "none": 2000 - red}


def test_a_single_exception_breaks_what_all_must_show() -> None:
    expect = Expect("all", Measure.STATUS, "200", requests=2000)
    assert judge(expect, rows(2000)).passed
    assert not judge(expect, rows(1999) + rows(1, status=503)).passed


def test_a_request_without_an_answer_counts_as_what_went_wrong() -> None:
    verdict = judge(
        Expect("all", Measure.STATUS, "200", requests=2), [*rows(1), Row(0, "TimeoutError", "no", 9, False)]
    )
    assert not verdict.passed
    assert verdict.observed == {"200": 1, "TimeoutError": 1}


@pytest.mark.parametrize(("seconds", "passed"), [(2.05, True), (1.9, False), (2.3, False)])
def test_a_delay_is_judged_by_its_median(seconds: float, passed: bool) -> None:
    expect = Expect("2 s later", Measure.SECONDS, low=2.0, high=2.2, requests=60)
    assert judge(expect, rows(60, seconds=seconds)).passed is passed


def test_the_table_names_what_missed() -> None:
    verdict = Verdict("red", False, 10, 0.2, 0.9, (0.5, 1.0), {"red": 9}, "declared 20 %, measured 9 of 10")
    assert str(output.verdict_cells(verdict)[-1]) == "FAILED  declared 20 %, measured 9 of 10"


def test_a_stack_without_a_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Pulumi\.dev\.yaml: there is no such file"):
        stack_config(tmp_path)


def manager(route: dict[str, object], *, rbac: bool = False) -> dict[str, object]:
    filters = [{"name": "envoy.filters.http.rbac", "typed_config": {"rules": {}}}] if rbac else []
    filters += [{"name": "envoy.filters.http.rbac", "typed_config": {"rules": {"action": "ALLOW"}}}] if rbac else []
    return {"route_config": {"virtual_hosts": [{"routes": [route]}]}, "http_filters": filters}


def cluster(service: str, weight: int = 1) -> dict[str, object]:
    return {"name": f"inbound-vip|9080|http|{service}.bookinfo-backends.svc.cluster.local", "weight": weight}


def test_shares_are_read_from_a_route() -> None:
    route = {
        "route": {"weighted_clusters": {"clusters": [cluster("reviews-baseline", 80), cluster("reviews-stable", 20)]}}
    }
    assert weights(route) == {"reviews-baseline": 0.8, "reviews-stable": 0.2}


def test_an_old_weight_is_not_live() -> None:
    config = lab_config("waypoint", "canary", canary={"weight": 50})
    old = {
        "route": {"weighted_clusters": {"clusters": [cluster("reviews-baseline", 80), cluster("reviews-stable", 20)]}}
    }
    new = {"route": {"weighted_clusters": {"clusters": [cluster("reviews-baseline", 1), cluster("reviews-stable", 1)]}}}
    assert problem(config, manager(old)) == "the waypoint sends 20% to reviews-stable"
    assert problem(config, manager(new)) == ""


def test_a_fault_that_stays_is_not_live() -> None:
    fault = {"envoy.filters.http.fault": {"abort": {"percentage": {"numerator": 50}}}}
    route = {"route": {"cluster": cluster("reviews")["name"]}, "typed_per_filter_config": fault}
    assert problem(lab_config("waypoint"), manager(route)) == "the waypoint aborts 50 %"
    assert problem(lab_config("waypoint", "abort"), manager(route)) == ""


def test_a_policy_is_live_once_the_waypoint_has_its_rules() -> None:
    route = {"route": {"cluster": cluster("reviews")["name"]}}
    config = lab_config("waypoint", "l7Policy")
    assert problem(config, manager(route)) == "the waypoint has no authorization rule"
    assert problem(config, manager(route, rbac=True)) == ""


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b'{"reviews": [{"rating": {"color": "red"}}]}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("requests", "seconds"), [(10, 30.0), (10_000_000, 0.3)])
def test_the_probe_is_bounded_in_count_and_time(
    requests: int, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        group = {"method": "GET", "path": "/reviews/0", "headers": {}, "requests": requests}
        spec = {"host": "127.0.0.1", "port": server.server_port, "groups": [group], "concurrency": 2}
        spec |= {"seconds": seconds, "request_seconds": 5, "pause_seconds": 0, "until_stdin_ends": False}
        probe_script.main(spec)
        server.shutdown()
    found = json.loads(capsys.readouterr().out)
    assert all(row[:3] == [200, "red", "no"] for row in found)
    assert len(found) == 10 if requests == 10 else 0 < len(found) < requests
