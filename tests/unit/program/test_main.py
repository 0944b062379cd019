import json
import runpy
from pathlib import Path
from typing import Any

import pulumi
import pytest
from google.protobuf import json_format

from embedded.control_plane.credentials import make_credentials
from tests.unit.components.recording import Recording, run
from waypoint_lab import masking
from waypoint_lab.config.settings import SKIP_GATE, LabConfig
from waypoint_lab.measure import gate
from waypoint_lab.program import build

GATED = {
    "waypoint-lab:stages": '{"waypoint":true,"canary":true}',
    "waypoint-lab:canary": '{"weight":50,"cohort":{"header":"x-team","value":"testers"},"gate":{"successRate":99}}',
}

SECRET = "4dabf18193072939515e22adb298388d"  # the key that marks a secret on its way to the engine


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An embedded cluster whose kubectl answers everything with one object: a Service, and the Pods."""
    pods = [{"metadata": {"labels": {"app": "reviews", "version": version}}} for version in ("v1", "v3")]
    answer = {"spec": {"ports": [{"port": 9080}]}, "items": pods}
    (tmp_path / "kubectl").write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    (tmp_path / "kubectl").chmod(0o755)
    make_credentials(tmp_path / "state", 16443)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "state" / "kubeconfig"))
    monkeypatch.setenv("WAYPOINT_LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(masking, "_known", set())


def without_secrets(value: Any) -> Any:
    """Return a value as the engine gets it, with nothing in place of each secret."""
    if isinstance(value, dict):
        return None if SECRET in value else {key: without_secrets(item) for key, item in value.items()}
    return [without_secrets(item) for item in value] if isinstance(value, list) else value


def program(config: dict[str, str], *secret: str) -> Recording:
    pulumi.runtime.set_all_config(config, list(secret))
    return run(lambda: runpy.run_path("__main__.py", run_name="__main__"))


@pytest.mark.usefixtures("cluster")
def test_program_with_a_gate_registers_its_record_and_its_hook() -> None:
    record = program(GATED)
    assert {"reviews-route", "reviews-gate"} <= set(record.made)
    assert [name for name in record.hooks if name == "reviews-gate"] == ["reviews-gate"]


@pytest.mark.usefixtures("cluster")
def test_program_with_a_secret_setting_keeps_it_secret_in_objects() -> None:
    record = program(GATED, "waypoint-lab:canary")
    for name in ("reviews-route", "reviews-gate"):
        request = json_format.MessageToDict(record.requests[name].object)
        assert ("testers" in json.dumps(request)) == (name == "reviews-route")  # the record has a digest
        assert "testers" not in json.dumps(without_secrets(request)), name


@pytest.mark.usefixtures("cluster")
def test_program_with_a_wrong_setting_fails_in_one_line() -> None:
    with pytest.raises(pulumi.RunError, match=r"^waypoint-lab:stages\.canry: there is no such setting"):
        program({"waypoint-lab:stages": '{"canry":true}'})


@pytest.mark.usefixtures("cluster")
def test_program_that_the_cluster_refuses_shows_no_secret(tmp_path: Path) -> None:
    script = '#!/bin/sh\necho "error: context t0p-secret does not exist" >&2; exit 1\n'
    (tmp_path / "kubectl").write_text(script)
    config = {"waypoint-lab:target": '{"kind":"existing","context":"t0p-secret"}'}
    with pytest.raises(pulumi.RunError, match=r"context \[secret\] does not exist"):
        program({**config, "waypoint-lab:stages": '{"waypoint":true}'}, "waypoint-lab:target")


@pytest.mark.usefixtures("cluster")
def test_gate_that_is_missed_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    def missed(config: LabConfig) -> None:
        assert config.canary.cohort
        raise gate.GateError(f"no answer for {config.canary.cohort.value}")

    made: list[build.GateCheck] = []
    monkeypatch.setattr(gate, "check", missed)
    monkeypatch.setattr(build, "build", lambda *given: made.append(given[2]))
    program(GATED, "waypoint-lab:canary")
    assert made[0].check
    with pytest.raises(pulumi.RunError, match=r"no answer for \[secret\]"):
        made[0].check()


@pytest.mark.usefixtures("cluster")
def test_program_of_a_rollback_is_not_refused_by_a_check_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"waypoint-lab:target": '{"kind":"existing"}', "waypoint-lab:stages": '{"waypoint":true}'}
    with pytest.raises(pulumi.RunError, match=r"^the cluster is not ready for the lab"):
        program(config)
    monkeypatch.setenv(SKIP_GATE, "1")
    assert "waypoint-gateway" in program(config).made
