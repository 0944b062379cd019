"""Show the live view on a terminal: in a thread beside a command, and with the keys of `lab watch`."""

import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.live import Live

from waypoint_lab.cli import output
from waypoint_lab.cli.live_view import view
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import LabError
from waypoint_lab.live.sampler import Sampler

REFRESH_SECONDS = 0.4


def can_show(console: Console) -> bool:
    """Return True where a console is a terminal that can move its cursor."""
    return output.on_terminal(console) and not console.is_dumb_terminal


@contextmanager
def keys() -> Iterator[Callable[[float], str]]:
    """Read single keys inside the context; the function waits so many seconds for one.

    Without a terminal as standard input, it waits and returns no key.
    """
    if not sys.stdin.isatty():

        def sleep(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield sleep
        return
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    tty.setcbreak(handle)

    def read(seconds: float) -> str:
        if select.select([handle], [], [], seconds)[0]:
            return os.read(handle, 1).decode(errors="replace")
        return ""

    try:
        yield read
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


class Screen:
    """The view on the terminal's second screen, updated from a sampler; a context manager."""

    def __init__(self, sampler: Sampler, console: Console, own: Sequence[str] = ()) -> None:
        """Keep the parts, and the lines of the command itself; nothing is shown yet."""
        self._sampler, self._console, self._own = sampler, console, own
        self._live = Live(console=console, screen=True, auto_refresh=False, transient=True)

    def __enter__(self) -> "Screen":
        """Switch to the second screen."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Return to the first screen, if the terminal is still there."""
        with suppress(OSError):
            self._live.stop()

    def update(self) -> None:
        """Show the newest snapshot."""
        size = self._console.size
        self._live.update(view(self._sampler.snapshot(), size.width, size.height, self._own), refresh=True)


@contextmanager
def beside(sampler: Sampler, console: Console) -> Iterator[Callable[[str], None]]:
    """Show the view while the context runs. The function adds a line of the command, which is printed in the end."""
    ended = threading.Event()
    own: list[str] = []
    try:
        with Screen(sampler, console, own) as screen:

            def refresh() -> None:
                while not ended.wait(REFRESH_SECONDS):
                    with suppress(OSError):
                        screen.update()

            thread = threading.Thread(target=refresh, daemon=True)
            thread.start()
            try:
                yield own.append
            finally:
                ended.set()
                thread.join()
    finally:
        for line in own:
            output.echo_error(line)


@contextmanager
def shown(config: LabConfig, folder: Path, stack: str) -> Iterator[None]:
    """Show the view while the context runs, where standard error is a terminal; the command does not depend on it.

    Lines of progress become part of the view, and are printed in the end.

    Args:
        config: The stack's config.
        folder: Folder of the project.
        stack: Name of the stack.
    """
    console = output.OutputConsole(stderr=True, highlight=False)
    with ExitStack() as opened:
        if can_show(console):
            try:
                sampler = opened.enter_context(Sampler(config, folder, stack))
                add = opened.enter_context(beside(sampler, console))
            except (LabError, OSError) as error:
                output.echo_error(f"no live view: {error}")
            else:
                opened.enter_context(output.reported_to(add))
        yield
