"""Facts that every report has: versions, and the commands that repeat it."""

import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from embedded.pulumi_plugins.status import plugins
from embedded.toolchain import versions as toolchain
from waypoint_lab import kubectl
from waypoint_lab.config.models import EmbeddedTarget
from waypoint_lab.config.types import is_address
from waypoint_lab.errors import LabError
from waypoint_lab.kubectl import ClusterAccess
from waypoint_lab.masking import SECRET
from waypoint_lab.measure.http_answer import place
from waypoint_lab.measure.proxy_versions import ISTIO, UNKNOWN
from waypoint_lab.pulumi_cli import pulumi

GIT_SECONDS = 10.0
CLONE = Path(__file__).resolve().parents[2]  # an installed package is in no clone
KUBERNETES_PLUGIN = "pulumi-resource-kubernetes"
_WEB_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^\s/@]+@")  # of an address of another scheme


def _commit() -> str:
    """Return the commit of the clone that runs, and a mark where files differ from it; empty where it is none."""
    if not (CLONE / "Pulumi.yaml").is_file():
        return ""
    try:
        command = ["git", "-C", str(CLONE), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def versions(folder: Path, state: Path, target: ClusterAccess, proxy: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of everything that took part, by name.

    Args:
        folder: The project.
        state: State folder of the embedded cluster.
        target: The cluster.
        proxy: Versions of the waypoint.
    """
    lab, commit = importlib.metadata.version("waypoint-lab"), _commit()
    found = {"Waypoint Lab": f"{lab}, commit {commit}" if commit else lab, "Python": platform.python_version()}
    try:
        found["Pulumi"] = pulumi(folder, "version").strip()
    except LabError:
        found["Pulumi"] = UNKNOWN
    for plugin in plugins(state, os.environ):
        if plugin.name == KUBERNETES_PLUGIN:
            found["Pulumi's Kubernetes provider"] = f"{plugin.version} ({plugin.origin})"
    found["pulumi-kubernetes (Python)"] = importlib.metadata.version("pulumi-kubernetes")
    try:
        with kubectl.readable("version"):
            answer = json.loads(kubectl.run(target, "version", "--output=json"))
            found["Kubernetes"] = answer["serverVersion"]["gitVersion"]
    except LabError:
        found["Kubernetes"] = UNKNOWN
    found |= proxy
    if found.get(ISTIO) == UNKNOWN and target == EmbeddedTarget():  # its programs are built without a stamp
        found[ISTIO] = f"{toolchain.ISTIO}, built from its Go module"
    return found


def _server(found: re.Match[str]) -> str:
    if not is_address(found[0]):
        return SECRET
    server = place(found[0])
    return found[0] if found[0].removesuffix("/") == server else f"{server}/{SECRET}"


def without_secrets(text: str) -> str:
    """Return a text in which web addresses show their server only, and other addresses neither user nor password."""
    return _USER.sub(f"{SECRET}@", _WEB_ADDRESS.sub(_server, text))


def command_line() -> str:
    """Return the command line of this process, as a shell takes it; it is `without_secrets`."""
    return shlex.join(["lab", *map(without_secrets, sys.argv[1:])])


def repeat(stack: str, target: ClusterAccess) -> list[str]:
    """Return the commands that repeat what this process did. Only on the embedded cluster they start a cluster.

    Args:
        stack: Name of the stack; empty where there is none.
        target: The cluster.
    """
    commit = _commit().removesuffix("-dirty")
    found = [f"git checkout {commit}"] if commit else []
    settings = [f"# put the settings below into Pulumi.{stack}.yaml"] if stack else []
    if isinstance(target, EmbeddedTarget):
        found += ["make lab    # once; or .venv/bin/lab up", 'eval "$(.venv/bin/lab env)"', *settings]
    elif stack:
        found += ["make .venv/.installed", *settings, f'eval "$(.venv/bin/lab env --stack {shlex.quote(stack)})"']
    return [*found, command_line()]
