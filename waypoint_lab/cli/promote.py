"""`lab promote`: walks a canary up step by step, measures each, and goes on, holds or rolls back."""

import argparse
import json
import select
import sys
from collections.abc import Callable

from embedded import cluster
from waypoint_lab import signals
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import stack_config, use_target
from waypoint_lab.config.weights import StepsError, read_steps, shown
from waypoint_lab.errors import ConfigError
from waypoint_lab.pulumi_cli import Updates
from waypoint_lab.rollout.analysis import Rules, Verdict
from waypoint_lab.rollout.journal import Journal, Locked
from waypoint_lab.rollout.promotion import PromoteError, Promotion, Ways
from waypoint_lab.rollout.state import Standing, Target, standing
from waypoint_lab.signals import StopRequest

HELD = 3
CODES = {Verdict.GO: 0, Verdict.BACK: 1, Verdict.HOLD: HELD}
ANSWERS = {"y": Verdict.GO, "n": Verdict.HOLD, "b": Verdict.BACK}
POLL_SECONDS = 0.2


def _say(line: str) -> None:
    print(f"promote: {line}", file=sys.stderr, flush=True)


def _between(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not low < value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not above {low:g} and up to {high:g}")
        return value

    return read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lab promote`."""
    parser.add_argument("--steps", help="rising weights in percent, such as 0.1,1,5,20,100 (default: promoteSteps)")
    parser.add_argument("--header", metavar="NAME=VALUE", help="all requests with this header first, then the steps")
    parser.add_argument("--approve", action="store_true", help="ask at each step before it is tried")
    parser.add_argument(
        "--margin", type=_between(0, 50), default=2.0, help="points of failures that must not get through (2)"
    )
    parser.add_argument(
        "--error-rate", type=_between(0, 20), default=1.0, help="percent of wrong decisions at most (1)"
    )
    parser.add_argument("--seconds", type=_between(0, 86400), default=0.0, help="measure each step at least this long")
    parser.add_argument(
        "--requests", type=_between(0, 1e7), default=0, help="and with at least so many requests a side"
    )
    parser.add_argument(
        "--limit", type=_between(0, 86400), default=120.0, help="seconds, after which a step holds (120)"
    )
    parser.add_argument("--stack", default="dev", help="the stack to promote (default: dev)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON document")


def rules(given: argparse.Namespace) -> Rules:
    """What the arguments say of deciding."""
    rate = given.error_rate / 100
    return Rules(
        given.margin / 100,
        rate,
        rate,
        least_seconds=given.seconds,
        least_rounds=int(given.requests),
        most_seconds=max(given.limit, given.seconds + 30),
    )


def chosen(given: argparse.Namespace, config: LabConfig, now: Standing | None) -> tuple[tuple[float, ...], str]:
    """Steps and cohort. Raises PromoteError for what cannot be, also beside a promotion that has not ended."""
    if not config.stages.canary:
        raise PromoteError("stages.canary is off: turn it on with `pulumi config set --path stages.canary true`")
    cohort = given.header or ""
    header, _, value = cohort.partition("=")
    try:
        LabConfig.from_mapping({"canary": {"cohort": {"header": header, "value": value}} if cohort else {}})
    except ConfigError:
        raise PromoteError(f"--header is {cohort}: it must be NAME=VALUE, such as end-user=jane") from None
    try:
        steps = read_steps(given.steps) if given.steps else config.canary.steps
    except StepsError as error:
        raise PromoteError(f"--steps is {given.steps}: it must be {error}") from None
    if now is None or now.result or now.going_back or not (given.steps or given.header):
        return steps, cohort
    wanted = [target.weight for target in now.targets if target.weight > now.start.weight]
    same = [step for step in steps if step > now.start.weight] == list(dict.fromkeys(wanted))
    if not same or (given.header and all(target.cohort != cohort for target in now.targets)):
        raise PromoteError(
            f"a promotion with other steps has not ended ({now}): run without --steps and --header, or `lab rollback`"
        )
    return steps, cohort


class Approve:
    """Asks a person on the terminal whether a step may be tried."""

    def __init__(self, asked: StopRequest) -> None:
        """Stops asking when `asked` says so."""
        self._asked = asked

    def __call__(self, target: Target) -> Verdict:
        """What the person said; holding where nobody is there."""
        while not self._asked():
            _say(f"go on to {target}? y: yes, n: stop here, b: roll back")
            while not self._asked() and not select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
                pass
            if self._asked():
                break
            line = sys.stdin.readline()
            if not line:
                return Verdict.HOLD
            if line.strip().lower() in ANSWERS:
                return ANSWERS[line.strip().lower()]
        return Verdict.BACK


def _document(verdict: Verdict, state: Standing) -> str:
    return json.dumps(
        {
            "verdict": verdict,
            "promotion": state.promotion,
            "weight": state.good.weight if verdict is not Verdict.HOLD else state.now.weight,
            "passed": [target.document() for target in state.targets[: state.passed]],
            "why": state.why,
        },
        indent=1,
    )


def _run(given: argparse.Namespace, asked: StopRequest) -> int:
    journal = Journal(cluster.PROJECT_FOLDER, given.stack)
    with journal.locked():
        now = standing(journal.records())
        steps, cohort = chosen(given, stack_config(cluster.PROJECT_FOLDER, given.stack), now)
        ways = Ways(_say, asked, Approve(asked) if given.approve else None)
        promotion = Promotion(journal, Updates(cluster.PROJECT_FOLDER, given.stack, asked), rules(given), ways)
        if now and not now.result:
            _say(str(now))
        elif not promotion.begin(steps, cohort):
            weight = shown(stack_config(cluster.PROJECT_FOLDER, given.stack).canary.weight)
            _say(f"the canary has {weight} % already, and no step is above that: nothing to promote")
            return 0
        verdict, state = promotion.walk()
    if verdict is Verdict.HOLD:
        _say(f"held at {state.now}: run it again to measure again, or `lab rollback`")
    else:
        _say(str(state))
    if given.json:
        print(_document(verdict, state))
    return signals.EXIT if asked() else CODES[verdict]


def main(given: argparse.Namespace) -> int:
    """0 promoted, 1 rolled back or refused, 3 held, 130 told to stop and rolled back."""
    asked = StopRequest()
    try:
        use_target(given.state, stack_config(cluster.PROJECT_FOLDER, given.stack))
        with asked.received():
            return _run(given, asked)
    except (PromoteError, ConfigError, Locked, OSError) as error:
        print(f"lab promote: {error}", file=sys.stderr)
        return 1
