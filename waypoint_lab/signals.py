"""Handle Ctrl-C, SIGTERM and SIGHUP: at once, between two steps, or not at all."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

EXIT = 130  # exit status of a command that was interrupted
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, object], object] | signal.Handlers


@contextmanager
def handled(handler: Handler, signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Use `handler` for these signals inside the context; in the main thread only."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def ignored() -> AbstractContextManager[None]:
    """Ignore the signals inside the context, so that its work is not left half done."""
    return handled(signal.SIG_IGN)


def interrupt(_number: int, _frame: object) -> None:
    """Raise KeyboardInterrupt for any signal."""
    raise KeyboardInterrupt


class StopRequest:
    """The signal that asked this process to stop; it is checked only between two steps."""

    def __init__(self) -> None:
        """Start without a signal."""
        self.name = ""

    def __call__(self) -> str:
        """Return the name of the signal; empty if there was none."""
        return self.name

    def _receive(self, number: int, _frame: object) -> None:
        self.name = signal.Signals(number).name

    def received(self) -> AbstractContextManager[None]:
        """Receive the signals inside the context."""
        return handled(self._receive)
