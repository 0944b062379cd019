"""`lab guard`: watch what a command does to the traffic of a namespace's waypoints."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import click
from rich.text import Text

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab import signals
from waypoint_lab.cli import output, reports
from waypoint_lab.config.models import ExistingTarget
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import use_target
from waypoint_lab.errors import GuardError, LabError
from waypoint_lab.guard import declared
from waypoint_lab.guard.comparison import Expectation, Rules
from waypoint_lab.guard.differences import Difference
from waypoint_lab.guard.guarded_change import Change, GuardResult, watch
from waypoint_lab.guard.readers import source
from waypoint_lab.guard.waypoints import Waypoints
from waypoint_lab.measure import proxy_versions
from waypoint_lab.measure.verify import Verdict
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.report import guard_report

EXIT_CODES = {Verdict.PASSED: 0, Verdict.FAILED: 1, Verdict.INCONCLUSIVE: 3}
COLUMNS = ("where", "what", "evidence", "verdict")
STDERR = 2  # file descriptor
SECONDS = click.FloatRange(5, 3600)
report = output.reporter("guard")


def expected(given: tuple[str, ...]) -> dict[str, Expectation]:
    """Return the shares of `--expect`.

    Raises:
        BadParameter: One is not SERVICE=PERCENT.
    """
    found: dict[str, Expectation] = {}
    for text in given:
        name, _, percent = text.partition("=")
        number = re.fullmatch(r"(\d+(?:\.\d+)?) ?%?", percent.strip())
        if not name or not number or float(number[1]) > 100:
            raise click.BadParameter(f"{text}: it must be SERVICE=PERCENT, such as reviews-canary=20%")
        found[name] = Expectation(float(number[1]) / 100)
    return found


def deployed(stack: PulumiStack) -> LabConfig | None:
    """Return the config that the stack was deployed with; None where it cannot be read."""
    try:
        return stack.deployed()
    except LabError as error:
        report(f"no share is taken from stack {stack.name}: {error}")
        return None


def stack_rules(rules: Rules, stack: PulumiStack, before: LabConfig | None) -> Rules:
    """Return `rules` with the shares that the deployed stack declares; those of the user come first."""
    config = deployed(stack)
    if config is None:
        return rules
    return replace(
        rules,
        expected={**declared.expectations(config), **rules.expected},
        may_be_silent=rules.may_be_silent | declared.without_requests(config),
        may_move=declared.moved(before, config),
    )


def cells(item: Difference) -> list[object]:
    """Return the row of one comparison."""
    word = item.verdict.upper() if item.verdict is Verdict.FAILED else item.verdict.value
    needed = f"  needs {item.needed} requests" if item.needed else ""
    return [item.where, item.kind.value, item.evidence, Text(word, output.STYLES[word]) + Text(needed)]


def show(result: GuardResult) -> None:
    """Print the comparisons, and the outcome of the rollback."""
    output.print_table(COLUMNS, [cells(item) for item in result.differences])
    if not result.rollback:
        return
    if result.restored:
        report("rolled back: the former outcome is back")
        return
    output.print_table(COLUMNS, [cells(item) for item in result.after_rollback])
    report(f"rolled back: {result.rollback.problem or 'the former outcome is not proven to be back'}")


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--namespace", metavar="NS", help="Namespace of the waypoints [default: the stack's app.namespace].")
@click.option("--seconds", type=SECONDS, default=30.0, show_default=True, help="Observe so long after the command.")
@click.option("--before-seconds", type=SECONDS, help="Observe so long before it [default: --seconds].")
@click.option("--expect", "expect", multiple=True, metavar="SERVICE=PERCENT", help="Share that the command declares.")
@click.option("--allow-silent", multiple=True, metavar="SERVICE", help="A Service that may lose all requests.")
@click.option("--rollback", default="", metavar="COMMAND", help="Run this on failure, and observe once more.")
@click.option(
    "--share-points",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    help="Percentage points by which a share may move.",
)
@click.option(
    "--failure-points",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    help="Percentage points by which failures may rise.",
)
@click.option(
    "--p99-factor",
    type=click.FloatRange(1, 100),
    default=1.5,
    show_default=True,
    help="Factor by which the 99th percentile may rise.",
)
@click.option(
    "--error-rate",
    type=click.FloatRange(0, 20, min_open=True),
    default=1.0,
    show_default=True,
    help="Percent of false alarms, at most.",
)
@click.option(
    "--limit",
    type=click.FloatRange(1, 86400),
    default=1800.0,
    show_default=True,
    help="Seconds after which the command is asked to end.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    metavar="PATH",
    help="Watch the cluster of this kubeconfig, without a stack.",
)
@click.option("--context", default="", metavar="NAME", help="Watch the cluster of this context, without a stack.")
@reports.report_option
@reports.picture_option
@output.stack_option
@output.json_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def guard(
    ctx: click.Context,
    namespace: str | None,
    seconds: float,
    before_seconds: float | None,
    expect: tuple[str, ...],
    allow_silent: tuple[str, ...],
    rollback: str,
    share_points: float,
    failure_points: float,
    p99_factor: float,
    error_rate: float,
    limit: float,
    kubeconfig: str | None,
    context: str,
    report_folder: Path | None,
    picture: bool,
    stack: str,
    as_json: bool,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND, and fail if the traffic of a namespace's waypoints is worse afterwards.

    Each destination is compared with the time before: requests, share, failures and latency. Its output passes
    through; with --json, on standard error.

    Exit status: 0 passed, 1 failed or rolled back, 3 inconclusive, 130 interrupted.

    Example: lab guard --rollback 'kubectl apply -f old.yaml' -- kubectl apply -f new.yaml
    """
    destination = reports.prepared(report_folder, picture)
    rules = Rules(
        error_rate / 100,
        share_points / 100,
        failure_points / 100,
        p99_factor,
        expected(expect),
        frozenset(allow_silent),
    )
    without_stack = bool(kubeconfig or context)
    if without_stack and ctx.get_parameter_source("stack") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--stack names a cluster; do not combine it with --kubeconfig or --context")
    if without_stack and not namespace:
        raise click.UsageError("--namespace is needed without a stack; name the namespace of the waypoints")
    named = LabConfig(target=ExistingTarget(kubeconfig=kubeconfig or "", context=context))
    config = named if without_stack else PulumiStack(PROJECT_FOLDER, stack).config()
    use_target(ctx.obj.state, config)
    if shutil.which(command[0]) is None:
        raise GuardError(f"{command[0]}: there is no such command; correct it, or its path")
    if config.target.kubeconfig:  # the command changes the cluster that is watched
        os.environ["KUBECONFIG"] = str(PROJECT_FOLDER / Path(config.target.kubeconfig).expanduser())
    watched = namespace or config.app.namespace
    own = not without_stack and watched == config.app.namespace
    stack_of_lab = PulumiStack(PROJECT_FOLDER, stack) if own else None
    before = deployed(stack_of_lab) if stack_of_lab else None
    change = Change(
        command,
        rollback,
        before_seconds or seconds,
        seconds,
        limit,
        lambda: stack_rules(rules, stack_of_lab, before) if stack_of_lab else rules,
        STDERR if as_json else None,
    )
    record = reports.Recording(
        destination, None if without_stack else PulumiStack(PROJECT_FOLDER, stack), ctx.obj.state
    )
    waypoints = Waypoints(config.target, watched)
    objects = guard_report.objects(waypoints, report) if destination else {}
    result = watch(source(waypoints), change, report)
    if as_json:
        output.print_json(result.document())
    else:
        show(result)
    if destination:
        sections = guard_report.sections(result, waypoints, objects, report)
        proxy = proxy_versions.read(config.target, watched, waypoints.names)
        summary = f"{' '.join(command)}: the traffic of namespace {watched} before and after"
        record.write(
            "lab guard", result.verdict.value, summary, guard_report.CONFIDENCE, sections, proxy, config.target
        )
    return signals.EXIT if result.interrupted else EXIT_CODES[result.verdict]
