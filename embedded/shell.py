"""Environment of a shell that uses a cluster and its stacks: tools, kubeconfig and Pulumi backend."""

import json
import os
import re
import secrets
import shlex
import sys
from pathlib import Path

from embedded.errors import ClusterError, os_errors_as_cluster_errors
from embedded.files import write_private
from embedded.project import CHOSEN_STATE, STATE, default_state
from embedded.toolchain import build
from embedded.toolchain.installed import parse
from embedded.toolchain.versions import KUBERNETES_PROVIDER

# Name on PATH: module. Each takes the place of an official plugin that is not installed.
STAND_INS = {
    "pulumi-language-python": "embedded.pulumi_plugins.language",
    "pulumi-resource-command": "embedded.pulumi_plugins.command",
}
PASSPHRASE = "PULUMI_CONFIG_PASSPHRASE"  # takes precedence over PASSPHRASE_FILE
PASSPHRASE_FILE = f"{PASSPHRASE}_FILE"
LOOPBACK = "127.0.0.1,localhost"


def plugin_folder(state: Path) -> Path:
    """Return the folder of the stand-ins for official plugins."""
    return state / "plugins"


def _official_plugins() -> list[str]:
    """Return folders of the Kubernetes provider that `pulumi plugin install` made for this user, the newest first.

    Only releases of the toolchain's own version or newer ones are among them.
    """
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    plugins = (home / "plugins").glob("resource-kubernetes-v4.*/pulumi-resource-kubernetes")
    names = ((re.fullmatch(r"resource-kubernetes-v(\d+\.\d+\.\d+)", path.parent.name), path.parent) for path in plugins)
    found = [(parse(name[1]), str(folder)) for name, folder in names if name]
    first = parse(KUBERNETES_PROVIDER.partition("+")[0])
    return [folder for version, folder in sorted(found, reverse=True) if version >= first]


def _write_stand_ins(state: Path) -> Path:
    """Write the start scripts of the stand-ins; each uses the interpreter that runs now."""
    folder = plugin_folder(state)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, module in STAND_INS.items():
        # -P: Pulumi starts it in the project's folder, whose `queue.py` is not the one of the standard library.
        script = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -u -m {module} "$@"\n'.encode()
        file = folder / name
        if not file.exists() or file.read_bytes() != script:
            write_private(file, script)
            file.chmod(0o700)
    return folder


def _backend(state: Path) -> dict[str, str]:
    """Return the variables that choose the file backend in the state folder."""
    folder = str(state / "pulumi")
    for mark in "%#?":  # of a URL; the engine takes every other character as it is
        folder = folder.replace(mark, f"%{ord(mark):02X}")
    return {
        "PULUMI_BACKEND_URL": f"file://{folder}",
        PASSPHRASE_FILE: str(state / "passphrase"),
        "PULUMI_HOME": str(state / "pulumi-home"),
    }


def _exported(state: Path) -> list[str]:
    """Return the variables of this shell that `lab env` has exported, for this state folder or for another one."""
    names = []
    for each in {state, Path(os.environ.get(STATE) or state)}:
        ours = {**_backend(each), "KUBECONFIG": str(each / "kubeconfig")}
        names += [name for name, value in ours.items() if os.environ.get(name) == value]
    return names


def has_own_backend(state: Path) -> bool:
    """Check that the user has chosen a Pulumi backend: by a variable, an access token or a login.

    Variables that `lab env` has exported do not count, even if that was for another clone.
    """
    ours = _exported(state)
    users = {name: value for name, value in os.environ.items() if name not in ours}
    if users.get("PULUMI_BACKEND_URL") or users.get("PULUMI_ACCESS_TOKEN"):
        return True
    home = Path(users.get("PULUMI_HOME") or Path.home() / ".pulumi")
    try:
        return bool(json.loads((home / "credentials.json").read_text()).get("current"))
    except (OSError, ValueError, AttributeError):
        return False


def environment(state: Path, *, embedded: bool = True) -> dict[str, str]:
    """Return the variables that a shell needs to use a cluster and its stacks.

    Stacks on the embedded cluster always use the file backend and the passphrase in the state folder, because they are
    useless without that cluster. Stacks on other clusters use the user's own backend, and the one in the state
    folder only for a user who has none. With `PULUMI_CONFIG_PASSPHRASE_FILE` among the variables, the shell has to
    unset `PULUMI_CONFIG_PASSPHRASE`, which `use_environment` and `shell_lines` do.

    Args:
        state: State folder of the cluster.
        embedded: False for stacks on another cluster. No cluster has to have been started then.

    Raises:
        ClusterError: The embedded cluster was never started.
    """
    try:
        toolchain = Path(json.loads((state / "cluster.json").read_text())["toolchain"])
    except (OSError, ValueError, KeyError):
        if embedded:
            raise ClusterError("the cluster was never started here; run `lab up` first") from None
        toolchain = build.root()
    with os_errors_as_cluster_errors(state):
        plugins = [str(toolchain / "plugins"), str(_write_stand_ins(state))]
        # A shell that used the cluster before has these on PATH already, or those of another clone.
        old = [str(plugin_folder(Path(os.environ.get(STATE) or state)))]
        old += [str(Path(share).parent / "plugins") for share in [os.environ.get("WAYPOINT_LAB_SHARE")] if share]
        users = [one for one in os.environ.get("PATH", os.defpath).split(os.pathsep) if one not in [*plugins, *old]]
        path = [str(toolchain / "bin"), str(Path(sys.executable).parent), *users]
        # Official plugins have priority. Pulumi prefers PATH to its own plugin folder, so the official plugins of that
        # folder come before the toolchain's plugin and the stand-ins on PATH.
        path += [*_official_plugins(), *plugins]
        variables = {
            "PATH": os.pathsep.join(path),
            "WAYPOINT_LAB_SHARE": str(toolchain / "share"),
            STATE: str(state),
        }
        variables |= _without_proxy()
        if embedded:
            variables["KUBECONFIG"] = str(state / "kubeconfig")
        if embedded or not has_own_backend(state):
            make_backend(state)
            variables |= {**_backend(state), "PULUMI_SKIP_UPDATE_CHECK": "true"}
    return variables


def _without_proxy() -> dict[str, str]:
    """Return the variables that keep a proxy of the environment away from 127.0.0.1; gRPC would use it even there."""
    if not any(os.environ.get(name) for name in PROXY_VARIABLES):
        return {}
    kept = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if set(LOOPBACK.split(",")) <= set(kept.split(",")):
        return {}
    value = f"{kept},{LOOPBACK}".strip(",")
    return {"no_proxy": value, "NO_PROXY": value}


PROXY_VARIABLES = tuple(
    variable for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy") for variable in (name, name.upper())
)


def use_environment(variables: dict[str, str]) -> None:
    """Put variables of `environment` into this process, and remove the Pulumi backend of another clone from it."""
    state = variables[STATE]
    if os.environ.get(STATE, state) != state:
        for name in _exported(Path(state)):
            if name != "KUBECONFIG":
                del os.environ[name]
    os.environ.update(variables)
    if default_state() != Path(state):  # that of another clone, chosen by --state
        os.environ[CHOSEN_STATE] = state
    if PASSPHRASE_FILE in variables:
        os.environ.pop(PASSPHRASE, None)


def shell_lines(variables: dict[str, str]) -> list[str]:
    """Return the lines that put variables of `environment` into a shell.

    A shell with the variables of the embedded cluster loses those that the variables leave out.
    """
    ours = _exported(Path(variables[STATE]))
    unset = [name for name in ours if "PULUMI_BACKEND_URL" in ours and name not in variables]
    unset += [PASSPHRASE] * (PASSPHRASE_FILE in variables)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return lines + [f"unset {name}" for name in unset]


def describe_backend(variables: dict[str, str]) -> str:
    """Return one line that names the Pulumi backend and the passphrase that `environment` chose."""
    if PASSPHRASE_FILE not in variables:
        return "Pulumi backend: your own, as the environment or `pulumi login` has it"
    ignored = [name for name in (PASSPHRASE, "PULUMI_ACCESS_TOKEN") if os.environ.get(name)]
    url = os.environ.get("PULUMI_BACKEND_URL", "")
    ignored += ["PULUMI_BACKEND_URL"] if url not in ("", variables["PULUMI_BACKEND_URL"]) else []
    line = f"Pulumi backend: {variables['PULUMI_BACKEND_URL']}, passphrase in {variables[PASSPHRASE_FILE]}"
    return f"{line}; {', '.join(ignored)} of this shell not used" if ignored else line


def make_backend(state: Path) -> None:
    """Make the folder of the file backend, and a random passphrase that only its owner can read."""
    (state / "pulumi").mkdir(mode=0o700, parents=True, exist_ok=True)
    file = state / "passphrase"
    if not file.exists() or not file.stat().st_size:
        write_private(file, secrets.token_urlsafe(24).encode())
