"""`lab roll`: another waypoint takes over from the first step by step, each measured, and back where it is bad."""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

from embedded import cluster
from waypoint_lab import signals
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import stack_config, use_target
from waypoint_lab.config.weights import StepsError, read_steps
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure import envoy_config, verify
from waypoint_lab.measure.probe import Load, ProbeError
from waypoint_lab.measure.verify import Verdict, measure
from waypoint_lab.pulumi_cli import UpdateError, Updates
from waypoint_lab.rollout.analysis import Verdict as Decision
from waypoint_lab.rollout.journal import Journal, Locked
from waypoint_lab.rollout.migration_steps import Standing, Step, plan, ways_back
from waypoint_lab.signals import StopRequest
from waypoint_lab.stages import expectations

STEPS = "10,50,100"
LOAD_SECONDS = 300.0
# Source: Pulumi, pending operations: what a killed engine was creating is there, and not in its state.
LEFT = "where a killed update made it, take it away with kubectl delete, and run it again"
FAILURES = (UpdateError, ProbeError, envoy_config.NotLive, ConfigError, subprocess.SubprocessError)


class RollError(Exception):
    """The waypoint cannot be rolled, or not go on; one line."""


class Roll:
    """One roll of a stack's waypoint; its lock is held by whoever calls."""

    def __init__(
        self, journal: Journal, updates: Updates, say: Callable[[str], None], asked: Callable[[], str]
    ) -> None:
        """`asked` says what asks to stop, if anything does."""
        self._journal, self._updates, self._say, self._asked = journal, updates, say, asked
        self._name = time.strftime("%Y%m%dT%H%M%S", time.gmtime())

    def walk(self, steps: Sequence[Step]) -> bool:
        """All of `steps`, or back; whether it came to the end. Raises RollError where it can do neither."""
        for step in steps:
            why, verdicts = self._judged(step)
            if (asked := self._asked()) and step.canary:
                why = f"told to stop by {asked}"
            bad = Decision.BACK if step.canary else Decision.HOLD  # who took over has no one to go back to
            self._note(step, bad if why else Decision.GO, why or "all of it holds", verdicts)
            if why and not step.canary:
                raise RollError(f"{why}; {step.name} has all new connections already: run `lab roll` again to end it")
            if why:
                self._back(step, why)
                return False
        return True

    def _note(self, step: Step, decision: Decision, why: str, verdicts: Sequence[Verdict] = ()) -> None:
        evidence = [asdict(item) for item in verdicts]
        self._journal.append("roll", self._name, step=asdict(step), verdict=decision, why=why, evidence=evidence)
        self._say(f"{step}: {decision}: {why}")

    def _judged(self, step: Step) -> tuple[str, list[Verdict]]:
        try:
            return self._try(step)
        except FAILURES as error:
            return str(error) + (f"; {LEFT}" if "already exists" in str(error) else ""), []

    def _try(self, step: Step) -> tuple[str, list[Verdict]]:
        """Applies one step under load and measures it: why it is bad, empty where it is good, and the evidence."""
        config = self._edit(step)
        load = Load(config, LOAD_SECONDS, fresh_workers=2)
        try:
            seconds = self._updates.forward()
            envoy_config.wait(config)
            envoy_config.wait_for_traffic(config)
        finally:
            rows = load.stop()
        self._say(f"{step}: applied in {seconds:.1f} s, {len(rows)} requests meanwhile, measuring")
        verdicts = measure(
            config, tuple(dict.fromkeys([*expectations.waypoint(config), *expectations.migration(config)]))
        )
        print(verify.table(verdicts), file=sys.stderr)
        failed = Counter(str(row.status or row.colour) for row in rows if row.status != 200)
        if failed or not rows:
            how = f" ({', '.join(failed)})" if failed else ""
            return f"{failed.total()} of {len(rows)} requests failed while it was applied{how}", verdicts
        return next((f"{item.what}: {item.why}" for item in verdicts if not item.passed), ""), verdicts

    def _edit(self, step: Step) -> LabConfig:
        """Writes what is another than before; defaults that were never written stay so."""
        before = Step.of(self._updates.config()).settings()
        return self._updates.set(
            {key: value for key, value in step.settings().items() if key not in before or value != before[key]}
        )

    def _back(self, now: Step, why: str, *, resumed: bool = False) -> None:
        self._say(f"going back to {now.name}: {why}")
        for step in ways_back(now, resumed=resumed):
            try:
                self._edit(step)
                self._updates.back()
            except FAILURES as error:
                raise RollError(
                    f"cannot go back yet: {error}; run `lab roll` again, and it goes on with that"
                ) from None
        self._note(step, Decision.BACK, why)

    def back(self, why: str) -> None:
        """Goes back to the primary. Raises RollError."""
        now = Step.of(self._updates.config())
        if not now.canary:
            raise RollError(f"there is no canary waypoint to take away: {now}")
        self._back(now, why, resumed=True)


def _say(line: str) -> None:
    print(f"roll: {line}", file=sys.stderr, flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lab roll`."""
    parser.add_argument("--to", metavar="NAME", help="the waypoint that takes over (default: waypointCanary)")
    parser.add_argument("--revision", default="", help="revision of Istio that programs it (default: the namespace's)")
    parser.add_argument("--steps", default=STEPS, help=f"rising whole percentages of new connections ({STEPS})")
    parser.add_argument("--back", action="store_true", help="take the canary waypoint away again")
    parser.add_argument("--stack", default="dev", help="the stack whose waypoint is rolled (default: dev)")
    parser.add_argument("--json", action="store_true", help="print where the stack stands as one JSON document")


def chosen(given: argparse.Namespace, config: LabConfig, standing: Standing) -> list[Step]:
    """The steps that the arguments ask for. Raises RollError for what cannot be."""
    now = Step.of(config)
    to = given.to or now.canary or (now.name if standing.ended else "")
    for toggle in ("waypoint", "accessLog"):
        if toggle not in config.stages.on:
            raise RollError(f"stages.{toggle} is off: turn it on with `pulumi config set --path stages.{toggle} true`")
    if config.faulty:
        raise RollError("stages.delay or stages.abort is on: failures that are injected cannot be told from others")
    if not to:
        raise RollError("there is no canary waypoint to roll to: give --to NAME")
    if now.canary and now.canary != to:
        raise RollError(f"{now.canary} is the canary waypoint already: roll to that, or take it away by --back")
    LabConfig.from_mapping({"waypoint": {"name": to, "revision": given.revision}})
    try:
        weights = read_steps(given.steps)
    except StepsError:
        weights = ()
    if not weights or any(weight != int(weight) for weight in weights):
        raise RollError(f"--steps is {given.steps}: it must be rising whole percentages, such as {STEPS}")
    return plan(now, to, given.revision or now.canary_revision, [int(weight) for weight in weights])


def _run(given: argparse.Namespace, asked: StopRequest) -> int:
    journal = Journal(cluster.PROJECT_FOLDER, given.stack)
    with journal.locked():
        config = stack_config(cluster.PROJECT_FOLDER, given.stack)
        standing = Standing.of(journal.records(), Step.of(config))
        roll = Roll(journal, Updates(cluster.PROJECT_FOLDER, given.stack, asked), _say, asked)
        if given.back or standing.back:
            roll.back(standing.back or "by hand")
            passed = given.back
        else:
            passed = roll.walk(chosen(given, config, standing))
    now = Step.of(stack_config(cluster.PROJECT_FOLDER, given.stack))
    _say(str(now))
    if given.json:
        print(json.dumps({"passed": passed, **asdict(now)}, indent=1))
    return signals.EXIT if asked() else 0 if passed else 1


def main(given: argparse.Namespace) -> int:
    """0 where all steps passed, 1 where it went back or was refused, 130 where it was told to stop and went back."""
    asked = StopRequest()
    try:
        use_target(given.state, stack_config(cluster.PROJECT_FOLDER, given.stack))
        with asked.received():
            return _run(given, asked)
    except (RollError, ConfigError, Locked, OSError) as error:
        print(f"lab roll: {error}", file=sys.stderr)
        return 1
