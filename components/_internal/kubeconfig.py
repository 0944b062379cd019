"""Files for kubeconfigs that are given as contents, which kubectl cannot read from an argument."""

import os
import subprocess
import tempfile
import threading
from pathlib import Path

import pulumi
from pulumi.runtime.config import is_config_secret

# The pipe to the shell is closed when this process ends, however it ends; the file goes with it.
_SCRIPT = 'read -r _; rm -f "$1"'
_files: dict[str, tuple[Path, "subprocess.Popen[bytes]"]] = {}
_lock = threading.Lock()


def is_contents(kubeconfig: str) -> bool:
    """Return True for YAML of several lines, or JSON; False for a path."""
    return "\n" in kubeconfig or kubeconfig.lstrip().startswith("{")


def path(kubeconfig: str) -> str:
    """Return the path of a kubeconfig for kubectl; `~` is expanded.

    Args:
        kubeconfig: A path, or contents: YAML of several lines, or JSON. Contents are written to a file that only this
            user can read, one for equal contents; it is removed when this process ends.
    """
    if not is_contents(kubeconfig):
        return os.path.expanduser(kubeconfig)
    with _lock:
        if kubeconfig not in _files or not _files[kubeconfig][0].exists():
            _files[kubeconfig] = _written(kubeconfig)
        return str(_files[kubeconfig][0])


def configured(field: str) -> pulumi.Input[str] | None:
    """Return `kubernetes:FIELD` of the stack's config, which the default provider reads; an output if it is a secret.

    Source: https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/
    """
    config = pulumi.Config("kubernetes")
    return config.get_secret(field) if is_config_secret(config.full_key(field)) else config.get(field)


def end() -> None:
    """Remove all files of this process; they are removed when it ends as well."""
    with _lock:
        while _files:
            _file, remover = _files.popitem()[1]
            assert remover.stdin
            remover.stdin.close()
            remover.wait()


def _written(contents: str) -> tuple[Path, "subprocess.Popen[bytes]"]:
    handle, name = tempfile.mkstemp(prefix="waypoint-lab-kubeconfig-")  # mode 0600
    # It starts before anything secret is written. Ctrl-C ends the update in order, which still reads the file.
    remover = subprocess.Popen(
        ["sh", "-c", _SCRIPT, "sh", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(contents)
    return Path(name), remover
