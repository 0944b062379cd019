"""Errors of the embedded cluster."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FIXES = {
    errno.EACCES: "check who owns it, or choose another state folder with --state",
    errno.EPERM: "check who owns it, or choose another state folder with --state",
    errno.EROFS: "choose folders that can be written with --state and WAYPOINT_LAB_CACHE",
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some disk space",
}


class ClusterError(Exception):
    """The cluster cannot be started, stopped or used. The message is one line: the reason and the fix."""


class NotReadyError(ClusterError):
    """The cluster runs, but an object in it is not ready, which its user can repair."""


@contextmanager
def os_errors_as_cluster_errors(state: Path) -> Iterator[None]:
    """Turn an OSError into a ClusterError that names the file, the reason and a fix."""
    try:
        yield
    except OSError as error:
        fix = _FIXES.get(error.errno or 0)
        reason = error.strerror or str(error) or type(error).__name__
        raise ClusterError(f"{error.filename or state}: {reason}" + (f"; {fix}" if fix else "")) from None
