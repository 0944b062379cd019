"""Drive Pulumi: edit a stack's config and apply it with `pulumi up`.

The Automation API is not used for updates: it starts the engine in the caller's process group, where a second Ctrl-C
kills it and leaves the stack locked. `pulumi config set --path` is not used for edits: it runs half a second for each
setting and does not replace the file atomically.
"""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from waypoint_lab import masking
from waypoint_lab.config import deployed, free_text, target
from waypoint_lab.config.paths import Settings
from waypoint_lab.config.settings import SKIP_GATE, LabConfig
from waypoint_lab.config.stack_file import edited, write
from waypoint_lab.errors import ConfigError, PulumiError
from waypoint_lab.signals import ignored

POLL_SECONDS = 0.05
_GENERAL = ("error: update failed", "error: preview failed")  # the reason is in another line
NO_PULUMI = 'pulumi is not on PATH; in this clone: eval "$(.venv/bin/lab env)"'
COMMAND_SECONDS = 300.0
LOCK_SECONDS = 120.0
UP_SECONDS = 900.0
STOP_SECONDS = 120.0  # the running operations end first, then Pulumi writes its state
UPDATE_SECONDS = LOCK_SECONDS + UP_SECONDS + STOP_SECONDS  # limit of one update
_LOCK = re.compile(r"created by \S+@(\S+) \(pid (\d+)\)")  # Source: Pulumi, pkg/backend/diy/lock.go


def reason(output: str) -> str:
    """Return the line of Pulumi's output that has the reason; for a mandatory policy, its name and message."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:") and line not in _GENERAL]
    if errors:
        return errors[0].removeprefix("error: ")
    for number, line in enumerate(lines):
        if "[mandatory]" in line:  # then the policy's description, then its message
            return ": ".join([line.lstrip("- "), *lines[number + 2 : number + 3]])
    return next((line.removeprefix("error: ") for line in reversed(lines)), "no message")


def pulumi(folder: Path, *arguments: str) -> str:
    """Run one Pulumi command and return its output.

    Raises:
        PulumiError: The command failed, or pulumi is not on PATH.
    """
    command = ["pulumi", *arguments, "--non-interactive"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", check=False, timeout=COMMAND_SECONDS
        )
    except FileNotFoundError:
        raise PulumiError(NO_PULUMI) from None
    except subprocess.TimeoutExpired:
        raise PulumiError(f"pulumi {arguments[0]}: no result within {COMMAND_SECONDS:g} s; run it by hand") from None
    if done.returncode:
        raise PulumiError(f"pulumi {arguments[0]} failed: {reason(done.stderr or done.stdout)}")
    return done.stdout


def _is_pulumi(pid: int) -> bool:
    """Return True for a Pulumi that has not ended; one whose parent has not read its exit has no command line."""
    process = Path("/proc", str(pid))
    try:
        return (process / "comm").read_bytes().strip() == b"pulumi" and bool((process / "cmdline").read_bytes())
    except OSError:
        return False


class PulumiStack:
    """One stack of the project: its config file and its updates."""

    def __init__(
        self,
        folder: Path,
        name: str,
        stop_requested: Callable[[], str] = lambda: "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Name the stack; nothing is run yet.

        Args:
            folder: Folder of the project.
            name: Name of the stack.
            stop_requested: Returns the name of a signal that asks to stop, or an empty text. It cancels `up`.
            environment: Further variables of the environment of updates.
        """
        self.folder, self.name, self._stop_requested = folder, name, stop_requested
        self._environment = environment or {}
        self.file = folder / f"Pulumi.{name}.yaml"
        self.applied = b""  # the file at the last update, if that succeeded
        self._secrets: dict[str, str] = {}  # by their encrypted text

    def target_kind(self) -> str:
        """Return the kind of the target that the stack's file declares; no secret is read. Raises ConfigError."""
        return target.target_kind(self.folder, self.name)

    def config(self) -> LabConfig:
        """Return the config that the stack's file declares. Its secrets are hidden in all output from then on.

        Raises:
            ConfigError: There is no such file, or a setting is not valid.
            PulumiError: Pulumi cannot read the secrets.
        """
        self._read_secrets()
        return target.stack_config(self.folder, self.name, self._secrets)

    def _read_secrets(self) -> None:
        places = target.encrypted(self.folder, self.name)
        if not places.keys() <= self._secrets.keys():
            shown = pulumi(self.folder, "config", "--json", "--show-secrets", "--stack", self.name)
            self._secrets |= target.read_secrets(json.loads(shown), places)
            masking.remember(self._secrets.values())

    def deployed(self) -> LabConfig:
        """Return the config that the stack was deployed with.

        Raises:
            ConfigError: Nothing is deployed.
            PulumiError: Pulumi cannot read the stack.
        """
        plain: list[str] = []
        with suppress(ConfigError):  # of a file that is not valid, no text is known as plain
            plain = free_text.texts(self.config())
        state = pulumi(self.folder, "stack", "export", "--show-secrets", "--stack", self.name)
        return deployed.of_state(json.loads(state), self.name, plain)

    def set(self, settings: Settings) -> LabConfig:
        """Write settings, by path, into the stack's file; None removes one.

        Returns:
            The new config.

        Raises:
            ConfigError: The new config is not valid.
        """
        target.encrypted(self.folder, self.name)  # refuses a file that Pulumi does not read
        text = self.file.read_text()
        if (changed := edited(text, settings, target.project_defaults(self.folder))) != text:
            write(self.file, changed)
        return self.config()

    def up(self, *, expect_no_changes: bool = False) -> float:
        """Run `pulumi up`, previewed with the policy pack.

        Args:
            expect_no_changes: Fail if the update would change anything.

        Returns:
            Seconds that the update took.

        Raises:
            PulumiError: The update failed, a policy refused it, or it was stopped.
        """
        more = ["--expect-no-changes"] if expect_no_changes else []
        above = [folder / "policies" for folder in (self.folder, *self.folder.parents)]  # an example uses the clone's
        pack = next((folder for folder in above if (folder / "PulumiPolicy.yaml").exists()), None)
        if pack is None:
            return self._up("--skip-preview", *more)
        return self._up("--policy-pack", str(pack), *more)

    def up_unchecked(self) -> float:
        """Run `pulumi up` without preview, policies and gate, for a rollback; return the seconds that it took.

        A stop request does not cancel it. Raises PulumiError where it fails.
        """
        return self._up("--skip-preview", checked=False)

    def _up(self, *more: str, checked: bool = True) -> float:
        command = ["pulumi", "up", "--yes", "--non-interactive", "--suppress-progress", "--suppress-outputs"]
        command += ["--stack", self.name, *more]
        began = time.monotonic()
        declared, self.applied = self.file.read_bytes() if self.file.exists() else b"", b""
        while True:
            code, output = self._run(command, checked=checked)
            if code == 0:
                self.applied = declared
                return time.monotonic() - began
            if not self._unlock(output, began + LOCK_SECONDS, checked=checked):
                raise PulumiError(reason(output))

    def _run(self, command: list[str], *, checked: bool) -> tuple[int, str]:
        # In a session of its own, so that Ctrl-C reaches this process only, which then stops Pulumi in order.
        environment = {**os.environ, **self._environment, **({} if checked else {SKIP_GATE: "1"})}
        with tempfile.TemporaryFile("w+", errors="replace") as out:
            try:
                process = subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            except FileNotFoundError:
                raise PulumiError(NO_PULUMI) from None
            until = time.monotonic() + UP_SECONDS
            try:
                while process.poll() is None and not (checked and self._stop_requested()):
                    if time.monotonic() > until:
                        raise PulumiError(
                            f"pulumi up: it did not end within {UP_SECONDS:g} s and was stopped; run the command again"
                        )
                    time.sleep(POLL_SECONDS)
            finally:
                self._stop(process)
            out.seek(0)
            return process.returncode, out.read()

    def _stop(self, process: "subprocess.Popen[bytes]") -> None:
        """Stop Pulumi in order if it still runs, so that its state is complete."""
        if process.poll() is not None:
            return
        with ignored():
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _unlock(self, output: str, until: float, *, checked: bool) -> bool:
        """Resolve a lock conflict. Return True if the update should be retried.

        Wait for a lock whose process runs; remove a lock that a killed process left. A lock of another machine is
        kept.
        """
        holder = _LOCK.search(output)
        if "currently locked" not in output or not holder or holder[1] != socket.gethostname():
            return False
        pid = int(holder[2])
        if not _is_pulumi(pid):
            pulumi(self.folder, "cancel", "--yes", "--stack", self.name)
            return time.monotonic() < until
        while _is_pulumi(pid):
            if time.monotonic() > until or (checked and self._stop_requested()):
                return False
            time.sleep(POLL_SECONDS)
        return True
