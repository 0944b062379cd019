"""Steps, decisions and errors of a migration, and its resumption at each line of the journal; without a cluster."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.configs import nested
from tests.unit.streams import without_stderr
from waypoint_lab.cli import history, main, output, waypoint_migrate
from waypoint_lab.config.settings import PROJECT, LabConfig
from waypoint_lab.errors import ConfigError, PulumiError, RolloutError
from waypoint_lab.measure.client import Answer
from waypoint_lab.measure.verify import Measurement, Verdict
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.rollout import migration
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.migration_steps import MigrationState, MigrationStep, plan, rollback_steps

ON: dict[str, Any] = {"stages": {"waypoint": True, "accessLog": True}}
FIRST = MigrationStep("waypoint")


def test_plan_starts_at_0_percent_and_ends_with_one_waypoint() -> None:
    assert [str(step) for step in plan(FIRST, "next", "", [20, 100])] == [
        "0 % through next",
        "20 % through next",
        "100 % through next",
        "all through next",
    ]


def test_plan_below_100_percent_keeps_two_waypoints() -> None:
    assert [step.weight for step in plan(FIRST, "next", "", [20])] == [0, 20]


def test_plan_interrupted_migration_applies_its_current_step_again() -> None:
    steps = plan(MigrationStep("waypoint", "next", 20), "next", "", [10, 50, 100])
    assert [step.weight for step in steps] == [20, 50, 100, 0]


def test_plan_moves_the_revision_with_its_waypoint() -> None:
    steps = plan(MigrationStep("waypoint", revision="1-30"), "next", "1-31", [100])
    assert [(step.revision, step.canary_revision) for step in steps] == [("1-30", "1-31")] * 2 + [("1-31", "")]


def test_rollback_steps_lower_the_weight_before_removing_the_canary() -> None:
    assert [str(step) for step in rollback_steps(MigrationStep("waypoint", "next", 20))] == [
        "0 % through next",
        "all through waypoint",
    ]
    none = MigrationStep("waypoint", "next", 0)
    assert [str(step) for step in rollback_steps(none)] == ["all through waypoint"]
    assert [str(step) for step in rollback_steps(none, resumed=True)] == ["0 % through next", "all through waypoint"]


def choose(config: LabConfig, *given: str, state: MigrationState | None = None) -> list[MigrationStep]:
    options = dict(zip(given[::2], given[1::2], strict=True))
    steps = waypoint_migrate.weights(options.get("--steps", waypoint_migrate.STEPS))
    return migration.choose_steps(
        config, state or MigrationState(), options.get("--to", ""), options.get("--revision", ""), steps
    )


CANARY = {**ON, "waypoint": {"canary": {"name": "next", "weight": 20}}}


@pytest.mark.parametrize(
    ("given", "config", "said"),
    [
        ((), {}, "stages.waypoint is off; run"),
        ((), {"stages": {"waypoint": True}}, "stages.accessLog is off; run"),
        ((), ON, "there is no canary waypoint; give --to NAME"),
        (("--to", "other"), CANARY, "next is the canary waypoint; migrate to it, or run `lab waypoint abort`"),
        (
            ("--to", "n", "--steps", "50,5"),
            ON,
            "--steps: the weights are not valid; use rising whole percentages, such as 10,50,100",
        ),
        (
            ("--to", "waypoint", "--revision", "1-32-0"),
            {**ON, "waypoint": {"revision": "1-31-0"}},
            "--revision 1-32-0: waypoint is the primary already; give another name with --to",
        ),
        (("--to", "n", "--steps", "0.5"), ON, "--steps: the weights are not valid; use rising whole percentages"),
        (("--to", "n"), {"stages": {**ON["stages"], "abort": True}}, "stages.delay or stages.abort is on; turn it off"),
    ],
)
def test_choose_steps_bad_input_is_one_line(given: tuple[str, ...], config: dict[str, Any], said: str) -> None:
    with pytest.raises(RolloutError) as error:
        choose(LabConfig.from_mapping(config), *given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_choose_steps_of_the_primary_with_its_own_revision_measures_it_again() -> None:
    config = LabConfig.from_mapping({**ON, "waypoint": {"revision": "1-31-0"}})
    for given in ((), ("--revision", "1-31-0")):
        assert choose(config, "--to", "waypoint", *given) == [MigrationStep("waypoint", revision="1-31-0")]


def test_choose_steps_invalid_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'waypoint\.name: "No Name" is not valid'):
        choose(LabConfig.from_mapping(ON), "--to", "No Name")


class Scene:
    """A stack with scripted updates, traffic and measurements."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.file = folder, folder / "Pulumi.dev.yaml"
        self.journal, self.asked = Journal(folder, "dev"), ""
        self.applied: list[str] = []
        self.synced: list[MigrationStep] = []
        self.bad: Callable[[MigrationStep], str] = lambda step: ""
        self.lost: Callable[[MigrationStep], int] = lambda step: 0
        self.refused: Callable[[MigrationStep], str] = lambda step: ""
        self.write(ON)
        monkeypatch.setattr(PulumiStack, "up", lambda updates: self._up("up"))
        monkeypatch.setattr(PulumiStack, "up_unchecked", lambda updates: self._up("back"))
        for wait in ("wait", "wait_for_traffic"):
            monkeypatch.setattr(migration.envoy_config, wait, lambda config: self.synced.append(self.now()))
        monkeypatch.setattr(migration, "Load", lambda *given, **more: self)
        monkeypatch.setattr(migration, "measure", self._measure)

    def write(self, settings: dict[str, Any]) -> None:
        self.file.write_text(yaml.safe_dump({"config": {f"{PROJECT}:{key}": value for key, value in settings.items()}}))

    def now(self) -> MigrationStep:
        return MigrationStep.declared(PulumiStack(self.folder, "dev").config())

    def _up(self, kind: str) -> float:
        self.applied.append(f"{kind}: {self.now()}")
        if why := self.refused(self.now()):
            raise PulumiError(why)
        return 0.1

    def stop(self) -> list[Answer]:
        lost = self.lost(self.now())
        return [Answer(0, error="lost") if number < lost else Answer(200) for number in range(100)]

    def _measure(self, config: LabConfig, expects: tuple[Any, ...]) -> list[Measurement]:
        why = self.bad(self.now())
        return [Measurement("share", Verdict.FAILED if why else Verdict.PASSED, 3000, 0.2, 0.2, (0.1, 0.3), {}, why)]

    def migrate(self, steps: list[MigrationStep]) -> bool:
        asked = lambda: self.asked  # noqa: E731
        made = migration.Migration(self.journal, PulumiStack(self.folder, "dev"), lambda line: None, asked)
        return made.run(steps)

    def abort(self) -> None:
        stack = PulumiStack(self.folder, "dev")
        migration.Migration(self.journal, stack, lambda line: None, lambda: "").abort("by hand")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


STEPS = plan(FIRST, "next", "", [20, 100])


def test_migration_to_healthy_waypoint_records_each_decision(scene: Scene) -> None:
    assert scene.migrate(STEPS)
    assert scene.applied == [f"up: {step}" for step in STEPS]
    assert scene.synced == [step for step in STEPS for _ in ("Envoy", "traffic")]
    assert scene.now() == MigrationStep("next")
    records = scene.journal.records()
    assert [record["decision"] for record in records] == ["promote"] * 4
    assert records[1]["evidence"][0]["requests"] == 3000
    assert history.waypoint_row(records[1])[2:] == ("20 %", "promote", "through next: all checks passed")


@pytest.mark.parametrize("weight", [0, 20, 100])
def test_migration_failed_check_lowers_weight_then_removes_canary(scene: Scene, weight: int) -> None:
    scene.bad = lambda step: "declared 20.00%, measured 0 of 3000" if step.weight == weight and step.canary else ""
    assert not scene.migrate(STEPS)
    rollback = [f"back: {step}" for step in rollback_steps(MigrationStep("waypoint", "next", weight))]
    assert scene.applied[-len(rollback) :] == rollback
    assert scene.now() == FIRST
    assert scene.journal.records()[-2]["why"] == "share: declared 20.00%, measured 0 of 3000"


def test_migration_unexpected_error_rolls_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(migration, "measure", refuse)
    assert not scene.migrate(STEPS)
    assert scene.now() == FIRST
    assert scene.journal.records()[0]["why"].startswith("KeyError at test_migrate.py:")


def test_migration_without_a_reader_of_its_verdicts_rolls_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.bad = lambda step: "bad"
    without_stderr(monkeypatch)
    report, show = output.reporter("migrate"), partial(output.print_verdicts, stderr=True)
    made = migration.Migration(scene.journal, PulumiStack(scene.folder, "dev"), report, lambda: "", show)
    assert not made.run(STEPS)
    assert scene.now() == FIRST


def test_migration_one_lost_request_rolls_back(scene: Scene) -> None:
    scene.lost = lambda step: int(step.weight == 20)
    before = scene.file.read_text()
    assert not scene.migrate(STEPS)
    assert yaml.safe_load(scene.file.read_text()) == yaml.safe_load(before), "no default is written"
    assert scene.journal.records()[-1]["why"] == "1 of 100 requests failed while it was applied (lost)"


def test_migration_without_requests_rolls_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scene, "stop", lambda scene: [])
    assert not scene.migrate(STEPS)
    assert scene.journal.records()[0]["why"] == "0 of 0 requests failed while it was applied"


def test_migration_stopped_by_a_signal_rolls_back(scene: Scene) -> None:
    scene.asked = "SIGINT"
    assert not scene.migrate(STEPS)
    assert scene.journal.records()[0]["why"] == "stopped by SIGINT"
    assert scene.now() == FIRST


def test_migration_signal_at_the_last_step_completes(scene: Scene) -> None:
    scene.asked = "SIGINT"
    assert scene.migrate([MigrationStep("next")])


def test_migration_failure_of_the_last_step_is_retried(scene: Scene) -> None:
    scene.refused = lambda step: "" if step.canary else "waited 180 s: 3 requests are still under way"
    with pytest.raises(RolloutError, match=r"next is the primary already; run `lab waypoint migrate` again"):
        scene.migrate(STEPS)
    scene.refused = lambda step: ""
    state = MigrationState.read(scene.journal.records(), scene.now())
    again = choose(LabConfig.from_mapping({**ON, "waypoint": {"name": "next"}}), state=state)
    assert again == [MigrationStep("next")]


def test_migration_failed_rollback_is_resumed(scene: Scene) -> None:
    scene.bad = lambda step: "bad" if step.weight == 20 else ""
    scene.refused = lambda step: "no API server" if scene.applied[-1].startswith("back") else ""
    with pytest.raises(RolloutError, match="cannot roll back yet: no API server; run `lab waypoint abort`"):
        scene.migrate(STEPS)
    assert MigrationState.read(scene.journal.records(), scene.now()) == MigrationState(rollback="share: bad")


def test_migration_rollback_that_cannot_remove_the_canary_is_continued(scene: Scene) -> None:
    scene.bad = lambda step: "bad" if step.weight == 20 else ""
    scene.refused = lambda step: "" if step.canary else "no API server"
    with pytest.raises(RolloutError, match="cannot roll back yet: no API server; run `lab waypoint abort`"):
        scene.migrate(STEPS)
    assert scene.now() == FIRST
    assert MigrationState.read(scene.journal.records(), FIRST) == MigrationState(rollback="share: bad")
    scene.refused = lambda step: ""
    scene.abort()
    assert scene.applied[-2:] == ["back: all through waypoint"] * 2
    last = scene.journal.records()[-1]
    assert (last["decision"], last["why"], last["step"]["canary"]) == ("roll back", "share: bad", "")
    assert MigrationState.read(scene.journal.records(), FIRST) == MigrationState()


def test_migration_open_rollback_of_another_canary_is_not_continued(scene: Scene) -> None:
    scene.bad, scene.refused = lambda step: "bad", lambda step: "" if step.canary else "no API server"
    with pytest.raises(RolloutError, match="cannot roll back yet"):
        scene.migrate(STEPS)
    for other in (MigrationStep("waypoint", "other"), MigrationStep("next")):
        assert MigrationState.read(scene.journal.records(), other) == MigrationState()


def test_migration_unexpected_error_of_the_rollback_names_the_next_command(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_stack: PulumiStack) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(PulumiStack, "up_unchecked", refuse)
    scene.bad = lambda step: "bad"
    with pytest.raises(RolloutError, match=r"^cannot roll back yet: OSError at .*: no space left; run `lab waypoint"):
        scene.migrate(STEPS)


def test_abort_without_a_canary_is_refused(scene: Scene) -> None:
    with pytest.raises(RolloutError, match=r"there is no canary waypoint to roll back \(all through waypoint\)"):
        scene.abort()
    scene.write(CANARY)
    scene.abort()
    assert scene.applied == ["back: 0 % through next", "back: all through waypoint"]


def test_abort_that_fails_is_continued_and_not_migrated(scene: Scene) -> None:
    scene.write(CANARY)
    scene.refused = lambda step: "no API server"
    with pytest.raises(RolloutError, match="cannot roll back yet: no API server; run `lab waypoint abort`"):
        scene.abort()
    assert MigrationState.read(scene.journal.records(), scene.now()) == MigrationState(rollback="by hand")
    scene.refused = lambda step: ""
    scene.abort()
    assert [str(MigrationStep(**record["step"])) for record in scene.journal.records()] == [
        "20 % through next",
        "all through waypoint",
    ]


def test_migration_killed_at_any_journal_line_resumes(scene: Scene) -> None:
    scene.migrate(STEPS)
    lines = scene.journal.file.read_text().splitlines()
    for number, step in enumerate(STEPS):
        known = [json.loads(line) for line in lines[:number]]
        state = MigrationState.read(known, step)  # the file is written before the line
        assert state.rollback == ""
        read = LabConfig.from_mapping({**nested(step.settings()), **ON})
        rest = choose(read, "--steps", "20,100", state=state)
        assert rest == STEPS[number:]


def test_migrate_keeps_the_file_of_its_metrics(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waypoint_migrate, "PROJECT_FOLDER", scene.folder)
    monkeypatch.setattr(waypoint_migrate, "use_target", lambda _state, _kind: None)
    file = scene.folder / "lab.prom"
    assert main.main(["waypoint", "migrate", "--to", "next", "--steps", "100", "--metrics", str(file)]) == 0
    assert 'waypoint_lab_migration_phase{stack="dev",phase="Promoted"} 1\n' in file.read_text()


def test_migration_that_ended_is_not_resumed(scene: Scene) -> None:
    scene.migrate(STEPS)
    state = MigrationState.read(scene.journal.records(), scene.now())
    assert state == MigrationState()
    with pytest.raises(RolloutError, match="there is no canary waypoint; give"):
        choose(LabConfig.from_mapping({**ON, "waypoint": {"name": "next"}}), state=state)


def test_migration_writes_only_changed_settings(scene: Scene) -> None:
    scene.migrate(STEPS)
    config = yaml.safe_load(scene.file.read_text())["config"]
    assert config == {
        f"{PROJECT}:stages": ON["stages"],
        f"{PROJECT}:waypoint": {"name": "next"},
    }


def test_migration_after_killed_update_names_the_fix(scene: Scene) -> None:
    scene.refused = lambda step: 'gateways "next" already exists' if step.canary else ""
    assert not scene.migrate(STEPS)
    why = scene.journal.records()[0]["why"]
    assert why == f'gateways "next" already exists; {migration.LEFT_OVER}'
