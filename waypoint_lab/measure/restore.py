"""Restore a stack after commands that change its file: in the end, or by a later command after a kill.

`.lab-history/STACK.before.json` of the project has the file from before, until the stack is restored.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from waypoint_lab.config.stack_file import write
from waypoint_lab.errors import LabError, RestoreError
from waypoint_lab.pulumi_cli import PulumiStack, pulumi
from waypoint_lab.signals import SIGNALS, handled, ignored, interrupt

FOLDER, SUFFIX = ".lab-history", ".before.json"
_SALT = re.compile(r"^encryptionsalt:.*\n?", re.MULTILINE)
TRIES = 5  # the API server may not answer for a moment
Report = Callable[[str], None]


def unrestored(folder: Path) -> list[str]:
    """Return the names of stacks that a command has not restored, or not yet."""
    return sorted(file.name.removesuffix(SUFFIX) for file in (folder / FOLDER).glob(f"*{SUFFIX}"))


class Backup:
    """The file of a stack from before a command, and digests of the versions that the command has written."""

    def __init__(self, stack: PulumiStack) -> None:
        """Name the stack; nothing is written yet."""
        self._stack = stack
        self.file = stack.folder / FOLDER / f"{stack.name}{SUFFIX}"

    def read(self) -> dict[str, Any]:
        """Return `text`, the file from before, and `written`, the digests; empty where there is no backup."""
        try:
            found = json.loads(self.file.read_text())
            return {"text": str(found["text"]), "written": [str(item) for item in found["written"]]}
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            return {}

    def keep(self) -> None:
        """Write the stack's present file, unless there is a backup already."""
        if not self.read():
            self.file.parent.mkdir(exist_ok=True)
            write(self.file, json.dumps({"text": self._stack.file.read_text(), "written": []}))
        self.note()

    def note(self) -> None:
        """Add the digest of the stack's present file, if there is a backup."""
        if found := self.read():
            found["written"].append(_digest(self._stack.file.read_text()))
            write(self.file, json.dumps(found))

    def remove(self) -> None:
        """Remove the backup: the stack is restored."""
        self.file.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def restored(stack: PulumiStack, report: Report) -> Iterator[None]:
    """Restore the stack in the end: its file byte for byte, and its resources, also after an interruption.

    Args:
        stack: The stack; its file is changed inside the context.
        report: Shows one line.

    Raises:
        RestoreError: The resources are not restored; in place of any error inside the context, which is reported.
    """
    file, backup = stack.file, Backup(stack)
    before = file.read_bytes()
    backup.keep()
    ended, failed = False, ""
    try:
        with handled(interrupt, SIGNALS):
            yield
            # The file alone does not say it: the update that turns all stages off may have failed.
            ended = stack.applied == file.read_bytes() and not stack.config().stages.on
    except LabError as error:
        failed = str(error)
        raise
    finally:
        with ignored():
            file.write_bytes(before)
            try:
                if not (ended and not stack.config().stages.on):
                    _restore_resources(stack)
            except RestoreError:
                if failed:
                    report(failed)
                raise
            backup.remove()


def recover(stack: PulumiStack, report: Report) -> None:
    """Restore the stack if an earlier command was killed before it could. The caller holds the stack's lock.

    Raises:
        RestoreError: The resources are not restored.
    """
    backup = Backup(stack)
    found = backup.read()
    if not found:
        backup.remove()
        return
    now = stack.file.read_text() if stack.file.exists() else ""
    if _digest(now) not in found["written"]:
        kept = backup.file.with_suffix(".yaml")
        write(kept, found["text"])
        backup.remove()
        name = stack.file.name
        report(f"an earlier command was killed, and {name} was changed since; {kept} is {name} from before")
        return
    report(f"an earlier command was killed; {stack.file.name} and the stack's resources are restored first")
    write(stack.file, found["text"])
    _restore_resources(stack)
    backup.remove()


def _restore_resources(stack: PulumiStack) -> None:
    for left in reversed(range(TRIES)):
        try:
            stack.up_unchecked()
            return
        except LabError as error:
            if not left:
                raise RestoreError(
                    f"{stack.file.name} is restored, but the stack's resources are not: {error}; "
                    f"run `lab run --restore --stack {stack.name}`"
                ) from None


def forget_lost_salt(stack: PulumiStack) -> None:
    """Remove the encryption salt of a stack that no longer exists, because its passphrase is lost with it.

    A file with a secret is not changed, and Pulumi reports the problem.
    """
    text = stack.file.read_text() if stack.file.exists() else ""
    without = _SALT.sub("", text)
    if without == text or "secure:" in text:
        return
    if not any(known["name"] == stack.name for known in json.loads(pulumi(stack.folder, "stack", "ls", "--json"))):
        stack.file.write_text(without)


@contextmanager
def selected(stack: PulumiStack) -> Iterator[None]:
    """Select the stack, or create it. Remove what Pulumi writes into the stack's file for that, in the end.

    Raises:
        PulumiError: Pulumi refuses it.
    """
    before = stack.file.read_bytes() if stack.file.exists() else None
    try:
        if before is None:
            stack.file.write_text("config: {}\n")
        forget_lost_salt(stack)
        pulumi(stack.folder, "stack", "select", "--create", stack.name)
        yield
    finally:
        if before is None:
            stack.file.unlink(missing_ok=True)
        elif stack.file.read_bytes() != before:
            stack.file.write_bytes(before)
