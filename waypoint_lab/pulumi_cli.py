"""Puts a weight into a stack's config and applies it with a real `pulumi up`."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from waypoint_lab.config import deployed
from waypoint_lab.config.paths import Settings, put
from waypoint_lab.config.settings import PROJECT, LabConfig
from waypoint_lab.config.target import stack_config
from waypoint_lab.signals import ignored

POLICIES = "policies"
# In the environment of an update that rolls back: nothing may refuse it, so the gate does not measure it.
UNMEASURED = "WAYPOINT_LAB_UNMEASURED"
POLL_SECONDS = 0.05
_GENERAL = ("error: update failed", "error: preview failed")  # why is said elsewhere
NO_PULUMI = 'pulumi is not on PATH; in this clone: eval "$(.venv/bin/lab env)"'
COMMAND_SECONDS = 300.0
LOCK_SECONDS = 120.0
UP_SECONDS = 900.0
STOP_SECONDS = 120.0  # what is being waited for ends first, and then Pulumi writes its state
_LOCK = re.compile(r"created by \S+@(\S+) \(pid (\d+)\)")  # Source: Pulumi, pkg/backend/diy/lock.go


class UpdateError(Exception):
    """An up did not succeed; one line."""


def edited(text: str, settings: Settings) -> str:
    """Return a stack's file with these settings of the lab, by path; comments and all other lines stay."""
    from ruamel.yaml import YAML  # takes longer than the program may wait for the gate

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    yaml.indent(mapping=2, sequence=4, offset=2)  # as Pulumi writes it
    document = yaml.load(text) or {}
    document["config"] = document.get("config") or {}
    put(document["config"], {f"{PROJECT}:{path}": value for path, value in settings.items()})
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def write(file: Path, text: str) -> None:
    """Replaces a file at once: a kill leaves the old one or the new one."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False) as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    if file.exists():
        os.chmod(new.name, file.stat().st_mode & 0o7777)
    os.replace(new.name, file)


def said(output: str) -> str:
    """The line of Pulumi's output that says why; of a policy that refused, its name and what it said."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:") and line not in _GENERAL]
    if errors:
        return errors[0].removeprefix("error: ")
    for number, line in enumerate(lines):
        if "[mandatory]" in line:  # then the policy's description, then its message
            return ": ".join([line.lstrip("- "), *lines[number + 2 : number + 3]])
    return next((line.removeprefix("error: ") for line in reversed(lines)), "no message")


def pulumi(folder: Path, *arguments: str) -> str:
    """Runs one command of Pulumi and returns its output. Raises UpdateError where it fails."""
    command = ["pulumi", *arguments, "--non-interactive"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS)
    except FileNotFoundError:
        raise UpdateError(NO_PULUMI) from None
    if done.returncode:
        raise UpdateError(f"pulumi {arguments[0]} failed: {said(done.stderr or done.stdout)}")
    return done.stdout


def _is_pulumi(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "pulumi"
    except OSError:
        return False


def deployed_config(folder: Path, stack: str) -> LabConfig:
    """Return the configuration that a stack was deployed with.

    Raises:
        ConfigError: Nothing is deployed.
        UpdateError: Pulumi cannot read the stack.
    """
    outputs = pulumi(folder, "stack", "output", "--json", "--show-secrets", "--stack", stack)
    return deployed.read(json.loads(outputs), stack)


class Updates:
    """The updates of one stack."""

    def __init__(self, folder: Path, stack: str, asked: Callable[[], str] = lambda: "") -> None:
        """`asked` says what asks to stop, if anything does; an up on the way forward is then cancelled."""
        self.folder, self.stack, self._asked = folder, stack, asked
        self._file = folder / f"Pulumi.{stack}.yaml"

    def config(self) -> LabConfig:
        """What the stack's file says now. Raises ConfigError."""
        return stack_config(self.folder, self.stack)

    def set(self, settings: Settings) -> LabConfig:
        """Writes settings of the lab into the stack's file. Raises ConfigError where the file is none."""
        text = self._file.read_text()
        if (changed := edited(text, settings)) != text:
            write(self._file, changed)
        return self.config()

    def forward(self, *, unchanged: bool = False) -> float:
        """An up with the policy pack, previewed first, so that what a policy forbids is never applied.

        Returns its seconds. Raises UpdateError; with `unchanged` also where anything is to change.
        """
        more = ["--expect-no-changes"] if unchanged else []
        pack = self.folder / POLICIES
        if not (pack / "PulumiPolicy.yaml").exists():
            return self._up("--skip-preview", *more, forward=True)
        with tempfile.TemporaryFile("w") as settings:  # without a name: a kill leaves nothing of it
            # Weights below one percent add up to more than 100, and that is what is declared.
            json.dump({"weights-add-up": {"total": sum(self.config().canary.weights)}}, settings)
            settings.flush()
            more += ["--policy-pack", str(pack), "--policy-pack-config", f"/dev/fd/{settings.fileno()}"]
            return self._up(*more, forward=True, handed=(settings.fileno(),))

    def back(self) -> float:
        """An up without preview, policies and gate: nothing may refuse the way back. Seconds. Raises UpdateError."""
        return self._up("--skip-preview", forward=False)

    def _up(self, *more: str, forward: bool, handed: tuple[int, ...] = ()) -> float:
        command = ["pulumi", "up", "--yes", "--non-interactive", "--suppress-progress", "--suppress-outputs"]
        command += ["--stack", self.stack, *more]
        began = time.monotonic()
        while True:
            code, output = self._run(command, forward=forward, handed=handed)
            if code == 0:
                return time.monotonic() - began
            if not self._unlock(output, began + LOCK_SECONDS):
                raise UpdateError(said(output))

    def _run(self, command: list[str], *, forward: bool, handed: tuple[int, ...]) -> tuple[int, str]:
        # In a session of its own: Ctrl-C is heard here, and an up is never left half done by it. What is raised
        # meanwhile stops it first.
        environment = {**os.environ, **({} if forward else {UNMEASURED: "1"})}
        with tempfile.TemporaryFile("w+") as out:
            try:
                process = subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    pass_fds=handed,
                )
            except FileNotFoundError:
                raise UpdateError(NO_PULUMI) from None
            until = time.monotonic() + UP_SECONDS
            try:
                while process.poll() is None and not (forward and self._asked()):
                    if time.monotonic() > until:
                        raise UpdateError(f"pulumi up was not done after {UP_SECONDS:g} s, and was stopped")
                    time.sleep(POLL_SECONDS)
            finally:
                self._stop(process)
            out.seek(0)
            return process.returncode, out.read()

    def _stop(self, process: "subprocess.Popen[bytes]") -> None:
        """Lets Pulumi stop in order where it still runs, so that its state is whole, and waits for that."""
        if process.poll() is not None:
            return
        with ignored():
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _unlock(self, output: str, until: float) -> bool:
        """Whether another try is worth it: one whose process lives is waited for, one left by a kill is taken away.

        Only a lock of this machine can be judged; another's stays, and is an error.
        """
        holder = _LOCK.search(output)
        if "currently locked" not in output or not holder or holder[1] != socket.gethostname():
            return False
        pid = int(holder[2])
        if not _is_pulumi(pid):
            pulumi(self.folder, "cancel", "--yes", "--stack", self.stack)
            return time.monotonic() < until
        while _is_pulumi(pid):
            if time.monotonic() > until or self._asked():
                return False
            time.sleep(POLL_SECONDS)
        return True
