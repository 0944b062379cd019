"""`lab watch`: show the traffic of the stack's waypoints now."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import click
from rich.console import Console

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab import signals
from waypoint_lab.cli import live_view, output, terminal
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import use_target
from waypoint_lab.live.model import Change, TrafficSnapshot, to_json
from waypoint_lab.live.sampler import Sampler
from waypoint_lab.measure.client import Client, Group
from waypoint_lab.pulumi_cli import PulumiStack

LINE_SECONDS = 1.0
PROBE_LIMIT_SECONDS = 86400.0
PROBE_WORKERS, PROBE_PAUSE_SECONDS = 2, 0.1  # at most 20 requests a second
QUIT = "q"
report = output.reporter("watch")


@contextmanager
def probing(config: LabConfig, limit_seconds: float) -> Iterator[Callable[[], None]]:
    """Send a small load inside the context. The function takes the answers that have come; call it often.

    It reports once that the load has ended.
    """
    group = Group(workers=PROBE_WORKERS, pause_seconds=PROBE_PAUSE_SECONDS)
    with Client(config, [group], limit_seconds) as client:
        ended = False

        def drain() -> None:
            nonlocal ended
            while found := client.read(0.0):
                pass
            if found is None and not ended:
                ended = True
                report(f"the probe ended after {limit_seconds / 3600:g} h; run the command again")

        yield drain


class Lines:
    """Printer for a pipe: one line for each backend a second, and one for each change."""

    def __init__(self, *, as_json: bool) -> None:
        """Print nothing yet."""
        self._as_json, self._printed, self._problem = as_json, 0.0, ""
        self._changes: set[Change] = set()

    def __call__(self, snapshot: TrafficSnapshot) -> None:
        """Print what is new in a snapshot."""
        if self._as_json:
            output.print_json(to_json(snapshot), indent=None)
            return
        for change in snapshot.changes:
            if change not in self._changes:
                self._changes.add(change)
                click.echo(live_view.plain_change(change))
        if snapshot.problem != self._problem:
            self._problem = snapshot.problem
            if self._problem:
                click.echo(output.printable(f"watch: {self._problem}"), err=True)
        if abs(snapshot.time - self._printed) >= LINE_SECONDS:  # the clock may be set back
            self._printed = snapshot.time
            for line in live_view.plain_lines(snapshot):
                click.echo(line)


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(0, 86400, min_open=True), help="End after so many seconds [default: never]."
)
@click.option(
    "--window",
    type=click.FloatRange(1, 300),
    default=10.0,
    show_default=True,
    help="Length of the measured window in seconds; it starts again when the waypoint's routes change.",
)
@click.option(
    "--probe", is_flag=True, help="Send at most 20 requests a second, by the application's client, for a day at most."
)
@output.stack_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line, twice a second.")
@click.pass_obj
def watch(invocation: Invocation, seconds: float | None, window: float, probe: bool, stack: str, as_json: bool) -> int:
    """Show the traffic through the stack's waypoints now; `q` or Ctrl-C ends.

    For each backend: declared weight, measured share with its 99 % interval, requests a second, success and latency. In
    a pipe, one line for each backend a second. Only --probe sends requests.

    Exit status: 0 ended by `q` or --seconds, 1 refused or ended by an error, 130 interrupted.

    Examples: lab watch --probe --seconds 60; lab watch --json --seconds 5 > snapshots.jsonl
    """
    pulumi_stack = PulumiStack(PROJECT_FOLDER, stack)
    use_target(invocation.state, pulumi_stack.target_kind())
    config = pulumi_stack.config()
    until = time.monotonic() + (seconds or float("inf"))
    console = Console(highlight=False)
    with ExitStack() as opened:
        opened.enter_context(signals.handled(signals.interrupt))
        drain = opened.enter_context(probing(config, seconds or PROBE_LIMIT_SECONDS)) if probe else lambda: None
        sampler = opened.enter_context(Sampler(config, PROJECT_FOLDER, stack, window))
        if as_json or not terminal.can_show(console):
            return _print(sampler, Lines(as_json=as_json), until, drain)
        _show(sampler, console, until, drain)
    return 0


def _print(sampler: Sampler, lines: Lines, until: float, drain: Callable[[], None]) -> int:
    """Print snapshots. Return the exit status: 1 where the view has ended by an error, which the last one tells."""
    known: TrafficSnapshot | None = None
    while (left := until - time.monotonic()) > 0:
        ended = sampler.ended
        if snapshot := sampler.wait(known, 0.0 if ended else min(left, LINE_SECONDS)):
            known = snapshot
            lines(snapshot)
        drain()
        if ended:
            return 1
    return 0


def _show(sampler: Sampler, console: Console, until: float, drain: Callable[[], None]) -> None:
    own: list[str] = []
    with terminal.keys() as key, terminal.Screen(sampler, console, own) as screen, output.reported_to(own.append):
        while (left := until - time.monotonic()) > 0:
            screen.update()
            drain()
            if key(min(left, terminal.REFRESH_SECONDS)) == QUIT:
                return
