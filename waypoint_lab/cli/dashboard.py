"""`lab dashboard`: show traffic and promotion in a browser."""

import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab import signals
from waypoint_lab.cli import output
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.target import use_target
from waypoint_lab.dashboard.actions import PageActions, lab_command
from waypoint_lab.dashboard.feed import PageFeed, SnapshotSource
from waypoint_lab.dashboard.history import JsonSnapshot
from waypoint_lab.dashboard.server import serving
from waypoint_lab.errors import ConfigError, PulumiError
from waypoint_lab.live.model import TrafficSnapshot, to_json
from waypoint_lab.live.sampler import Sampler
from waypoint_lab.masking import hidden
from waypoint_lab.pulumi_cli import PulumiStack

WINDOW_SECONDS = 10.0
AGAIN_SECONDS = 5.0


def declared_weights(stack: PulumiStack) -> Callable[[], Sequence[float]]:
    """Return a function that reads the canary's weight and its last step; empty while stage canary is off.

    The function raises ConfigError while the config cannot be read.
    """
    known: dict[int, Sequence[float]] = {}
    failed, again = "", 0.0  # the reason why the file could not be read, and the time from which it is read once more

    def read() -> Sequence[float]:
        nonlocal failed, again
        changed = 0
        try:
            changed = stack.file.stat().st_mtime_ns
            if changed not in known and time.monotonic() >= again:
                known.clear()
                again = time.monotonic() + AGAIN_SECONDS
                config = stack.config()
                known[changed] = (config.canary.weight, config.canary.steps[-1]) if config.stages.canary else ()
                again = 0.0
        except OSError as error:
            failed = f"{stack.file}: it cannot be read ({error.strerror}); make it readable"
        except (ConfigError, PulumiError) as error:
            failed = str(error)
        if changed not in known:
            raise ConfigError(failed)
        return known[changed]

    return read


def snapshots(sampler: Sampler) -> SnapshotSource:
    """Return a source of the sampler's snapshots."""
    known: TrafficSnapshot | None = None

    def wait(limit_seconds: float) -> JsonSnapshot | None:
        nonlocal known
        if (found := sampler.wait(known, limit_seconds)) is None:
            return None
        known = found
        return to_json(hidden(found))

    return wait


@contextmanager
def redirecting(address: str) -> Iterator[str]:
    """Keep a file that leads a browser to an address. Return its URI.

    Every user of the machine can read the arguments of the browser's process; this user alone can read the file.
    """
    with tempfile.TemporaryDirectory(prefix="waypoint-lab-page-") as folder:  # of mode 0700
        file = Path(folder) / "dashboard.html"
        file.touch(0o600)
        file.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">\n')
        yield file.as_uri()


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Port on 127.0.0.1 [default: any free one].",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser of this machine.")
@output.stack_option
@click.pass_obj
def dashboard(invocation: Invocation, port: int, open_page: bool, stack: str) -> None:
    """Show traffic and promotion in a browser.

    Print the address of a page that only this machine can open. Its buttons run `lab canary`. Ctrl-C ends it; a
    promotion that a button started is paused first.
    """
    report = output.reporter("dashboard")
    pulumi_stack = PulumiStack(PROJECT_FOLDER, stack)
    use_target(invocation.state, pulumi_stack.target_kind())
    ended = threading.Event()
    with (
        Sampler(pulumi_stack.config(), PROJECT_FOLDER, stack=stack, window_seconds=WINDOW_SECONDS) as sampler,
        PageFeed(snapshots(sampler)) as feed,
    ):
        weights = declared_weights(pulumi_stack)
        actions = PageActions(lab_command(invocation.state), PROJECT_FOLDER, stack, weights, lambda: feed.busy)
        feed.actions = actions.document
        try:
            with (
                serving(port, feed, actions) as access,
                signals.handled(lambda *_: ended.set()),
                ExitStack() as opened,
            ):
                click.echo(access.address)
                report("open this address in a browser of this machine; Ctrl-C ends the dashboard")
                if open_page and not webbrowser.open(opened.enter_context(redirecting(access.address))):
                    report("there is no browser to open; copy the address")
                ended.wait()
        finally:
            actions.close(report)
