"""How a command hears that it is to end, by Ctrl-C, SIGTERM or SIGHUP: at once, between two steps, or not now."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

EXIT = 130  # exit status of a command that was interrupted
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, object], object] | signal.Handlers


@contextmanager
def handled(handler: Handler, signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """`handler` for these signals while the context lasts; of the main thread only."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def unheard() -> AbstractContextManager[None]:
    """Being told to end changes nothing while the context lasts: what it does must not be left half done."""
    return handled(signal.SIG_IGN)


def interrupt(_number: int, _frame: object) -> None:
    """A handler that makes any signal what Ctrl-C is. Raises KeyboardInterrupt."""
    raise KeyboardInterrupt


class Asked:
    """What asked this process to stop: Ctrl-C, or a signal. It is heard between two steps, and nowhere half way."""

    def __init__(self) -> None:
        """Nothing has asked yet."""
        self.name = ""

    def __call__(self) -> str:
        """The name of what asked; empty where nothing did."""
        return self.name

    def _hear(self, number: int, _frame: object) -> None:
        self.name = signal.Signals(number).name

    def heard(self) -> AbstractContextManager[None]:
        """Listens while the context lasts."""
        return handled(self._hear)
