"""Secrets of a stack never reach a report."""

import os
from pathlib import Path

import pytest

from tests.unit.report.reports import change, report, result
from waypoint_lab.measure import manifests
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.report import context, page
from waypoint_lab.report.masking import masked, secrets

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


def test_secrets_are_the_values_that_pulumi_hides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = (
        '{"waypoint-lab:app": {"secret": true, "objectValue": {"service": "reviews", "premium": {"value": "SECRET"}}}}'
    )
    (tmp_path / "plain").write_text(shown.replace("SECRET", TOKEN))
    (tmp_path / "hidden").write_text(shown.replace("SECRET", "[secret]"))
    script = '#!/bin/sh\ncase "$*" in *--show-secrets*) cat plain;; *) cat hidden;; esac\n'
    (tmp_path / "pulumi").write_text(script)
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert secrets(PulumiStack(tmp_path, "dev")) == {TOKEN}


def test_manifests_of_a_state_have_placeholders_for_secrets() -> None:
    mark = {manifests._MARK: manifests._IS_SECRET, "ciphertext": "v1:abc"}
    assert manifests.without_secrets({"a": [{"value": mark}]}) == {"a": [{"value": "[secret]"}]}


def test_command_line_shows_the_server_of_an_address_only(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["lab", "canary", "promote", "--approve-url", "https://user:pw@ok.example.com/hooks/abc"]
    monkeypatch.setattr("sys.argv", words)
    assert context.command_line() == "lab canary promote --approve-url 'https://ok.example.com/[secret]'"
