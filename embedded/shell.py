"""What a user's shell needs to use a cluster and its stacks."""

import json
import os
import re
from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]


class ClusterError(Exception):
    """The cluster cannot be started, stopped or used; the message is one line that says why and what would help."""


def _official_plugins() -> list[str]:
    """Folders of the Kubernetes provider that `pulumi plugin install` made for this user, the newest first."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    found = [path.parent for path in (home / "plugins").glob("resource-kubernetes-v4.*/pulumi-resource-kubernetes")]
    numbers = {path: [int(part) for part in re.findall(r"\d+", path.name)] for path in found}
    return [str(path) for path in sorted(found, key=lambda path: numbers[path], reverse=True)]


def environment(state: Path) -> dict[str, str]:
    """The variables a shell needs to use this cluster and its stacks. Raises ClusterError before the first up."""
    try:
        toolchain = Path(json.loads((state / "cluster.json").read_text())["toolchain"])
    except (OSError, ValueError, KeyError):
        raise ClusterError("the cluster was never started here; run `lab up` first") from None
    path = [str(toolchain / "bin"), str(CLONE / ".venv" / "bin"), os.environ.get("PATH", os.defpath)]
    # Last: the official plugins win wherever they are installed. PATH wins over Pulumi's own plugin folder, so what
    # lies there has to be named here.
    path += [*_official_plugins(), str(CLONE / "embedded" / "plugins" / "bin")]
    return {
        "PATH": os.pathsep.join(path),
        "KUBECONFIG": str(state / "kubeconfig"),
        "PULUMI_BACKEND_URL": f"file://{state / 'pulumi'}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(state / "passphrase"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_HOME": str(state / "pulumi-home"),
    }
