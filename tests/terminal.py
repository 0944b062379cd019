"""A program in a terminal, as a user types into it."""

import os
import pty
import select
import signal
import time
from collections.abc import Mapping, Sequence


def type_into(
    argv: Sequence[str], steps: Sequence[tuple[str, str]], environment: Mapping[str, str], seconds: float = 120.0
) -> tuple[int, str]:
    """Run a program in a terminal and type.

    Args:
        argv: The program and its arguments.
        steps: Texts to wait for in the new output, each with what is then typed.
        environment: Variables of the program.
        seconds: Limit of the run, after which the program is killed.

    Returns:
        The exit code and the output.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], list(argv), dict(environment))
    output, seen, left, limit = "", 0, list(steps), time.monotonic() + seconds
    while time.monotonic() < limit:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:  # the program has ended
                break
            output += data.decode(errors="replace")
        if left and left[0][0] in output[seen:]:
            seen = len(output)
            os.write(terminal, left.pop(0)[1].encode())
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output
