"""`lab outcome`: an observation before a change, and a comparison after it, in two processes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.guard.observations import observed
from waypoint_lab.cli import main, outcome
from waypoint_lab.guard.observation import Observation
from waypoint_lab.guard.stored import dump, load


class Cluster:
    """A cluster whose next observation the test sets."""

    seen: Observation = observed(web=100)
    where: tuple[str, str, str] = ("", "", "")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()

    def look_up(target: Any, namespace: str) -> None:
        made.where = target.kubeconfig, target.context, namespace

    monkeypatch.setattr(outcome, "Waypoints", look_up)
    monkeypatch.setattr(outcome, "source", lambda waypoints: waypoints)
    monkeypatch.setattr(outcome, "use_target", lambda state, config: None)
    monkeypatch.setattr(outcome, "settle", lambda source, report: None)
    monkeypatch.setattr(outcome, "observed", lambda source, seconds, what, report: made.seen)
    return made


@pytest.fixture
def before(tmp_path: Path) -> str:
    """Return a file with an observation of 100 requests."""
    file = tmp_path / "before.json"
    file.write_text(dump(observed(web=100), "shop"))
    return str(file)


def run(*arguments: str) -> int:
    return main.main(["outcome", *arguments])


def test_observe_prints_the_observation_alone(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("observe", "--namespace", "shop", "--context", "prod") == 0
    found, namespace = load(capsys.readouterr().out)
    assert (namespace, cluster.where) == ("shop", ("", "prod", "shop"))
    assert cluster.seen.series == found.series


@pytest.mark.parametrize(
    ("after", "options", "status", "said"),
    [
        (observed(web=100), (), 0, ""),
        (observed(web=0), (), 1, "outcome: failed: web:80: went silent: 10 requests/s before, 0 after"),
        (observed(web=0), ("--allow-inconclusive",), 1, "outcome: failed: web:80: went silent"),
        (observed(web=0), ("--allow-silent", "web", "--allow-inconclusive"), 0, ""),
    ],
    ids=["same", "silent", "silent is not inconclusive", "allowed"],
)
def test_compare_exit_status_equals_the_verdict(
    cluster: Cluster,
    before: str,
    capsys: pytest.CaptureFixture[str],
    after: Observation,
    options: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    cluster.seen = after
    assert status == run("compare", "--before", before, "--json", *options)
    captured = capsys.readouterr()
    assert json.loads(captured.out)["not_measured"] == ["latency"]
    assert said in captured.err
    assert cluster.where[2] == "shop"


def test_compare_without_a_log_after_the_change_measures_no_latency(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "before.json"
    file.write_text(dump(replace(observed(web=100), answers={}), "shop"))
    assert run("compare", "--before", str(file), "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["not_measured"] == ["latency"]
    assert "outcome: latency is not measured: " in captured.err


def test_compare_without_traffic_is_inconclusive_and_never_a_pass(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "before.json"
    file.write_text(dump(observed(web=0), "shop"))
    cluster.seen = observed(web=0)
    assert run("compare", "--before", str(file)) == 3
    assert "outcome: inconclusive: traffic: no destination had a request before the change; " in capsys.readouterr().err
    assert run("compare", "--before", str(file), "--allow-inconclusive") == 0


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        (("observe",), 2, "Missing option '--namespace'"),
        (("compare", "--expect", "web"), 2, "web: it must be SERVICE=PERCENT"),
        (("compare", "--before", "/no/such/file"), 2, "No such file"),
    ],
)
def test_wrong_usage_names_what_is_right(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], status: int, said: str
) -> None:
    assert status == run(*given)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"{}", '{"version": 2}'.encode("utf-16"), b"\x1f\x8b\x08"])
def test_compare_with_another_file_is_one_line(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "other").write_bytes(content)
    assert run("compare", "--before", str(tmp_path / "other")) == 1
    assert "lab outcome compare: observation: it is not one of `lab outcome observe`" in capsys.readouterr().err
