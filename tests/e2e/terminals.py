"""Commands in a terminal of 80x24, by tmux."""

import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.scene import Scene, until

COLUMNS, ROWS = 80, 24


class Terminal:
    """A session of a tmux server of its own."""

    def __init__(self, name: str, status: Path) -> None:
        """Name the server, and the file that gets the command's exit status."""
        self._name, self._status = name, status

    def tmux(self, *arguments: str) -> str:
        """Run a tmux command on the server."""
        command = ["tmux", "-L", self._name, "-f", "/dev/null", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout

    @property
    def pid(self) -> int:
        """The process of the session's shell."""
        return int(self.tmux("display-message", "-p", "#{pane_pid}"))

    def lines(self) -> list[str]:
        """Return the lines of the screen."""
        return self.tmux("capture-pane", "-p").splitlines()

    def wait(self, text: str, seconds: float = 30) -> list[str]:
        """Return the screen once it has a text."""
        began = time.monotonic()
        while text not in "\n".join(lines := self.lines()):
            assert time.monotonic() - began < seconds, f"not after {seconds:g} s: {text} in {lines}"
            time.sleep(0.1)
        return lines

    def wait_each(self, texts: Sequence[str], seconds: float) -> None:
        """Wait until each text has been on the screen once, in any order, before the command ends."""
        missing, lines, end = [*texts], [""], time.monotonic() + seconds
        while missing:
            ended = self._status.exists()
            lines = self.lines()
            missing = [text for text in missing if text not in "\n".join(lines)]
            assert not (missing and ended), f"the command has ended, never shown: {missing}; at last: {lines}"
            assert time.monotonic() < end, f"not after {seconds:g} s: {missing} in {lines}"
            time.sleep(0.1)

    def press(self, *keys: str) -> None:
        """Press keys, as tmux names them."""
        self.tmux("send-keys", *keys)

    def exit_status(self, seconds: float = 20) -> int:
        """Return the exit status of the command, once it has ended."""
        until(lambda: self._status.exists() and self._status.read_text().strip(), seconds, "the command has ended")
        return int(self._status.read_text())


@contextmanager
def terminal(scene: Scene, folder: Path, command: Sequence[str]) -> Iterator[Terminal]:
    """Run a command in a terminal; the terminal ends with the context."""
    if not shutil.which("tmux"):
        pytest.skip("tmux is not on PATH; install it to test the view on a terminal (apt-get install tmux)")
    name, status = f"waypoint-lab-{secrets.token_hex(4)}", folder / "status"
    found = Terminal(name, status)
    # Ctrl-C reaches the shell as well, which has to write the status of the command.
    script = f"trap : INT; {shlex.join(command)}; echo $? > {shlex.quote(str(status))}; exec sleep 60"
    size = ("-x", str(COLUMNS), "-y", str(ROWS))
    subprocess.run(
        ["tmux", "-L", name, "-f", "/dev/null", "new-session", "-d", *size, "sh", "-c", script],
        cwd=scene.folder,
        env={**scene.environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
        check=True,
        timeout=20,
    )
    try:
        yield found
    finally:
        subprocess.run(["tmux", "-L", name, "kill-server"], capture_output=True, check=False, timeout=20)
