"""The Command plugin with the real engine."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.embedded.pulumi_program import Program

OFFICIAL = "use the official pulumi-command plugin"
CANARY = "s3cr3t-canary-value"


def command(**properties: Any) -> dict[str, Any]:
    return {"name": "c", "type": "command:local:Command", "properties": properties}


def kept(program: Program) -> dict[str, Any]:
    return program.resources("command:")["c"]


def test_command_runs_once_and_its_outputs_are_kept(program: Program, tmp_path: Path) -> None:
    log = tmp_path / "log"
    row = command(
        create=f"echo made >> {log}; echo out; echo err >&2", delete=f"echo gone-$PULUMI_COMMAND_STDOUT >> {log}"
    )
    program.write(row)
    (step,) = program.preview()
    assert step["op"] == "create"
    assert not log.exists()
    program.up()
    program.up("--expect-no-changes")
    assert (kept(program)["outputs"]["stdout"], kept(program)["outputs"]["stderr"]) == ("out", "err")
    assert kept(program)["inputs"] == row["properties"]
    program.destroy()
    assert log.read_text().split() == ["made", "gone-out"]


@pytest.mark.slow
def test_command_change_updates_and_trigger_replaces(program: Program, tmp_path: Path) -> None:
    log = tmp_path / "log"
    texts = {name: f"echo {name} >> {log}" for name in ("create", "update", "delete")}
    program.write(command(**texts, environment={"A": "1"}, triggers=[1]))
    program.up()
    program.write(command(**texts, environment={"A": "2"}, triggers=[1]))
    (step,) = program.preview()
    assert (step["op"], list(step["detailedDiff"])) == ("update", ["environment.A"])
    program.up()
    program.write(command(**texts, environment={"A": "2"}, triggers=[2]))
    (step,) = program.preview()
    assert step["op"] == "replace"
    program.up()
    assert log.read_text().split() == ["create", "update", "create", "delete"]


@pytest.mark.slow
def test_command_without_update_runs_create_with_last_output(program: Program) -> None:
    text = 'echo "was:$PULUMI_COMMAND_STDOUT dir:$(basename "$PWD")"; cat'
    program.write(command(create=text, stdin="one", dir=str(program.folder)))
    program.up()
    assert kept(program)["outputs"]["stdout"] == "was: dir:program\none"
    program.write(command(create=text, stdin="two", dir=str(program.folder)))
    program.up()
    assert kept(program)["outputs"]["stdout"] == "was:was: dir:program\none dir:program\ntwo"


def test_command_failure_shows_output_and_leaves_no_state(program: Program, tmp_path: Path) -> None:
    program.write(command(create="echo why >&2; exit 3", delete=f"touch {tmp_path}/deleted"))
    said = program.up(fails=True)
    assert "exit status 3: running 'echo why >&2; exit 3':\n    why" in said
    assert program.resources("command:") == {}
    program.destroy()
    assert not (tmp_path / "deleted").exists()


@pytest.mark.slow
def test_command_past_its_timeout_is_killed_with_its_children(program: Program, tmp_path: Path) -> None:
    row = command(create=f"sleep 300 & echo $! > {tmp_path}/child; wait")
    program.write({**row, "options": {"custom_timeouts": {"create": "1s"}}})
    assert "not done after 1 s: running" in program.up(fails=True)
    stat = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    # Gone, or dead and only not collected yet by whoever is its parent now.
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.slow
def test_command_interrupted_can_clean_up(program: Program, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    program.write(command(create=f"trap 'touch {tmp_path}/cleaned; exit 1' INT; echo > {ready}; sleep 300 & wait"))
    running = program.start("up", "--yes", "--skip-preview")
    ready.read_text()  # ends once the command has written to it
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=30)
    assert "cancelled: running" in said
    assert (tmp_path / "cleaned").exists()


@pytest.mark.slow
def test_command_secret_environment_is_not_in_the_state(program: Program) -> None:
    program.pulumi("config", "set", "--secret", "password", CANARY)
    program.write(command(create='printf %s "$P" | wc -c', environment={"P": "config:password"}))
    said = program.up("--diff")
    assert kept(program)["outputs"]["stdout"] == str(len(CANARY))
    assert CANARY not in said + program.pulumi("stack", "export")


@pytest.mark.parametrize(
    "row",
    [
        command(create="true", assetPaths=["*"]),
        {"name": "r", "type": "command:remote:Command", "properties": {"create": "true"}},
    ],
)
def test_unsupported_resource_names_the_official_plugin(program: Program, row: dict[str, Any]) -> None:
    program.write(row)
    assert OFFICIAL in program.up(fails=True)
