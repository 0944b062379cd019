"""The Command provider: its checks, and the end of its commands."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from embedded import processes
from embedded.pulumi_plugins import command_process
from embedded.pulumi_plugins.command import Provider, problems
from embedded.pulumi_plugins.values import UNKNOWN


@pytest.mark.parametrize("key", ["environment", "logging", "create", "dir", "stdin", "interpreter", "triggers"])
def test_problems_unknown_input_of_a_preview_is_accepted(key: str) -> None:
    assert problems({key: UNKNOWN}) == []


@pytest.mark.parametrize("given", ["A=b", {"A": {"b": "c"}}, {"A": 1}])
def test_problems_wrong_environment_is_named(given: object) -> None:
    assert problems({"environment": given}) == [("environment", "environment must be a map of strings")]


@pytest.mark.parametrize("given", ["bash", ["bash", 1]])
def test_problems_wrong_interpreter_is_named(given: object) -> None:
    assert problems({"interpreter": given}) == [("interpreter", "interpreter must be a list of strings")]


def test_problems_lists_and_maps_of_strings_are_accepted() -> None:
    assert problems({"interpreter": ["bash", "-c"], "environment": {"A": "b", "C": UNKNOWN}}) == []


def test_lost_log_line_changes_nothing() -> None:
    class Engine:
        def Log(self, *_: object, **__: object) -> None:  # noqa: N802 - as the protocol has it
            raise grpc.RpcError("Deadline Exceeded")

    provider: Any = Provider("")
    provider._engine = Engine()
    log = provider._logger("urn", "stdoutAndStderr")
    command = "echo one; echo two; echo three >&2"
    assert command_process.run(command, {}, {}, 20, threading.Event(), log) == ("one\ntwo", "three")


def start(command: str, seconds: float, cancelled: threading.Event) -> Any:
    return command_process.run(command, {}, {}, seconds, cancelled, lambda *_: None)


def test_run_waits_for_the_output_of_a_child_in_the_background() -> None:
    assert start("(sleep 0.2; echo late) & echo early", 20, threading.Event()) == ("early\nlate", "")


@pytest.mark.parametrize("cancel", [False, True], ids=["timeout", "cancelled"])
@pytest.mark.timeout(20)
def test_run_ends_a_child_in_the_background_that_holds_the_pipes(tmp_path: Path, cancel: bool) -> None:
    cancelled, begin = threading.Event(), time.monotonic()
    if cancel:
        threading.Timer(0.3, cancelled.set).start()
    expected = "cancelled: running" if cancel else r"not done after 0\.3 s: running"
    with pytest.raises(command_process.CommandFailed, match=expected):
        start(f"sleep 30 & echo $! > {tmp_path}/child", 0 if cancel else 0.3, cancelled)
    assert time.monotonic() - begin < 10
    assert processes.wait_until_gone([int((tmp_path / "child").read_text())], 5) == []


@pytest.mark.timeout(20)
def test_run_does_not_wait_for_a_child_that_has_left_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_process, "DRAIN_SECONDS", 0.1)
    with pytest.raises(command_process.CommandFailed, match="not done after"):
        start(f"setsid sh -c 'echo $$ > {tmp_path}/child; exec sleep 30' & sleep 0.2", 0.5, threading.Event())
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
