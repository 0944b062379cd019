"""The command line: usage errors, the choice of stages, and help."""

import pytest

from waypoint_lab.cli import main
from waypoint_lab.cli.run import choose_stages
from waypoint_lab.stages.table import BY_NAME

COMMANDS = [
    *(("up",), ("down",), ("status",), ("env",), ("run",), ("verify",), ("doctor",), ("policies",), ("bench",)),
    *(("canary", "promote"), ("canary", "rollback"), ("canary", "history")),
    *(("waypoint", "migrate"), ("waypoint", "abort"), ("waypoint", "history")),
    *(("chaos", "check"), ("chaos", "run"), ("chaos", "schedule")),
]


def test_run_unknown_stage_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["run", "--stages", "canry"]) == 2
    assert "there is no stage 'canry'; known are waypoint" in capsys.readouterr().err


def test_choose_stages_some_are_followed_by_the_cleanup() -> None:
    assert [BY_NAME[name] for name in ("canary", "premium", "cleanup")] == choose_stages("premium,canary")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_is_complete(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*command, "--help"]) == 0
    found = capsys.readouterr().out
    assert found.startswith(f"Usage: lab {' '.join(command)}")
    assert len(found.splitlines()) > 4


def test_lab_without_a_command_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    main.main([])
    captured = capsys.readouterr()
    assert all(f"  {command[0]}" in captured.out + captured.err for command in COMMANDS)


def test_lab_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["canary", "promte"]) == 2
    assert "promte" in capsys.readouterr().err
