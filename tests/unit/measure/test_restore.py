"""Stacks that a killed command has left."""

from contextlib import suppress
from pathlib import Path

import pytest

from waypoint_lab.cli import cluster as cluster_command
from waypoint_lab.errors import PulumiError, RestoreError
from waypoint_lab.measure import restore, stage_run
from waypoint_lab.measure.restore import recover, restored, unrestored
from waypoint_lab.measure.stage_run import set_step
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.stages.table import BY_NAME

BEFORE = "config:\n  waypoint-lab:stages:\n    waypoint: true\n    canary: true\n"
NOT_RESTORED = r"^Pulumi\.dev\.yaml is restored, but the stack's resources are not: no answer; run `lab run --restore "


class Killed(BaseException):
    """End of the process, after which nothing runs."""


def kill(*_arguments: object) -> None:
    raise Killed


def fail() -> float:
    raise PulumiError("no answer")


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PulumiStack:
    made = PulumiStack(tmp_path, "dev")
    made.file.write_text(BEFORE)
    monkeypatch.setattr(made, "up_unchecked", lambda: None)
    return made


@pytest.fixture
def killed(stack: PulumiStack, monkeypatch: pytest.MonkeyPatch) -> PulumiStack:
    """Return a stack whose `lab run` was killed in step abort."""
    with monkeypatch.context() as patch:
        patch.setattr(restore, "_restore_resources", kill)
        with suppress(Killed), restored(stack, print):
            set_step(stack, stage_run._limited(BY_NAME["abort"].steps[0], "1"))
            left = stack.file.read_text()
    stack.file.write_text(left)
    return stack


def test_fault_of_a_step_has_a_limit_that_each_run_begins_anew(killed: PulumiStack) -> None:
    config = killed.config()
    assert (config.stages.abort, config.fault.duration_seconds, config.fault.start) == (True, 600, "1")
    others = [step for row in BY_NAME.values() for step in row.steps if not {"delay", "abort"} & set(step.on)]
    assert others == [stage_run._limited(step, "1") for step in others]


def test_recover_after_a_kill_restores_file_and_resources_once(
    killed: PulumiStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ups, said = list[str](), list[str]()
    monkeypatch.setattr(killed, "up_unchecked", lambda: ups.append(killed.file.read_text()))
    assert unrestored(killed.folder) == ["dev"]
    recover(killed, said.append)
    assert (killed.file.read_text(), ups) == (BEFORE, [BEFORE])
    assert said == ["an earlier command was killed; Pulumi.dev.yaml and the stack's resources are restored first"]
    recover(killed, said.append)
    assert (unrestored(killed.folder), len(ups), len(said)) == ([], 1, 1)


def test_recover_keeps_a_file_that_was_changed_since(killed: PulumiStack) -> None:
    said = list[str]()
    killed.file.write_text("config: {}\n")
    recover(killed, said.append)
    assert killed.file.read_text() == "config: {}\n"
    kept = killed.folder / ".lab-history" / "dev.before.yaml"
    assert kept.read_text() == BEFORE
    assert said == [
        f"an earlier command was killed, and Pulumi.dev.yaml was changed since; {kept} is Pulumi.dev.yaml from before"
    ]
    assert unrestored(killed.folder) == []


def test_recover_that_fails_is_tried_again(killed: PulumiStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(killed, "up_unchecked", fail)
    with pytest.raises(RestoreError, match=NOT_RESTORED):
        recover(killed, print)
    assert unrestored(killed.folder) == ["dev"]
    monkeypatch.setattr(killed, "up_unchecked", lambda: None)
    with restored(killed, print):
        set_step(killed, BY_NAME["abort"].steps[0])
    assert killed.file.read_text() == BEFORE
    assert unrestored(killed.folder) == []


def test_recover_with_a_backup_that_is_no_json_does_nothing(stack: PulumiStack) -> None:
    (stack.folder / ".lab-history").mkdir()
    (stack.folder / ".lab-history" / "dev.before.json").write_text("{")
    recover(stack, print)
    assert stack.file.read_text() == BEFORE


def test_restored_that_fails_raises_and_keeps_the_backup(stack: PulumiStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "up_unchecked", fail)
    with pytest.raises(RestoreError, match=NOT_RESTORED), restored(stack, print):
        set_step(stack, BY_NAME["abort"].steps[0])
    assert stack.file.read_text() == BEFORE
    assert unrestored(stack.folder) == ["dev"]


@pytest.mark.parametrize(("error", "want"), [(PulumiError("refused"), ["refused"]), (KeyboardInterrupt(), [])])
def test_restored_that_fails_after_an_error_says_both(
    stack: PulumiStack, monkeypatch: pytest.MonkeyPatch, error: BaseException, want: list[str]
) -> None:
    said = list[str]()
    monkeypatch.setattr(stack, "up_unchecked", fail)
    with pytest.raises(RestoreError, match=NOT_RESTORED), restored(stack, said.append):
        raise error
    assert want == said


def test_status_names_what_a_killed_command_left_and_its_fix(
    killed: PulumiStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_command.cluster, "PROJECT_FOLDER", killed.folder)
    with Journal(killed.folder, "dev").locked():
        assert cluster_command._unrestored(cluster_command.cluster.default_state()) == []
    said = (
        "stack dev: a command was killed, and left on: abort, accessLog, waypoint; its fault ends by itself; "
        "restore the stack: lab"
    )
    for state, words in ((cluster_command.cluster.default_state(), ""), (killed.folder / "two", " --state {}")):
        wanted = f"{said}{words.format(state)} run --restore --stack dev"
        assert cluster_command._unrestored(state) == [wanted]
