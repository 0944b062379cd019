"""`lab run`: run all stages of the lab and measure each."""

import os
from pathlib import Path

import click
from rich.text import Text

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab.cli import output, reports
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.target import use_target
from waypoint_lab.errors import ReportError
from waypoint_lab.masking import json_text
from waypoint_lab.measure.restore import recover
from waypoint_lab.measure.stage_run import StageResult, run_stages
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.report import run_report
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.stages.expectations import CONFIDENCE
from waypoint_lab.stages.table import BY_NAME, STAGES, Stage


def choose_stages(text: str | None) -> list[Stage]:
    """Return the stages that a list names, and the clean-up; None means all. Raises click.BadParameter."""
    rows = [row for row in STAGES if row.steps]
    if not text:
        return rows
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in BY_NAME or not BY_NAME[name].steps:
            known = ", ".join(row.name for row in rows)
            raise click.BadParameter(f"there is no stage {name!r}; known are {known}")
    return [row for row in rows if row.name in {*names, "cleanup"}]


def check_writable(file: Path) -> None:
    """Raise click.BadParameter if the file of the results cannot be written; nothing is written yet."""
    where = file if file.exists() else file.parent
    if file.is_dir() or not file.parent.is_dir() or not os.access(where, os.W_OK):
        raise click.BadParameter(f"{file}: it cannot be written; name a file in a folder of yours", param_hint="--json")


def print_results(results: list[StageResult]) -> None:
    """Print the verdicts of all stages, and their notes."""
    rows: list[list[object]] = []
    for result in results:
        rows += [[result.name, *output.verdict_cells(item)] for item in result.verdicts]
        times = f"update {result.up_seconds:.1f} s, in sync after {result.sync_seconds:.1f} s"
        rows += [["", Text(note, "dim"), *[""] * 5] for note in [times, *result.notes]]
        rows += [[result.name, Text(f"FAILED  {why}", output.STYLES["FAILED"]), *[""] * 5] for why in result.problems]
    output.print_table(("stage", *output.VERDICT_COLUMNS), rows)


@click.command()
@click.option(
    "--stages",
    metavar="LIST",
    help=f"Only these stages, comma-separated: {', '.join(row.name for row in STAGES if row.steps)}.",
)
@output.stack_option
@click.option(
    "--json", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write the results; - for stdout."
)
@reports.report_option
@reports.picture_option
@click.option("--restore", is_flag=True, help="Only restore the stack that a killed command left.")
@click.pass_obj
def run(
    invocation: Invocation,
    stages: str | None,
    stack: str,
    file: Path | None,
    report_folder: Path | None,
    picture: bool,
    restore: bool,
) -> int:
    """Run all stages of the lab and measure each.

    Each stage edits the stack's config, runs `pulumi up` and measures the traffic. The stack is restored in the end.
    If the command is killed, its fault ends by itself, and the next run restores the stack first.

    Exit status 1 where a stage failed, or the stack is not restored.

    Example: lab run --stages canary,premium
    """
    rows = choose_stages(stages)
    to_file = file if file and str(file) != "-" else None
    if to_file:
        check_writable(to_file)
    destination = reports.prepared(report_folder, picture)
    pulumi_stack = PulumiStack(PROJECT_FOLDER, stack)
    use_target(invocation.state, pulumi_stack.target_kind())
    with Journal(PROJECT_FOLDER, stack).locked():
        if restore:
            recover(pulumi_stack, output.reporter("run"))
            return 0
        record = reports.Recording(destination, pulumi_stack, invocation.state)
        results = run_stages(pulumi_stack, rows, output.reporter("run"), record=bool(destination))
    passed = bool(results) and all(result.passed for result in results)
    document = {"passed": passed, "stages": [result.document() for result in results]}
    if file and not to_file:
        output.print_json(document)
    else:
        print_results(results)
        click.echo("every stage passed" if passed else "NOT every stage passed")
    total = sum(item.requests for result in results for item in result.verdicts)
    summary = f"{len(results)} stages, {total} measured requests"
    verdict = "passed" if passed else "failed"
    with reports.attempt():
        sections, proxy = run_report.sections(results), run_report.proxy(results)
        record.write("lab run", verdict, summary, CONFIDENCE, sections, proxy)
    if to_file:
        try:
            to_file.write_text(json_text(document) + "\n")
        except OSError as error:
            raise ReportError(f"--json {to_file}: it cannot be written ({error.strerror})") from None
    return 0 if passed else 1
