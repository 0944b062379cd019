"""Options of the commands that compare traffic before and after a change."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from waypoint_lab.guard.comparison import Expectation, Rules

Command = TypeVar("Command", bound=Callable[..., Any])
SECONDS = click.FloatRange(5, 3600)

kubeconfig_option = click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    metavar="PATH",
    help="Watch the cluster of this kubeconfig, without a stack.",
)
context_option = click.option(
    "--context", default="", metavar="NAME", help="Watch the cluster of this context, without a stack."
)


# Name, range, default and help.
LIMITS = (
    ("--share-points", click.FloatRange(0, 100), 5.0, "Percentage points by which a share may move."),
    ("--failure-points", click.FloatRange(0, 100), 1.0, "Percentage points by which failures may rise."),
    ("--p99-factor", click.FloatRange(1, 100), 1.5, "Factor by which the 99th percentile may rise."),
    ("--error-rate", click.FloatRange(0, 20, min_open=True), 1.0, "Greatest probability of a false alarm, in percent."),
)


def rules_options(command: Command) -> Command:
    """Add the options of the accepted changes; `rules` reads them."""
    options = [
        click.option("--expect", multiple=True, metavar="SERVICE=PERCENT", help="Share that the command declares."),
        click.option("--allow-silent", multiple=True, metavar="SERVICE", help="A Service that may lose all requests."),
        *(
            click.option(name, type=limits, default=default, show_default=True, help=text)
            for name, limits, default, text in LIMITS
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def rules(
    expect: tuple[str, ...],
    allow_silent: tuple[str, ...],
    share_points: float,
    failure_points: float,
    p99_factor: float,
    error_rate: float,
) -> Rules:
    """Return the accepted changes of the options.

    Raises:
        BadParameter: A share is not SERVICE=PERCENT.
    """
    parts = error_rate / 100, share_points / 100, failure_points / 100, p99_factor
    return Rules(*parts, _expected(expect), frozenset(allow_silent))


def _expected(given: tuple[str, ...]) -> dict[str, Expectation]:
    found: dict[str, Expectation] = {}
    for text in given:
        name, _, percent = text.partition("=")
        number = re.fullmatch(r"(\d+(?:\.\d+)?) ?%?", percent.strip())
        if not name or not number or float(number[1]) > 100:
            raise click.BadParameter(f"{text}: it must be SERVICE=PERCENT, such as reviews-canary=20%")
        found[name] = Expectation(float(number[1]) / 100)
    return found
