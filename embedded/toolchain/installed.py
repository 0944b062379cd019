"""Programs of the user's own that stand in for built ones, where their versions fit."""

import os
import re
import shutil
import subprocess

from embedded.toolchain.go import cache_dir
from embedded.toolchain.versions import ISTIO, KUBERNETES, PULUMI

Version = tuple[int, ...]
SECONDS = 10.0


def parse(version: str) -> Version:
    """Return the numbers of a version such as `1.36.3`."""
    return tuple(int(number) for number in version.split("."))


def _raised(version: Version, by: int) -> Version:
    return (*version[:-1], version[-1] + by)


_KUBERNETES = parse(KUBERNETES)[:2]
# For each program: the arguments that show its version, the text before it, and the first versions that fit and do not.
PROGRAMS = {
    # The engine of the Python SDK, and newer ones of the same major version.
    "pulumi": (("version",), r"^v", parse(PULUMI), _raised(parse(PULUMI)[:1], 1)),
    # One minor version around that of the API server.
    # Source: https://kubernetes.io/releases/version-skew-policy/#kubectl
    "kubectl": (("version", "--client"), r"^Client Version: v", _raised(_KUBERNETES, -1), _raised(_KUBERNETES, 2)),
    # The minor version of istiod, whose charts the program contains.
    "istioctl": (("version", "--remote=false"), r"^(?:client version: )?v?", parse(ISTIO), _raised(parse(ISTIO), 1)),
}


def fitting(name: str) -> str | None:
    """Return the path of the program `name` on PATH if its version fits, else None.

    Programs in the cache do not count: a shell that uses another version of this project has them on PATH.
    """
    program = PROGRAMS.get(name)
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    own = str(cache_dir())
    path = shutil.which(name, path=os.pathsep.join(folder for folder in folders if not folder.startswith(own)))
    if program is None or path is None:
        return None
    arguments, before, first, end = program
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # A suffix names a build that is not the release, such as `-alpha.1` or `-dispatcher`.
    version = re.search(before + r"(\d+\.\d+\.\d+)$", done.stdout, re.MULTILINE)
    return path if version and first <= parse(version[1]) < end else None
