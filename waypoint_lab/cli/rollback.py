"""`lab rollback`: puts the last good weight back by hand."""

import argparse
import sys

from embedded import cluster
from waypoint_lab.config.target import stack_config, use_target
from waypoint_lab.errors import ConfigError
from waypoint_lab.pulumi_cli import Updates
from waypoint_lab.rollout.analysis import Rules
from waypoint_lab.rollout.journal import Journal, Locked
from waypoint_lab.rollout.promotion import PromoteError, Promotion, Ways
from waypoint_lab.rollout.state import Result, standing


def _say(line: str) -> None:
    print(f"rollback: {line}", file=sys.stderr, flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lab rollback`."""
    parser.add_argument("--stack", default="dev", help="the stack to roll back (default: dev)")


def main(given: argparse.Namespace) -> int:
    """0 once the last good weight is live again.

    Of a promotion that has not ended, that is the last one measured healthy; of one that has, the one it started from.
    """
    try:
        use_target(given.state, stack_config(cluster.PROJECT_FOLDER, given.stack))
        journal = Journal(cluster.PROJECT_FOLDER, given.stack)
        with journal.locked():
            now = standing(journal.records())
            if now is None:
                raise PromoteError(f"stack {given.stack} was never promoted: there is no weight to go back to")
            passed = 0 if now.result is Result.PROMOTED else now.passed
            journal.append("back", now.promotion, why="by hand", passed=passed)
            promotion = Promotion(
                journal, Updates(cluster.PROJECT_FOLDER, given.stack), Rules(0.02, 0.01, 0.01), Ways(_say, lambda: "")
            )
            state = standing(journal.records())
            assert state
            promotion.back(state)
    except (PromoteError, ConfigError, Locked, OSError) as error:
        print(f"lab rollback: {error}", file=sys.stderr)
        return 1
    return 0
