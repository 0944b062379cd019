"""Secrets of a stack are measured, and never reach an output, a journal or a report."""

import io
import json
import os
from pathlib import Path

import pytest

from tests.unit.report.reports import change, report, result
from waypoint_lab import masking
from waypoint_lab.cli import doctor, main
from waypoint_lab.config import deployed
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError
from waypoint_lab.masking import masked
from waypoint_lab.measure import manifests
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.report import page
from waypoint_lab.rollout.journal import Journal

TOKEN = "t0p.secret-value"  # noqa: S105


def test_masked_report_has_no_form_of_a_secret() -> None:
    route = {"kind": "HTTPRoute", "spec": {"exact": TOKEN, "regex": r"^.*k=t0p\.secret\-value(;.*)?$"}}
    stage = result("premium", change(f"end-user: {TOKEN}: canary"), manifests={"HTTPRoute reviews": route})
    stage.notes = [f"header {TOKEN}"]
    found = report(stage, config={"app": {"premium": {"value": TOKEN}}}, repeat=[f"lab run --header end-user={TOKEN}"])
    text = page.html(masked(found, [TOKEN]))
    assert "t0p" not in text
    assert text.count("[secret]") >= 5


def test_masked_short_secret_hides_whole_values_only() -> None:
    assert masked({"a": "on", "b": "only"}, ["on"]) == {"a": "[secret]", "b": "only"}


SECRETS = """
config:
  waypoint-lab:canary:
    cohort: {header: end-user, value: {secure: v1:cohort}}
  waypoint-lab:app:
    request:
      headers: {authorization: {secure: v1:header}}
  other:key: {secure: v1:other}
"""
SHOWN = {
    "waypoint-lab:canary": {"secret": True, "objectValue": {"cohort": {"header": "end-user", "value": TOKEN}}},
    "waypoint-lab:app": {"secret": True, "objectValue": {"request": {"headers": {"authorization": "Bearer abc"}}}},
    "other:key": {"secret": True, "value": "another"},
}


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PulumiStack:
    """Return a stack with secrets, which a stand-in for Pulumi decrypts and counts."""
    monkeypatch.setattr(masking, "_known", set())
    (tmp_path / "Pulumi.dev.yaml").write_text(SECRETS)
    (tmp_path / "shown").write_text(json.dumps(SHOWN))
    (tmp_path / "pulumi").write_text("#!/bin/sh\necho call >> calls\ncat shown\n")
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return PulumiStack(tmp_path, "dev")


def test_config_of_a_stack_has_its_secrets_which_are_then_hidden(stack: PulumiStack, tmp_path: Path) -> None:
    assert stack.target_kind() == "embedded"
    assert not (tmp_path / "calls").exists(), "the kind is known without Pulumi"
    for config in (stack.config(), stack.set({"canary.weight": 5})):
        assert config.canary.cohort
        assert config.canary.cohort.value == TOKEN
        assert config.app.request.headers == {"authorization": "Bearer abc"}
    assert (tmp_path / "calls").read_text().count("call") == 1, "each secret is read once"
    assert "secure: v1:cohort" in stack.file.read_text()
    written = io.StringIO()
    print(f"end-user={TOKEN}, Bearer abc, another, and more", file=masking.MaskedStream(written))
    assert written.getvalue() == "end-user=[secret], [secret], [secret], and more\n"
    record = Journal(tmp_path, "dev").append("decision", "p", why=f"{TOKEN} was refused")
    assert record["why"] == "[secret] was refused"


def test_doctor_examines_a_stack_with_its_secrets(stack: PulumiStack, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[LabConfig] = []
    kinds: list[str] = []
    monkeypatch.setattr(doctor, "PROJECT_FOLDER", stack.folder)
    monkeypatch.setattr(doctor, "use_target", lambda _state, kind: kinds.append(kind))
    monkeypatch.setattr(doctor, "examine", lambda config: seen.append(config) or [])
    assert main.main(["doctor"]) == 0
    assert ([config.canary.cohort and config.canary.cohort.value for config in seen], kinds) == ([TOKEN], ["embedded"])


def test_free_text_of_an_object_that_is_one_secret_is_hidden(stack: PulumiStack, tmp_path: Path) -> None:
    stack.file.write_text("config:\n  waypoint-lab:canary: {secure: v1:all}\n")
    given = json.dumps({"evidence": ["traffic"], "cohort": {"header": "end-user", "value": TOKEN}})
    (tmp_path / "shown").write_text(json.dumps({"waypoint-lab:canary": {"secret": True, "value": given}}))
    assert stack.config().canary.evidence == ("traffic",)
    assert masking.hidden(f"{TOKEN} of end-user, by traffic: {given}") == "[secret] of end-user, by traffic: [secret]"
    shown = {"waypoint-lab:canary": {"secret": True, "value": given.replace("traffic", "trafic")}}
    (tmp_path / "shown").write_text(json.dumps(shown))
    with pytest.raises(ConfigError) as caught:
        PulumiStack(tmp_path, "dev").config()
    assert "trafic" not in str(caught.value)


def test_manifests_of_a_state_have_placeholders_for_secrets() -> None:
    mark = {deployed._MARK: deployed._IS_SECRET, "ciphertext": "v1:abc"}
    assert manifests.without_secrets({"a": [{"value": mark}]}) == {"a": [{"value": "[secret]"}]}
