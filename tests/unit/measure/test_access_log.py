"""Requests of each waypoint, from the access logs."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.unit.measure.servers import install
from tests.unit.measure.waypoint_logs import ADDRESS, MINE, REAL, TWO, line, use
from waypoint_lab.chaos import blast_radius
from waypoint_lab.cli import chaos
from waypoint_lab.config.models import ExistingTarget
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError
from waypoint_lab.measure import access_log
from waypoint_lab.measure.request import AGENT


def test_requests_real_line_has_all_fields() -> None:
    assert list(access_log.requests(REAL, [ADDRESS])) == [
        {
            "start": "2026-11-24T10:12:19.543Z",
            "method": "GET",
            "status": "200",
            "flags": "-",
            "milliseconds": "5",
            "agent": "exp",
            "upstream": "10.244.1.1:9080",
            "cluster": "inbound-vip|9080|http|reviews.bookinfo-backends.svc.cluster.local",
            "local": ADDRESS,
        }
    ]


def test_requests_failure_and_long_agent_are_read() -> None:
    (found,) = access_log.requests(line("Mozilla/5.0 (X11; Linux)", status="503", flags="UF,URX"), [ADDRESS])
    assert (found["agent"], found["status"], found["flags"]) == ("Mozilla/5.0 (X11; Linux)", "503", "UF,URX")


def test_requests_lines_of_other_services_are_left_out() -> None:
    log = [
        "2026-11-24T10:12:19.543Z\tinfo\txdsproxy\tconnected to upstream XDS server: istiod.istio-system.svc:15012",
        line(address="10.96.232.8:9080"),
        line(address="10.96.232.83:9081"),
        REAL.split(" inbound-vip")[0],
        "",
        line(),
    ]
    assert [found["agent"] for found in access_log.requests("\n".join(log), [ADDRESS])] == [MINE]


def test_agent_is_unique_and_has_the_labs_name() -> None:
    first, second = access_log.agent(), access_log.agent()
    assert first != second
    assert {first.split("/")[0], second.split("/")[0]} == {AGENT}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "POLL_SECONDS", 0.001)


@pytest.mark.usefixtures("impatient")
def test_answers_counts_own_requests_once_all_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [line("curl/8"), line(AGENT), line(f"{AGENT}/ffffffff"), line(MINE + "0")]
    fake = use(
        monkeypatch,
        waypoint=[others, [line(), *others], [line(), line(), line(), *others]],
        waypoint_next=[[], [line(status="503")], [line(status="503")]],
    )
    assert access_log.totals(access_log.answers(TWO, MINE, 4, time.monotonic())) == Counter(
        {"waypoint": 3, "waypoint-next": 1}
    )
    assert len([command for command in fake.commands if command[0] == "logs"]) == 6
    assert [command[0] for command in fake.commands].count("get") == 1


@pytest.mark.usefixtures("impatient")
def test_answers_missing_in_the_log_waits_until_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "LIMIT_SECONDS", 0.02)
    fake = use(monkeypatch, waypoint=[[line()]], waypoint_next=[[]])
    began = time.monotonic()
    assert access_log.answers(TWO, MINE, 2, began)["waypoint"].total() == 1
    assert time.monotonic() - began < 5
    assert len([command for command in fake.commands if command[0] == "logs"]) > 2


def test_answers_reads_the_log_since_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = use(monkeypatch, waypoint=[[line()]], waypoint_next=[[]])
    access_log.answers(TWO, MINE, 1, time.monotonic() - 60)
    windows = {next(word for word in command if word.startswith("--since=")) for command in fake.commands[1:]}
    assert windows <= {"--since=65s", "--since=66s"}
    assert windows
    assert all("--tail=-1" in command for command in fake.commands[1:]), "kubectl shows ten lines by a selector"


def test_traffic_counts_other_clients_of_both_waypoints(monkeypatch: pytest.MonkeyPatch) -> None:
    use(
        monkeypatch,
        waypoint=[[line("curl/8"), line("curl/8", status="503", flags="FI"), line(AGENT), line()]],
        waypoint_next=[[line("curl/8", flags="DI"), line(status="503", flags="FI")]],
    )
    assert blast_radius.traffic(TWO) == blast_radius.ObservedTraffic(3, 2)


@pytest.mark.parametrize(
    ("lines", "known"),
    [
        (['{"authority":"shop:80","response_code":503,"user_agent":"curl/8"}'], False),
        (["GET /reviews/0 200 curl/8"], False),
        ([line("curl/8"), "something else"], True),
        (["2026-11-24T10:12:19.543Z\tinfo\tEffective config: concurrency: 2", "proxyMetadata:", "  A: b"], True),
        (["2026/11/27 21:43:19 INFO GOMEMLIMIT is already set, skipping GOMEMLIMIT=1073741824"], True),
        (['{"level":"info","time":"2026-11-24T10:12:19.543Z","msg":"connected"}'], True),
        ([], True),
    ],
)
def test_traffic_of_a_log_of_another_format_is_not_known(
    monkeypatch: pytest.MonkeyPatch, lines: list[str], known: bool
) -> None:
    use(monkeypatch, waypoint=[lines], waypoint_next=[[]])
    found = blast_radius.traffic(TWO)
    assert isinstance(found, blast_radius.ObservedTraffic) is known
    assert known or str(found).startswith("waypoint waypoint: its access log is not in Istio's text format")


def test_log_is_read_from_the_cluster_of_the_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path, monkeypatch, '#!/bin/sh\necho "$@"\n')
    config = LabConfig(target=ExistingTarget(kubeconfig="/k", context="west"))
    want = "--kubeconfig=/k --context=west --request-timeout=30s logs --namespace bookinfo-backends "
    want += "--selector gateway.networking.k8s.io/gateway-name=blue "
    assert access_log.log(config, "blue", 7) == f"{want}--tail=-1 --max-log-requests=50 --since=7s\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo a >&2; echo forbidden >&2; exit 1", "kubectl get: forbidden"),
        ("exit 0", "there is no Service bookinfo-backends/reviews; set waypoint-lab:app"),
    ],
)
def test_answers_failure_of_kubectl_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, said: str
) -> None:
    install(tmp_path, monkeypatch, f"#!/bin/sh\n{script}\n")
    with pytest.raises(KubectlError) as caught:
        access_log.answers(TWO, MINE, 1, time.monotonic())
    assert str(caught.value) == said


def test_log_of_a_pod_that_was_deleted_meanwhile_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    results = ['kubectl logs: Error from server (NotFound): pods "w-1" not found', ""]

    def run(*_arguments: object) -> str:
        if problem := results.pop(0):
            raise KubectlError(problem)
        return "a line"

    monkeypatch.setattr(access_log.kubectl, "run", run)
    assert access_log.selected(ExistingTarget(), "shop", "app=w", 5) == "a line"
    results[:] = ["kubectl logs: pods is forbidden"]
    with pytest.raises(KubectlError, match="pods is forbidden"):
        access_log.selected(ExistingTarget(), "shop", "app=w", 5)


STARTING = 'Error from server (BadRequest): container "istio-proxy" in pod "w-2" is waiting to start: ContainerCreating'
EVICTED = 'Error from server (BadRequest): container "istio-proxy" in pod "w-2" is not available'


def pod(name: str, state: str) -> dict[str, Any]:
    statuses = [{"name": "istio-proxy", "state": {state: {}}}] if state else []
    return {"metadata": {"name": name}, "status": {"containerStatuses": statuses}}


class Pods:
    """Pods whose logs a selector reads in vain; `fail` is the error of a Pod's own log."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, problem: str, *pods: dict[str, Any]) -> None:
        self.problem, self.pods, self.fail = problem, pods, ""
        self.commands: list[str] = []
        monkeypatch.setattr(access_log.kubectl, "run", self)

    def __call__(self, _target: object, *arguments: str, **_more: object) -> str:
        self.commands.append(" ".join(arguments[:1] if "--selector" in arguments else arguments[:4]))
        if arguments[0] == "get":
            return json.dumps({"items": self.pods})
        if "--selector" in arguments:
            raise KubectlError(f"kubectl logs: {self.problem}")
        if self.fail:
            raise KubectlError(f"kubectl logs: {self.fail}")
        return f"a line of {arguments[3]}\n"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("problem", "state"), [(STARTING, "waiting"), (EVICTED, "terminated"), (EVICTED, "")])
def test_log_beside_a_pod_that_has_none_is_of_those_that_run(
    monkeypatch: pytest.MonkeyPatch, problem: str, state: str
) -> None:
    fake = Pods(monkeypatch, problem, pod("w-1", "running"), pod("w-2", state), pod("w-3", "running"))
    text = access_log.selected(ExistingTarget(), "shop", "app=w", 5)
    assert text.split("\n") == ["a line of w-1", "", "a line of w-3", ""]
    want = ["logs", "get pods --namespace shop", "logs --namespace shop w-1", "logs --namespace shop w-3"]
    assert want == fake.commands


@pytest.mark.usefixtures("impatient")
def test_log_of_pods_that_are_gone_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    Pods(monkeypatch, STARTING)
    assert access_log.selected(ExistingTarget(), "shop", "app=w", 5) == ""


@pytest.mark.usefixtures("impatient")
def test_log_without_a_pod_that_runs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "LIMIT_SECONDS", 0.01)
    Pods(monkeypatch, STARTING, pod("w-2", "waiting"))
    with pytest.raises(KubectlError, match=r"is waiting to start: ContainerCreating$"):
        access_log.selected(ExistingTarget(), "shop", "app=w", 5)


@pytest.mark.usefixtures("impatient")
def test_log_of_a_pod_that_runs_and_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Pods(monkeypatch, STARTING, pod("w-1", "running"), pod("w-2", "waiting"))
    fake.fail = 'pods "w-1" is forbidden'
    with pytest.raises(KubectlError, match=r'^kubectl logs: pods "w-1" is forbidden$'):
        access_log.selected(ExistingTarget(), "shop", "app=w", 5)


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ({"clusterIP": "10.96.0.9"}, ("10.96.0.9:9080",)),
        ({"clusterIP": "fd00:10:96::1a", "clusterIPs": ["fd00:10:96::1a"]}, ("[fd00:10:96::1a]:9080",)),
        ({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"]}, ("10.96.0.9:9080", "[fd00::9]:9080")),
    ],
)
def test_addresses_of_each_family_are_those_of_the_log(
    monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any], want: tuple[str, ...]
) -> None:
    monkeypatch.setattr(access_log.kubectl, "get", lambda *_arguments: {"spec": spec})
    found = access_log.addresses(LabConfig())
    assert want == found
    log = "\n".join(line(address=one) for one in (*want, "10.96.0.7:9080", "[fd00::7]:9080"))
    assert [one["local"] for one in access_log.requests(log, found)] == [*want]


def test_chaos_check_of_a_log_of_another_format_says_that_the_effect_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    why = "waypoint a: its access log is not in Istio's text format"
    monkeypatch.setattr(blast_radius, "traffic", lambda _config: why)
    monkeypatch.setattr(blast_radius, "obstacles", lambda _config: [])
    document = chaos._report(TWO, [], measured=False)
    assert document["traffic"] is None
    assert chaos._lines(document, TWO, measured=False) == [
        f"the number of the application's requests is not known: {why}"
    ]
