"""Exceptions of the application. Each message is one line: `WHERE: what is wrong; what to do`."""

import traceback
from pathlib import Path


class LabError(Exception):
    """Base of every error that a user can cause; the command line prints it and exits with status 1."""


class ConfigError(LabError):
    """Report a setting of the stack that is wrong: its path, its value and the valid values."""


class KubectlError(LabError):
    """Report a kubectl command that failed, or kubectl missing from PATH."""


class ProbeError(LabError):
    """Report requests that could not be sent or measured."""


class WaitError(LabError):
    """Report a wait beyond its limit: the expected state, and the reason why it is not reached."""


class NotSyncedError(WaitError):
    """Report a waypoint whose Envoy does not have the declared configuration within the limit."""


class GateError(LabError):
    """Report traffic that misses the thresholds of the gate: declared, measured, interval and sample."""


class PulumiError(LabError):
    """Report a Pulumi command that failed, with the line of its output that has the reason."""


class RestoreError(LabError):
    """Report a stack whose resources are not restored after a command."""


class RolloutError(LabError):
    """Report a promotion or a migration that cannot start or continue."""


class GuardError(LabError):
    """Report a change that cannot be watched."""


class LockedError(LabError):
    """Report a stack that another command is changing."""


class ReportError(LabError):
    """Report a report that cannot be written."""


def described(error: Exception) -> str:
    """Return an error in one line; one that is no LabError begins with its type and the line that raised it."""
    if isinstance(error, LabError):
        return str(error)
    raised = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in raised)
    return f"{type(error).__name__}{place}: {' '.join(str(error).split())}"
