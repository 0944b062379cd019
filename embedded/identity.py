"""Identity of the embedded cluster: proof that a kubeconfig leads to it and to no other cluster."""

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import yaml

from embedded.errors import ClusterError


def _named(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """Return the entry `name` of the list `kind`; the first file that has it counts, as for kubectl."""
    items = (item for document in documents for item in document.get(f"{kind}s") or [])
    found = next((item.get(kind) for item in items if item.get("name") == name), None)
    return found if isinstance(found, dict) else {}


def _server(kubeconfig: str, context: str) -> tuple[str, dict[str, Any], Path]:
    """Return the chosen context's name, its cluster and the folder that relative paths are resolved in."""
    files = [Path(file).expanduser() for file in kubeconfig.split(os.pathsep) if file]
    documents: list[dict[str, Any]] = []
    for file in files:
        try:
            document = yaml.safe_load(file.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ClusterError(f"{file}: {str(error).splitlines()[0]}; choose another kubeconfig") from None
        documents += [document] if isinstance(document, dict) else []
    context = context or next((str(found) for document in documents if (found := document.get("current-context"))), "")
    cluster = _named(documents, "context", context).get("cluster", "")
    return context, _named(documents, "cluster", str(cluster)), files[0].parent if files else Path()


def is_embedded(state: Path, kubeconfig: str = "", context: str = "") -> bool:
    """Check that a kubeconfig leads to the embedded cluster of a state folder.

    A client trusts only the authority of its kubeconfig, and only this cluster has a certificate of the authority in
    its state folder. No connection is made, so the answer is the same while the cluster is stopped.

    Args:
        state: State folder of the cluster.
        kubeconfig: Path of a kubeconfig, or several as in `$KUBECONFIG`; by default that of the environment.
        context: Name of a context in it; by default the current one.

    Returns:
        True only if every client with this kubeconfig talks to the embedded cluster or to none.

    Raises:
        ClusterError: A kubeconfig cannot be read.
    """
    kubeconfig = kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    _, cluster, folder = _server(kubeconfig, context)
    if cluster.get("insecure-skip-tls-verify") or not str(cluster.get("server", "")).startswith("https://"):
        return False
    try:
        if data := cluster.get("certificate-authority-data"):
            trusted = base64.b64decode(str(data), validate=True)
        else:
            trusted = (folder / str(cluster.get("certificate-authority", ""))).read_bytes()
        return trusted.strip() == (state / "pki" / "ca.crt").read_bytes().strip()
    except (OSError, binascii.Error):
        return False


def verify_identity(state: Path, kubeconfig: str = "", context: str = "") -> None:
    """Refuse a kubeconfig that does not lead to the embedded cluster of a state folder. Arguments: see `is_embedded`.

    Raises:
        ClusterError: It leads to another cluster or to none.
    """
    if is_embedded(state, kubeconfig, context):
        return
    kubeconfig = kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    name = _server(kubeconfig, context)[0] or "none"
    raise ClusterError(
        f"{kubeconfig}: context {name} is not the embedded cluster of {state}; "
        'run `lab up` and `eval "$(lab env)"`, or declare another target in the stack'
    )
