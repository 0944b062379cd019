"""Programs of the user's own that stand in for built ones, where their versions fit."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from embedded.toolchain.go import cache_dir
from embedded.toolchain.versions import ISTIO, KUBERNETES, PULUMI

Version = tuple[int, ...]
SECONDS = 10.0


def parse(version: str) -> Version:
    """Return the numbers of a version such as `1.36.3`."""
    return tuple(int(number) for number in version.split("."))


def _fits_pulumi(version: Version) -> bool:
    """Return True for the engine of the Python SDK and for newer ones of the same major version."""
    return parse(PULUMI) <= version < (parse(PULUMI)[0] + 1,)


def _fits_kubectl(version: Version) -> bool:
    """Return True for one minor version around that of the API server.

    Source: https://kubernetes.io/releases/version-skew-policy/#kubectl
    """
    major, minor = parse(KUBERNETES)[:2]
    return version[0] == major and abs(version[1] - minor) <= 1


def _fits_istioctl(version: Version) -> bool:
    """Return True for the minor version of istiod, whose charts the program contains."""
    return version[:2] == parse(ISTIO)


@dataclass(frozen=True)
class Installed:
    """A program that a user may have: how to ask for its version, and which versions fit."""

    arguments: tuple[str, ...]
    pattern: str
    fits: Callable[[Version], bool]


PROGRAMS = {
    "pulumi": Installed(("version",), r"^v", _fits_pulumi),
    "kubectl": Installed(("version", "--client"), r"^Client Version: v", _fits_kubectl),
    "istioctl": Installed(("version", "--remote=false"), r"^(?:client version: )?v?", _fits_istioctl),
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
    try:
        done = subprocess.run([path, *program.arguments], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # A suffix names a build that is not the release, such as `-alpha.1` or `-dispatcher`.
    version = re.search(program.pattern + r"(\d+\.\d+\.\d+)$", done.stdout, re.MULTILINE)
    return path if version and program.fits(parse(version[1])) else None
