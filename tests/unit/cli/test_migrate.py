"""What a roll of a waypoint applies, decides and refuses, without a cluster; cut off at every line of its journal."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from waypoint_lab.cli import history, migrate
from waypoint_lab.config.paths import nested
from waypoint_lab.config.settings import PROJECT, LabConfig
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure.probe import Row
from waypoint_lab.measure.verify import Verdict
from waypoint_lab.pulumi_cli import UpdateError, Updates
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.migration_steps import Standing, Step, plan, ways_back

ON: dict[str, Any] = {"stages": {"waypoint": True, "accessLog": True}}
FIRST = Step("waypoint")


def test_the_canary_is_told_at_nothing_and_takes_over_after_everything() -> None:
    assert [str(step) for step in plan(FIRST, "next", "", [20, 100])] == [
        "0 % through next",
        "20 % through next",
        "100 % through next",
        "all through next",
    ]


def test_steps_that_end_below_everything_end_with_two_waypoints() -> None:
    assert [step.weight for step in plan(FIRST, "next", "", [20])] == [0, 20]


def test_a_roll_that_was_cut_off_goes_on_with_the_step_it_stands_on() -> None:
    assert [step.weight for step in plan(Step("waypoint", "next", 20), "next", "", [10, 50, 100])] == [20, 50, 100, 0]


def test_a_revision_goes_along_with_its_waypoint() -> None:
    steps = plan(Step("waypoint", revision="1-30"), "next", "1-31", [100])
    assert [(step.revision, step.canary_revision) for step in steps] == [("1-30", "1-31")] * 2 + [("1-31", "")]


def test_the_way_back_takes_the_connections_first_and_the_waypoint_then() -> None:
    assert [str(step) for step in ways_back(Step("waypoint", "next", 20))] == [
        "0 % through next",
        "all through waypoint",
    ]
    none = Step("waypoint", "next", 0)
    assert [str(step) for step in ways_back(none)] == ["all through waypoint"]
    assert [str(step) for step in ways_back(none, resumed=True)] == ["0 % through next", "all through waypoint"]


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    migrate.add_arguments(parser)
    return parser.parse_args(given)


CANARY = {**ON, "waypoint": {"canary": {"name": "next", "weight": 20}}}


@pytest.mark.parametrize(
    ("given", "config", "said"),
    [
        ((), {}, "stages.waypoint is off: turn it on with"),
        ((), {"stages": {"waypoint": True}}, "stages.accessLog is off: turn it on with"),
        ((), ON, "there is no canary waypoint to roll to: give --to NAME"),
        (("--to", "other"), CANARY, "next is the canary waypoint already: roll to that, or take it away by --back"),
        (
            ("--to", "n", "--steps", "50,5"),
            ON,
            "--steps is 50,5: it must be rising whole percentages, such as 10,50,100",
        ),
        (("--to", "n", "--steps", "0.5"), ON, "--steps is 0.5: it must be rising whole percentages"),
        (("--to", "n"), {"stages": {**ON["stages"], "abort": True}}, "stages.delay or stages.abort is on: failures"),
    ],
)
def test_bad_input_is_one_line(given: tuple[str, ...], config: dict[str, Any], said: str) -> None:
    with pytest.raises(migrate.RollError) as error:
        migrate.chosen(arguments(*given), LabConfig.from_mapping(config), Standing())
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'waypoint\.name: "No Name" is not valid'):
        migrate.chosen(arguments("--to", "No Name"), LabConfig.from_mapping(ON), Standing())


class Scene:
    """A stack whose ups, traffic and measurements a test makes up."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.file = folder, folder / "Pulumi.dev.yaml"
        self.journal, self.asked = Journal(folder, "dev"), ""
        self.applied: list[str] = []
        self.bad: Callable[[Step], str] = lambda step: ""
        self.lost: Callable[[Step], int] = lambda step: 0
        self.refused: Callable[[Step], str] = lambda step: ""
        self.write(ON)
        monkeypatch.setattr(Updates, "forward", lambda updates: self._up("up"))
        monkeypatch.setattr(Updates, "back", lambda updates: self._up("back"))
        monkeypatch.setattr(migrate.envoy_config, "wait", lambda config: 0.0)
        monkeypatch.setattr(migrate.envoy_config, "wait_for_traffic", lambda config: 0.0)
        monkeypatch.setattr(migrate, "Load", lambda *given, **more: self)
        monkeypatch.setattr(migrate, "measure", self._measure)

    def write(self, settings: dict[str, Any]) -> None:
        self.file.write_text(yaml.safe_dump({"config": {f"{PROJECT}:{key}": value for key, value in settings.items()}}))

    def now(self) -> Step:
        return Step.of(Updates(self.folder, "dev").config())

    def _up(self, kind: str) -> float:
        self.applied.append(f"{kind}: {self.now()}")
        if why := self.refused(self.now()):
            raise UpdateError(why)
        return 0.1

    def stop(self) -> list[Row]:
        lost = self.lost(self.now())
        return [Row(0 if number < lost else 200, "none", "yes", 0.01, False) for number in range(100)]

    def _measure(self, config: LabConfig, expects: tuple[Any, ...]) -> list[Verdict]:
        why = self.bad(self.now())
        return [Verdict("share", not why, 3000, 0.2, 0.2, (0.1, 0.3), {}, why)]

    def walk(self, steps: list[Step]) -> bool:
        asked = lambda: self.asked  # noqa: E731
        made = migrate.Roll(self.journal, Updates(self.folder, "dev"), lambda line: None, asked)
        return made.walk(steps)

    def back(self) -> None:
        migrate.Roll(self.journal, Updates(self.folder, "dev"), lambda line: None, lambda: "").back("by hand")


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


STEPS = plan(FIRST, "next", "", [20, 100])


def test_a_good_waypoint_takes_over_and_each_decision_is_kept(scene: Scene) -> None:
    assert scene.walk(STEPS)
    assert scene.applied == [f"up: {step}" for step in STEPS]
    assert scene.now() == Step("next")
    records = scene.journal.records()
    assert [record["verdict"] for record in records] == ["go on"] * 4
    assert records[1]["evidence"][0]["requests"] == 3000
    table = history.table(records).splitlines()
    assert "20 %" in table[2]
    assert "through next: all of it holds" in table[2]


@pytest.mark.parametrize("weight", [0, 20, 100])
def test_a_miss_takes_the_connections_back_and_then_the_waypoint(scene: Scene, weight: int) -> None:
    scene.bad = lambda step: "declared 20.00%, measured 0 of 3000" if step.weight == weight and step.canary else ""
    assert not scene.walk(STEPS)
    ways = [f"back: {step}" for step in ways_back(Step("waypoint", "next", weight))]
    assert scene.applied[-len(ways) :] == ways
    assert scene.now() == FIRST
    assert scene.journal.records()[-2]["why"] == "share: declared 20.00%, measured 0 of 3000"


def test_one_lost_request_while_a_step_is_applied_is_one_too_many(scene: Scene) -> None:
    scene.lost = lambda step: int(step.weight == 20)
    assert not scene.walk(STEPS)
    assert scene.journal.records()[-1]["why"] == "1 of 100 requests failed while it was applied (none)"


def test_no_request_while_a_step_is_applied_is_no_pass(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scene, "stop", lambda scene: [])
    assert not scene.walk(STEPS)
    assert scene.journal.records()[0]["why"] == "0 of 0 requests failed while it was applied"


def test_told_to_stop_it_goes_back(scene: Scene) -> None:
    scene.asked = "SIGINT"
    assert not scene.walk(STEPS)
    assert scene.journal.records()[0]["why"] == "told to stop by SIGINT"
    assert scene.now() == FIRST


def test_told_to_stop_after_it_took_over_it_ends(scene: Scene) -> None:
    scene.asked = "SIGINT"
    assert scene.walk([Step("next")])


def test_what_fails_after_it_took_over_is_said_and_run_again(scene: Scene) -> None:
    scene.refused = lambda step: "" if step.canary else "waited 180 s: 3 requests are still under way"
    with pytest.raises(
        migrate.RollError, match=r"next has all new connections already: run `lab roll` again to end it"
    ):
        scene.walk(STEPS)
    scene.refused = lambda step: ""
    standing = Standing.of(scene.journal.records(), scene.now())
    again = migrate.chosen(arguments(), LabConfig.from_mapping({**ON, "waypoint": {"name": "next"}}), standing)
    assert again == [Step("next")]


def test_a_way_back_that_fails_is_gone_on_with(scene: Scene) -> None:
    scene.bad = lambda step: "bad" if step.weight == 20 else ""
    scene.refused = lambda step: "no API server" if scene.applied[-1].startswith("back") else ""
    with pytest.raises(migrate.RollError, match="cannot go back yet: no API server; run `lab roll` again"):
        scene.walk(STEPS)
    assert Standing.of(scene.journal.records(), scene.now()) == Standing(back="share: bad")


def test_going_back_by_hand_needs_a_canary(scene: Scene) -> None:
    with pytest.raises(migrate.RollError, match="there is no canary waypoint to take away: all through waypoint"):
        scene.back()
    scene.write(CANARY)
    scene.back()
    assert scene.applied == ["back: 0 % through next", "back: all through waypoint"]


def test_cut_off_at_any_line_of_its_journal_it_goes_on_forward(scene: Scene) -> None:
    scene.walk(STEPS)
    lines = scene.journal.file.read_text().splitlines()
    for number, step in enumerate(STEPS):
        known = [json.loads(line) for line in lines[:number]]
        standing = Standing.of(known, step)  # the file is written before the line
        assert standing.back == ""
        read = LabConfig.from_mapping({**nested(step.settings()), **ON})
        rest = migrate.chosen(arguments("--steps", "20,100"), read, standing)
        assert rest == STEPS[number:]


def test_a_roll_that_ended_leaves_nothing_to_go_on_with(scene: Scene) -> None:
    scene.walk(STEPS)
    standing = Standing.of(scene.journal.records(), scene.now())
    assert standing == Standing()
    with pytest.raises(migrate.RollError, match="there is no canary waypoint to roll to"):
        migrate.chosen(arguments(), LabConfig.from_mapping({**ON, "waypoint": {"name": "next"}}), standing)


def test_the_stacks_file_gets_only_what_changes(scene: Scene) -> None:
    scene.walk(STEPS)
    config = yaml.safe_load(scene.file.read_text())["config"]
    assert config == {
        f"{PROJECT}:stages": ON["stages"],
        f"{PROJECT}:waypoint": {"name": "next"},
    }


def test_what_a_killed_update_left_is_said_with_the_way_on(scene: Scene) -> None:
    scene.refused = lambda step: 'gateways "next" already exists' if step.canary else ""
    assert not scene.walk(STEPS)
    why = scene.journal.records()[0]["why"]
    assert why == f'gateways "next" already exists; {migrate.LEFT}'
