"""`lab run`: walks the whole lab, each step by editing the stack's config and a real `pulumi up`, and measures it."""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from embedded import cluster
from waypoint_lab.cli.outcome import Outcome, table
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import stack_config, use_target
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure import envoy_config, snapshot
from waypoint_lab.measure.probe import Load, ProbeError
from waypoint_lab.measure.verify import measure
from waypoint_lab.pulumi_cli import UpdateError, Updates, edited, pulumi
from waypoint_lab.signals import handled, interrupt
from waypoint_lab.stages.table import BY_NAME, STAGES, Stage, Step, expectations

UNDER_LOAD = ("migration", "canary", "promoted", "premium")  # no request may fail while these change
CHANGES_THE_WAY = ("waypoint", "migration", "cleanup")  # traffic takes another way, which the waypoint cannot know


class RunError(Exception):
    """A step cannot be done; one line."""


FAILURES = (RunError, ProbeError, envoy_config.NotLive, snapshot.SnapshotError, subprocess.SubprocessError)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def kept(file: Path) -> Iterator[None]:
    """Puts `file` back byte for byte in the end, whatever happens: being told to end is an interruption, too."""
    before = file.read_bytes() if file.exists() else None
    try:
        with handled(interrupt, (signal.SIGTERM, signal.SIGHUP)):
            yield
    finally:
        if before is None:
            file.unlink(missing_ok=True)
        elif not file.exists() or file.read_bytes() != before:
            file.write_bytes(before)


class Walk:
    """One walk through the lab on one stack."""

    def __init__(self, folder: Path, name: str = "dev") -> None:
        """Selects or creates the stack `name`; raises RunError where Pulumi refuses."""
        self._name = name
        self._folder = folder
        self._file = folder / f"Pulumi.{name}.yaml"
        self._updates = Updates(folder, name)
        try:
            self._forget_lost_salt()
            pulumi(folder, "stack", "select", "--create", name)
        except UpdateError as error:
            raise RunError(str(error)) from None

    def _forget_lost_salt(self) -> None:
        """A salt without a stack is left from a backend that is gone, and so is its passphrase: nothing can use it.

        With a secret beside it the file stays as it is, and Pulumi says what is wrong.
        """
        document = yaml.safe_load(self._file.read_text()) if self._file.exists() else None
        if not isinstance(document, dict) or "encryptionsalt" not in document or "secure:" in self._file.read_text():
            return
        if not any(stack["name"] == self._name for stack in json.loads(pulumi(self._folder, "stack", "ls", "--json"))):
            del document["encryptionsalt"]
            self._file.write_text(yaml.safe_dump(document, sort_keys=False))

    def edit(self, step: Step) -> LabConfig:
        """Writes the step's toggles and settings into the stack's config; other settings stay."""
        text = self._file.read_text() if self._file.exists() else ""
        self._file.write_text(edited(text, {"stages": dict.fromkeys(step.on, True), **step.settings}))
        return stack_config(self._folder, self._name)

    def up(self, *, unchanged: bool = False) -> float:
        """`pulumi up` with the policy pack; returns its seconds. `unchanged`: fail if anything changes."""
        try:
            return self._updates.forward(unchanged=unchanged)
        except UpdateError as error:
            raise RunError(f"pulumi up failed: {error}") from None

    def back(self) -> None:
        """`pulumi up` that nothing may refuse: no preview, no policies, no gate."""
        try:
            self._updates.back()
        except UpdateError as error:
            raise RunError(str(error)) from None

    def stage(self, row: Stage) -> Outcome:
        """All steps of one stage, measured."""
        outcome = Outcome(row.name, row.title)
        for step in row.steps:
            config = self.edit(step)
            if step.before:
                self.up()
                envoy_config.wait(config)
                continue
            load = Load(config, fresh_workers=2) if row.name in UNDER_LOAD else None
            try:
                outcome.up_seconds += self.up()
                outcome.effective_seconds += envoy_config.wait(config)
                if row.name in CHANGES_THE_WAY:
                    outcome.effective_seconds += envoy_config.wait_for_traffic(config)
            finally:
                seen = load.stop() if load else []
            failed = [entry for entry in seen if entry.status != 200]
            if load:
                again = sum(entry.reconnected for entry in seen)
                reopened = f", {again} on a kept connection that had to be opened again" if again else ""
                outcome.notes.append(f"{len(seen)} requests during the change, {len(failed)} failed{reopened}")
            if load and (failed or not seen):
                outcome.problems.append(f"{len(failed)} of {len(seen)} requests failed during the change")
            found = measure(config, tuple(dict.fromkeys([*expectations(config), *row.expects(config)])))
            outcome.verdicts += [item for item in found if item not in outcome.verdicts]
            declared = [item.what for item in row.expects(config)]
            outcome.own = sorted(
                (item for item in found if item.what in declared), key=lambda v: declared.index(v.what)
            )
            if step.note:
                outcome.notes.append(step.note)
        if row.name == "canary":
            self.up(unchanged=True)
            outcome.notes.append("a second up changed nothing")
        return outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lab run`."""
    names = [row.name for row in STAGES if row.steps]
    parser.add_argument("--stages", help=f"only these, comma-separated: {', '.join(names)}")
    parser.add_argument("--stack", default="dev", help="the stack that is walked; its config names the cluster")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE as well (- for stdout)")


def _chosen(text: str | None) -> list[Stage]:
    rows = [row for row in STAGES if row.steps]
    if not text:
        return rows
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in BY_NAME or not BY_NAME[name].steps:
            known = ", ".join(row.name for row in rows)
            raise RunError(f"there is no stage {name!r} to walk; known are {known}")
    wanted = {*names, "cleanup"}  # nothing of the walk may stay behind
    return [row for row in rows if row.name in wanted]


def walk(folder: Path, rows: list[Stage], stack: str = "dev") -> list[Outcome]:
    """Walks `rows` in order. A stage that cannot be done is a miss, and the walk goes on to clean up."""
    outcomes: list[Outcome] = []
    with kept(folder / f"Pulumi.{stack}.yaml"):
        walking = Walk(folder, stack)
        _say("run: back to nothing, to have something to compare with")
        config = walking.edit(Step(()))
        walking.up()
        before = snapshot.settled(config)
        if rows[0].name not in ("waypoint", "cleanup"):  # every stage needs the waypoint, so it comes first in any case
            rows = [BY_NAME["waypoint"], *rows]
        for row in rows:
            _say(f"run: {row.name}: {row.title}")
            try:
                outcome = walking.stage(row)
            except FAILURES as error:
                outcome = Outcome(row.name, row.title, problems=[str(error)])
            if row.name == "cleanup" and not outcome.problems:
                outcome.problems += snapshot.wait(config, before)
                outcome.notes.append("namespaces, the Service and all objects compared with what was there before")
            outcomes.append(outcome)
            _say(f"run: {row.name}: {'passed' if outcome.passed else 'MISSED'}")
    return outcomes


def main(given: argparse.Namespace) -> int:
    """0 if every stage passed."""
    try:
        use_target(given.state, stack_config(cluster.PROJECT_FOLDER, given.stack))
        outcomes = walk(cluster.PROJECT_FOLDER, _chosen(given.stages), given.stack)
    except (*FAILURES, ConfigError) as error:
        print(f"lab run: {error}", file=sys.stderr)
        return 1
    passed = bool(outcomes) and all(outcome.passed for outcome in outcomes)
    document = json.dumps({"passed": passed, "stages": [outcome.document() for outcome in outcomes]}, indent=1)
    if given.json and str(given.json) == "-":
        print(document)
    else:
        if given.json:
            given.json.write_text(document + "\n")
        print(table(outcomes))
        print("every stage passed" if passed else "NOT every stage passed")
    return 0 if passed else 1
