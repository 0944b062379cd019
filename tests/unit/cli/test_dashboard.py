"""`lab dashboard --open` shows the address to nobody else, and the page knows the stack's secrets."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace

from tests.unit.cli.snapshots import QUIET
from waypoint_lab import masking
from waypoint_lab.cli import dashboard
from waypoint_lab.cli.dashboard import declared_weights, redirecting, snapshots
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError, PulumiError
from waypoint_lab.live.model import TrafficSnapshot
from waypoint_lab.live.sampler import Sampler
from waypoint_lab.pulumi_cli import PulumiStack

ADDRESS = "http://127.0.0.1:40123/t0ken/"


def test_redirecting_keeps_the_address_in_a_file_of_this_user_alone() -> None:
    with redirecting(ADDRESS) as uri:
        file = Path(urlsplit(uri).path)
        assert "t0ken" not in uri
        assert f"url={ADDRESS}" in file.read_text()
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not file.parent.exists()


def test_declared_weights_of_an_object_that_is_one_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", set())
    (tmp_path / "Pulumi.dev.yaml").write_text(
        "config: {'waypoint-lab:stages': {waypoint: true, canary: true}, 'waypoint-lab:canary': {secure: v1:a}}"
    )
    shown = '{"waypoint-lab:canary": {"value": "{\\"weight\\": 5, \\"responseHeaders\\": {\\"x\\": \\"t0ken\\"}}"}}'
    (tmp_path / "pulumi").write_text(f"#!/bin/sh\ncat <<'END'\n{shown}\nEND\n")
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert declared_weights(PulumiStack(tmp_path, "dev"))() == (5, 100)
    assert masking.hidden("x=t0ken") == "x=[secret]"


def test_declared_weights_are_read_again_after_a_read_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = PulumiStack(tmp_path, "dev")
    stack.file.write_text("config: {'waypoint-lab:stages': {waypoint: true, canary: true}}")
    monkeypatch.setattr(dashboard, "AGAIN_SECONDS", 0)
    answers = iter([PulumiError("no answer"), stack.config()])

    def config() -> LabConfig:
        found = next(answers)
        if isinstance(found, PulumiError):
            raise found
        return found

    monkeypatch.setattr(stack, "config", config)
    read = declared_weights(stack)
    with pytest.raises(ConfigError, match=r"^no answer$"):
        read()
    assert [read(), read()] == [(20, 100), (20, 100)]
    stack.file.unlink()
    with pytest.raises(ConfigError, match="it cannot be read"):
        read()


def test_snapshots_are_given_once_each_whatever_their_times_are() -> None:
    newest = [replace(QUIET, time=1000.0), None, replace(QUIET, time=1.0)]
    asked: list[object] = []
    sampler = SimpleNamespace(wait=lambda after, _limit: (asked.append(after), newest.pop(0))[1])
    source = snapshots(cast(Sampler, sampler))
    assert [found and found["time"] for found in (source(1.0), source(1.0), source(1.0))] == [1000.0, None, 1.0]
    assert [one and one.time for one in cast(list[TrafficSnapshot], asked)] == [None, 1000.0, 1000.0]


def test_snapshots_for_the_page_have_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", {"5676", "t0ken", "problem"})  # in the time, in a text, and a key
    newest = replace(QUIET, problem="no answer for t0ken")
    sampler = SimpleNamespace(wait=lambda _after, _limit: newest)
    found = snapshots(cast(Sampler, sampler))(1.0)
    assert found
    assert (QUIET.time, "no answer for [secret]") == (found["time"], found["problem"])
