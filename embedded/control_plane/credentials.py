"""Credentials of one cluster: certificates, the administrator's token and the kubeconfigs."""

import base64
import json
import secrets
from pathlib import Path

from embedded.control_plane.addresses import API, API_SERVICE_IP, DOMAIN, NODE_IP, NODE_NAME
from embedded.control_plane.pki import Authority, is_valid, issue_files, service_account_keys
from embedded.files import write_private

TOKEN_BYTES = 32
API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DOMAIN}")


def kubeconfig(server: str, ca: bytes, token: str) -> bytes:
    """Return a kubeconfig with the authority inside, as JSON (which is YAML)."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(ca).decode()}
    context = {"cluster": NODE_NAME, "user": NODE_NAME}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NODE_NAME, "cluster": cluster}],
        "users": [{"name": NODE_NAME, "user": {"token": token}}],
        "contexts": [{"name": NODE_NAME, "context": context}],
        "current-context": NODE_NAME,
    }
    return json.dumps(document, indent=1).encode()


def _token(file: Path) -> str:
    text = file.read_text() if file.exists() else ""
    return text if len(text) > TOKEN_BYTES else secrets.token_urlsafe(TOKEN_BYTES)


def authorities_valid(state: Path) -> bool:
    """Return True if both authorities are valid. A running cluster gets no new ones, because its clients know these."""
    return is_valid(state / "pki", "ca") and is_valid(state / "pki" / "cacerts", "mesh")


def renew_certificates(state: Path) -> bool:
    """Make the authorities and certificates that are missing, damaged or about to expire.

    Returns:
        True if any certificate is new.
    """
    pki = state / "pki"
    ca = Authority(pki, "ca", "waypoint-lab")
    ips = (NODE_IP, API_SERVICE_IP, "127.0.0.1")
    new = [
        issue_files(ca, pki, "apiserver", "kube-apiserver", dns=(*API_NAMES, "localhost"), ips=ips),
        issue_files(ca, pki, "apiserver-kubelet", "kube-apiserver-kubelet", organization="system:masters"),
        issue_files(ca, pki, "kubelet", f"system:node:{NODE_NAME}", dns=(NODE_NAME,), ips=(NODE_IP,)),
    ]
    mesh = Authority(pki / "cacerts", "mesh", "waypoint-lab mesh")
    for name in ("ca-cert.pem", "root-cert.pem", "cert-chain.pem", "ca-key.pem"):
        source, file = mesh.key_file if name == "ca-key.pem" else mesh.cert_file, pki / "cacerts" / name
        if not file.exists() or file.read_bytes() != source.read_bytes():
            write_private(file, source.read_bytes())
    return any(new)


def make_credentials(state: Path, api_port: int) -> None:
    """Write all keys, certificates and kubeconfigs into the state folder; those that are valid are kept.

    Args:
        state: State folder of the cluster.
        api_port: The API server's port on 127.0.0.1.
    """
    pki = state / "pki"
    renew_certificates(state)
    service_account_keys(pki)
    token, ca = _token(pki / "token"), (pki / "ca.crt").read_bytes()
    write_private(pki / "token", token.encode())
    write_private(pki / "tokens.csv", f'{token},waypoint-lab-admin,waypoint-lab-admin,"system:masters"\n'.encode())
    write_private(pki / "inner.kubeconfig", kubeconfig(API, ca, token))
    write_private(state / "kubeconfig", kubeconfig(f"https://127.0.0.1:{api_port}", ca, token))
