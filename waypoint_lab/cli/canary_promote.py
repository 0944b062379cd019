"""`lab canary promote`: promote the canary step by step; roll back on failure."""

from dataclasses import replace
from pathlib import Path

import click

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab import signals
from waypoint_lab.cli import observers, output, reports, terminal
from waypoint_lab.cli.approvals import choose_approval
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.settings import PROMOTION, LabConfig
from waypoint_lab.config.target import use_target
from waypoint_lab.config.weights import StepsError, read_steps, shown
from waypoint_lab.errors import RolloutError
from waypoint_lab.masking import hidden
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.report import promotion_report
from waypoint_lab.report.promotion_report import ChangeRecorder
from waypoint_lab.rollout.analysis import StepDecision, Thresholds
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.progress import ProgressFile
from waypoint_lab.rollout.promotion import Operator, Promotion
from waypoint_lab.rollout.state import PromotionState, current_state
from waypoint_lab.signals import StopRequest

EXIT_CODES = {StepDecision.PROMOTE: 0, StepDecision.ROLL_BACK: 1, StepDecision.PAUSE: 3}
DECIDE_SECONDS = 30.0  # to decide after the least time of a step
report = output.reporter("promote")


def choose_steps(
    config: LabConfig, state: PromotionState | None, steps: str | None, cohort: str
) -> tuple[tuple[float, ...], str]:
    """Return the weights and the cohort of a promotion.

    Args:
        config: The stack's config.
        state: State of the newest promotion; None where there is none.
        steps: Rising weights, comma-separated; None means those of the config.
        cohort: Text of a cohort, such as NAME=VALUE or cookie:NAME=VALUE; empty means none.

    Raises:
        RolloutError: Stage canary is off, the steps are not valid, or another promotion has not ended.
        ConfigError: The cohort is not valid.
    """
    if not config.stages.canary:
        raise RolloutError("stages.canary is off; run `pulumi config set --path stages.canary true`")
    if cohort:
        cohort = str(config.with_cohort(cohort).canary.cohort)
    try:
        weights = read_steps(steps) if steps else config.canary.steps
    except StepsError as error:
        raise RolloutError(f"--steps is {steps}: it must be {error}") from None
    if state is None or state.ended or not (steps or cohort):
        return weights, cohort
    wanted = dict.fromkeys(step.weight for step in state.steps if step.weight > state.start.weight)
    same = [weight for weight in weights if weight > state.start.weight] == list(wanted)
    if not same or (cohort and all(step.cohort != cohort for step in state.steps)):
        raise RolloutError(
            f"a promotion with other steps has not ended ({state}); "
            "run without --steps, --cohort and --header, or `lab canary rollback`"
        )
    return weights, cohort


def refuse_secret_cohort(config: LabConfig) -> None:
    """Raise RolloutError where the declared cohort has a secret in it."""
    settings = config.canary.cohort.settings if config.canary.cohort else {}
    for name, text in settings.items():
        if hidden(text) != text:
            why = "it is secret, and a promotion keeps its cohort in the journal; set it without --secret"
            raise RolloutError(f"waypoint-lab:canary.cohort.{name}: {why}")


def document(decision: StepDecision, state: PromotionState) -> dict[str, object]:
    """Return the result as `--json` prints it."""
    current = state.current if decision is StepDecision.PAUSE else state.last_healthy
    return {
        "decision": decision,
        "phase": state.phase,
        "promotion": state.promotion,
        "weight": current.weight,
        "passed": [step.document() for step in state.steps[: state.passed]],
        "why": state.why,
    }


def nothing_to_do(weight: float, why: str) -> dict[str, object]:
    """Return the result as `--json` prints it where no step is left, so that no promotion was started."""
    return {"decision": None, "phase": None, "promotion": None, "weight": weight, "passed": [], "why": why}


@click.command()
@click.option(
    "--steps", metavar="LIST", help="Rising weights in percent, such as 0.1,1,5,20,100 [default: the config's]."
)
@click.option(
    "--cohort", metavar="KIND:NAME=VALUE", help="Send requests of this cohort to the canary before the steps."
)
@click.option("--header", metavar="NAME=VALUE", help="The same as --cohort header:NAME=VALUE.")
@click.option("--approve", is_flag=True, help="Ask before each step.")
@click.option(
    "--approve-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Take the answer (promote, pause or roll back) from FILE, and remove it.",
)
@click.option("--approve-url", metavar="URL", help="Post each step to this address until it answers.")
@click.option(
    "--approve-limit",
    type=click.FloatRange(0, 604800, min_open=True),
    default=3600.0,
    show_default=True,
    help="Seconds after which a step without an answer of the file or server pauses the promotion.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 50, min_open=True),
    default=2.0,
    show_default=True,
    help="A canary that fails more often by so many percentage points is not promoted.",
)
@click.option(
    "--error-rate",
    type=click.FloatRange(0, 20, min_open=True),
    default=1.0,
    show_default=True,
    help="Greatest probability of each wrong decision, in percent.",
)
@click.option("--seconds", type=click.FloatRange(0, 86400), default=0.0, help="Measure each step at least this long.")
@click.option(
    "--requests",
    type=click.IntRange(0, 10_000_000),
    default=0,
    help="Measure each step by at least so many requests to the canary.",
)
@click.option(
    "--limit",
    type=click.FloatRange(0, 86400, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds after which an inconclusive step pauses the promotion.",
)
@observers.metrics_option
@reports.report_option
@reports.picture_option
@output.stack_option
@output.json_option
@click.pass_obj
def promote(
    invocation: Invocation,
    steps: str | None,
    cohort: str | None,
    header: str | None,
    approve: bool,
    approve_file: Path | None,
    approve_url: str | None,
    approve_limit: float,
    margin: float,
    error_rate: float,
    seconds: float,
    requests: int,
    limit: float,
    metrics_file: Path | None,
    report_folder: Path | None,
    picture: bool,
    stack: str,
    as_json: bool,
) -> int:
    """Promote the canary step by step; roll back on failure.

    Each step edits the stack's config, runs `pulumi up` and compares the canary with the baseline. An interrupted
    promotion continues with the next call.

    Exit status: 0 promoted, 1 rolled back or refused, 3 paused, 130 interrupted and rolled back.

    Example: lab canary promote --steps 1,5,20,50,100
    """
    if cohort and header:
        raise click.UsageError("--cohort and --header exclude each other; give one")
    destination = reports.prepared(report_folder, picture)
    stop = StopRequest()
    approval = choose_approval(
        stack, stop, ask=approve, file=approve_file, url=approve_url, limit_seconds=approve_limit
    )
    pulumi_stack = PulumiStack(PROJECT_FOLDER, stack, stop, {PROMOTION: "1"})
    rate = error_rate / 100
    thresholds = Thresholds(
        margin / 100,
        rate,
        rate,
        min_seconds=seconds,
        min_rounds=requests,
        limit_seconds=max(limit, seconds + DECIDE_SECONDS) if seconds else limit,
    )
    use_target(invocation.state, pulumi_stack.target_kind())
    journal = Journal(PROJECT_FOLDER, stack)
    observed = observers.observed(journal, pulumi_stack, report, metrics_file=metrics_file)
    shown_view = terminal.shown(pulumi_stack.config(), PROJECT_FOLDER, stack)
    with stop.received(), journal.locked(), observed, ProgressFile(journal) as progress, shown_view:
        state = current_state(journal.records())
        config = pulumi_stack.config()
        refuse_secret_cohort(config)
        weights, chosen = choose_steps(config, state, steps, cohort or header or "")
        record = reports.Recording(destination, pulumi_stack, invocation.state)
        recorder = ChangeRecorder(pulumi_stack, report)
        operator = Operator(report, stop, approval, progress)
        operator = replace(operator, around=recorder.around) if destination else operator
        promotion = Promotion(journal, pulumi_stack, thresholds, operator)
        if state and not state.ended:
            report(str(state))
        else:
            state = promotion.start(weights, chosen)
        written = len(journal.records())
        if state:
            decision, state = promotion.run()
        records = journal.records()[written:]
    if state is None:
        weight = pulumi_stack.config().canary.weight
        why = f"the canary has {shown(weight)} % and no step is above: nothing to do"
        report(why)
        if as_json:
            output.print_json(nothing_to_do(weight, why))
        return 0
    report(
        f"{state}; run the command again, or `lab canary rollback`" if decision is StepDecision.PAUSE else str(state)
    )
    if as_json:
        output.print_json(document(decision, state))
    status = signals.EXIT if stop() else EXIT_CODES[decision]
    if destination:
        with stop.received(), reports.attempt():
            proxy = recorder.finish()
            found, verdict = promotion_report.sections(records, recorder), promotion_report.verdict(state)
            record.write("lab canary promote", verdict, str(state), promotion_report.CONFIDENCE, found, proxy)
    return status
