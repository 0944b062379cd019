"""What a user's shell needs to use a cluster and its stacks."""

import json
import os
import re
import secrets
from pathlib import Path

from embedded.control_plane.pki import write_private
from embedded.toolchain import build

CLONE = Path(__file__).resolve().parents[1]


class ClusterError(Exception):
    """The cluster cannot be started, stopped or used; the message is one line that says why and what would help."""


def _official_plugins() -> list[str]:
    """Folders of the Kubernetes provider that `pulumi plugin install` made for this user, the newest first."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    found = [path.parent for path in (home / "plugins").glob("resource-kubernetes-v4.*/pulumi-resource-kubernetes")]
    numbers = {path: [int(part) for part in re.findall(r"\d+", path.name)] for path in found}
    return [str(path) for path in sorted(found, key=lambda path: numbers[path], reverse=True)]


def environment(state: Path, *, embedded: bool = True) -> dict[str, str]:
    """The variables a shell needs to use this cluster and its stacks. Raises ClusterError before the first up.

    `embedded=False`: for stacks on other clusters; kubeconfig and Pulumi backend stay the user's own where they are
    set, and nothing has to have been started.
    """
    try:
        toolchain = Path(json.loads((state / "cluster.json").read_text())["toolchain"])
    except (OSError, ValueError, KeyError):
        if embedded:
            raise ClusterError("the cluster was never started here; run `lab up` first") from None
        toolchain = build.root()
    path = [str(toolchain / "bin"), str(CLONE / ".venv" / "bin"), os.environ.get("PATH", os.defpath)]
    # Last: the official plugins win wherever they are installed. PATH wins over Pulumi's own plugin folder, so what
    # lies there has to be named here.
    path += [*_official_plugins(), str(CLONE / "embedded" / "pulumi_plugins" / "bin")]
    tools = {"PATH": os.pathsep.join(path), "WAYPOINT_LAB_SHARE": str(toolchain / "share")}
    backend = {
        "PULUMI_BACKEND_URL": f"file://{state / 'pulumi'}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(state / "passphrase"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_HOME": str(state / "pulumi-home"),
    }
    if embedded:
        return {**tools, **backend, "KUBECONFIG": str(state / "kubeconfig")}
    if os.environ.get("PULUMI_BACKEND_URL"):
        return tools
    make_backend(state)
    return {**tools, **backend}


def make_backend(state: Path) -> None:
    """The folder of the file backend, and a random passphrase that only its owner can read."""
    (state / "pulumi").mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (state / "passphrase").exists():
        write_private(state / "passphrase", secrets.token_urlsafe(24).encode())
