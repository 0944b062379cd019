"""Output of the commands: tables and colours by rich on a terminal, plain lines elsewhere."""

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import click
from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

from waypoint_lab.masking import hidden, json_text
from waypoint_lab.measure.verify import Measurement, Verdict

_shown_by: list[Callable[[str], None]] = []
STYLES = {"passed": "green", "FAILED": "bold red", "inconclusive": "yellow"}

stack_option = click.option(
    "--stack", default="dev", show_default=True, metavar="NAME", help="The stack of this project."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


class OutputConsole(Console):
    """A console that raises OSError where its stream cannot be written; rich itself ends the process."""

    def on_broken_pipe(self) -> None:
        """Raise the error again."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def on_terminal(console: Console) -> bool:
    """Return True where a console is on a terminal; by FORCE_COLOR, rich takes any stream for one."""
    return console.is_terminal and console.file.isatty()


def console(*, stderr: bool = False) -> Console:
    """Return a console; without a terminal, it does not wrap lines, and has colours only by FORCE_COLOR."""
    found = OutputConsole(stderr=stderr, highlight=False, soft_wrap=True)
    if not on_terminal(found):
        found.size = ConsoleDimensions(1000, 25)
    return found


def printable(text: str) -> str:
    """Return a text with `?` in place of each character that is not printable, such as an escape of a terminal."""
    return "".join(one if one.isprintable() else "?" for one in text)


def printable_cell(cell: object) -> Text:
    """Return a cell or a line as rich text, with its styles, and without secrets and characters not printable."""
    found = cell.copy() if isinstance(cell, Text) else Text(str(cell))
    found.plain = printable(hidden(found.plain))  # a secret that is folded later would not be found
    return found


def echo_error(line: str) -> None:
    """Print one line to standard error; drop it where nobody reads that any more, as a rollback may come next."""
    with suppress(OSError):
        click.echo(line, err=True)


def reporter(name: str) -> Callable[[str], None]:
    """Return a function that prints one line of progress to standard error, after the name of the command."""
    return functools.partial(_report, name)


def _report(name: str, line: str) -> None:
    line = printable(f"{name}: {line}")
    if _shown_by:
        _shown_by[-1](line)
    else:
        echo_error(line)


@contextmanager
def reported_to(show: Callable[[str], None]) -> Iterator[None]:
    """Give lines of progress to a function inside the context, in place of standard error."""
    _shown_by.append(show)
    try:
        yield
    finally:
        _shown_by.remove(show)


def print_json(document: object, indent: int | None = 1) -> None:
    """Print one JSON document without secrets; in one line if `indent` is None."""
    click.echo(json_text(document, indent), file=getattr(sys.stdout, "unmasked", sys.stdout))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, stderr: bool = False) -> None:
    """Print a table.

    Args:
        columns: Titles; one that begins with `>` is aligned to the right.
        rows: One sequence of cells a row; a cell may be a rich text.
        stderr: Print to standard error; drop the table where nobody reads that any more.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in columns:
        table.add_column(title.lstrip(">"), justify="right" if title.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(printable_cell, row))
    with suppress(OSError) if stderr else nullcontext():
        console(stderr=stderr).print(table)


def verdict_cells(item: Measurement) -> list[Any]:
    """Return the cells of one verdict: what, declared, measured, interval, requests, verdict."""
    low, high = (item.shown(end) for end in item.interval)
    word = item.verdict.upper() if item.verdict is Verdict.FAILED else item.verdict.value
    verdict = Text(word, STYLES[word]) + Text(f"  {item.why}" if item.why else "")
    return [
        item.what,
        item.shown(item.declared),
        item.shown(item.measured),
        f"{low}-{high}",
        item.requests,
        verdict,
    ]


VERDICT_COLUMNS = ("what", ">declared", ">measured", ">99.99 % interval", ">requests", "verdict")


def print_verdicts(verdicts: Sequence[Measurement], *, stderr: bool = False) -> None:
    """Print one row for each verdict."""
    print_table(VERDICT_COLUMNS, [verdict_cells(item) for item in verdicts], stderr=stderr)
