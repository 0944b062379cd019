"""The probe of `lab watch`, and its end in a pipe."""

import json
import sys
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import cast

import pytest
from msgspec.structs import replace

from tests.unit.cli.snapshots import QUIET
from tests.unit.configs import lab_config
from waypoint_lab import masking
from waypoint_lab.cli import watch
from waypoint_lab.live.sampler import Sampler
from waypoint_lab.measure.client import Group


def test_probe_that_has_ended_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found: list[list[str] | None] = [["round"], [], ["round"], None, None]
    client = SimpleNamespace(read=lambda _seconds: found.pop(0))
    groups: list[Group] = []
    monkeypatch.setattr(watch.Client, "__init__", lambda _client, _config, given, _limit: groups.extend(given))
    monkeypatch.setattr(watch.Client, "__enter__", lambda _client: client)
    monkeypatch.setattr(watch.Client, "__exit__", lambda *_error: None)
    with watch.probing(lab_config(), watch.PROBE_LIMIT_SECONDS) as drain:
        drain()
        assert capsys.readouterr().err == ""
        drain()
        drain()
    assert capsys.readouterr().err == "watch: the probe ended after 24 h; run the command again\n"
    assert found == []
    assert [group.workers / group.pause_seconds for group in groups] == [20], "requests a second, at most"


def test_print_ends_with_the_line_of_a_view_that_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    ended = replace(QUIET, time=QUIET.time - 3600, problem="the live view has ended (e); start it again")
    snapshots = [QUIET, ended]
    sampler = SimpleNamespace(ended=False, wait=lambda _known, _limit: snapshots.pop(0) if snapshots else None)
    drained: list[bool] = []

    def drain() -> None:
        drained.append(sampler.ended)
        sampler.ended = True

    lines = watch.Lines(as_json=False)
    assert watch._print(cast(Sampler, sampler), lines, float("inf"), drain) == 1
    out, error = capsys.readouterr()
    assert error == "watch: the live view has ended (e); start it again\n"
    assert out.count("reviews:9080 reviews-stable") == 2
    assert drained == [False, True]


def test_json_of_a_snapshot_with_secrets_is_one_line_whose_numbers_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(masking, "_known", {"5676", "t0ken"})  # the first is in the time
    with redirect_stdout(masking.MaskedStream(sys.stdout)):
        watch.Lines(as_json=True)(replace(QUIET, problem="no answer for t0ken"))
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert (QUIET.time, "no answer for [secret]") == (found["time"], found["problem"])
