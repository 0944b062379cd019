"""The programs of the control plane as data: what to run, with which arguments, and how to tell that each is ready."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from embedded.control_plane.pki import Authority, issue_files, service_account_keys, write_private

NODE_IP = "10.244.0.1"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API = f"https://{NODE_IP}:6443"
DOMAIN = "cluster.local"
CONTEXT = "waypoint-lab"


@dataclass(frozen=True)
class Program:
    """One supervised process; `ready` is a URL that answers 200 (or HOST:PORT that accepts) once it serves."""

    name: str
    argv: list[str]
    ready: str
    needs: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    start_seconds: float = 60


def kubeconfig(server: str, ca: Path, token: str) -> str:
    """A kubeconfig as JSON (which is YAML), the authority inside, so that the file can be moved."""
    import base64

    data = base64.b64encode(ca.read_bytes()).decode()
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CONTEXT, "cluster": {"server": server, "certificate-authority-data": data}}],
            "users": [{"name": CONTEXT, "user": {"token": token}}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT}}],
            "current-context": CONTEXT,
        },
        indent=1,
    )


def make_credentials(state: Path, token: str, api_port: int) -> None:
    """Writes all keys, certificates and kubeconfigs; those that are there already stay."""
    pki = state / "pki"
    ca = Authority(pki, "ca", "waypoint-lab")
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DOMAIN}")
    issue_files(
        ca, pki, "apiserver", "kube-apiserver", dns=(*names, "localhost"), ips=(NODE_IP, "10.96.0.1", "127.0.0.1")
    )
    issue_files(ca, pki, "apiserver-kubelet", "kube-apiserver-kubelet", organization="system:masters")
    issue_files(ca, pki, "kubelet", f"system:node:{CONTEXT}", dns=(CONTEXT,), ips=(NODE_IP,))
    service_account_keys(pki)
    mesh = Authority(pki / "cacerts", "mesh", "waypoint-lab mesh")
    for name, source in (
        ("ca-cert.pem", mesh.cert_file),
        ("root-cert.pem", mesh.cert_file),
        ("cert-chain.pem", mesh.cert_file),
        ("ca-key.pem", mesh.key_file),
    ):
        if not (pki / "cacerts" / name).exists():
            write_private(pki / "cacerts" / name, source.read_bytes())
    write_private(pki / "token", token.encode())
    write_private(pki / "tokens.csv", f'{token},waypoint-lab-admin,waypoint-lab-admin,"system:masters"\n'.encode())
    write_private(pki / "inner.kubeconfig", kubeconfig(API, ca.cert_file, token).encode())
    write_private(state / "kubeconfig", kubeconfig(f"https://127.0.0.1:{api_port}", ca.cert_file, token).encode())


def programs(state: Path, bin_dir: Path) -> list[Program]:
    """The control plane in starting order. Everything listens on the node's own address or loopback, never on all."""
    pki, inner = state / "pki", state / "pki" / "inner.kubeconfig"
    small = {"GOGC": "60"}  # memory matters more than the processor time of collecting it
    return [
        Program(
            "etcd",
            [
                str(bin_dir / "etcd"),
                "--data-dir",
                str(state / "etcd"),
                "--unsafe-no-fsync",
                "--listen-client-urls",
                "http://127.0.0.1:2379",
                "--advertise-client-urls",
                "http://127.0.0.1:2379",
                "--listen-peer-urls",
                "http://127.0.0.1:2380",
                "--log-level",
                "warn",
                "--auto-compaction-retention",
                "5m",
                "--snapshot-count",
                "5000",
            ],
            "http://127.0.0.1:2379/health",
            env=small,
        ),
        Program(
            "kube-apiserver",
            [
                str(bin_dir / "kube-apiserver"),
                "--etcd-servers",
                "http://127.0.0.1:2379",
                "--bind-address",
                NODE_IP,
                "--advertise-address",
                NODE_IP,
                "--secure-port",
                "6443",
                "--endpoint-reconciler-type",
                "none",
                "--service-cluster-ip-range",
                SERVICE_CIDR,
                "--authorization-mode",
                "RBAC",
                "--anonymous-auth=true",
                # It would taint the new node as not ready, for the left-out node lifecycle controller to take away.
                "--disable-admission-plugins=TaintNodesByCondition",
                "--tls-cert-file",
                str(pki / "apiserver.crt"),
                "--tls-private-key-file",
                str(pki / "apiserver.key"),
                "--client-ca-file",
                str(pki / "ca.crt"),
                "--token-auth-file",
                str(pki / "tokens.csv"),
                "--service-account-issuer",
                f"https://kubernetes.default.svc.{DOMAIN}",
                "--service-account-key-file",
                str(pki / "sa.pub"),
                "--service-account-signing-key-file",
                str(pki / "sa.key"),
                "--kubelet-certificate-authority",
                str(pki / "ca.crt"),
                "--kubelet-client-certificate",
                str(pki / "apiserver-kubelet.crt"),
                "--kubelet-client-key",
                str(pki / "apiserver-kubelet.key"),
                "--kubelet-preferred-address-types",
                "InternalIP",
                "--cert-dir",
                str(pki),
                "--profiling=false",
            ],
            f"{API}/readyz",
            needs=("etcd",),
            env=small,
        ),
        Program(
            "kube-controller-manager",
            [
                str(bin_dir / "kube-controller-manager"),
                "--kubeconfig",
                str(inner),
                "--bind-address",
                "127.0.0.1",
                "--leader-elect=false",
                "--profiling=false",
                "--service-account-private-key-file",
                str(pki / "sa.key"),
                "--root-ca-file",
                str(pki / "ca.crt"),
                # The one node is this machine: nothing could be evicted to anywhere else.
                "--controllers",
                "*,-node-lifecycle-controller,-taint-eviction-controller",
                "--cert-dir",
                str(pki / "controller-manager"),
            ],
            "https://127.0.0.1:10257/healthz",
            # The garbage collector looks for new kinds every 30 s only: what is deleted in the foreground would hang.
            needs=("kube-apiserver", "mesh"),
            env=small,
        ),
        Program(
            "kube-scheduler",
            [
                str(bin_dir / "kube-scheduler"),
                "--kubeconfig",
                str(inner),
                "--bind-address",
                "127.0.0.1",
                "--leader-elect=false",
                "--profiling=false",
                "--cert-dir",
                str(pki / "scheduler"),
            ],
            "https://127.0.0.1:10259/healthz",
            needs=("kube-apiserver",),
            env=small,
        ),
        Program(
            "istiod",
            [
                str(bin_dir / "istiod"),
                "discovery",
                "--kubeconfig",
                str(inner),
                "--grpcAddr",
                "127.0.0.1:15010",
                "--secureGRPCAddr",
                f"{NODE_IP}:15012",
                "--httpAddr",
                "127.0.0.1:15080",
                "--httpsAddr",
                "127.0.0.1:15017",
                "--monitoringAddr",
                "127.0.0.1:15014",
                "--ctrlz_address",
                "127.0.0.1",
                "--domain",
                DOMAIN,
                "--log_output_level",
                "default:warn",
            ],
            "http://127.0.0.1:15080/ready",
            needs=("kube-apiserver", "mesh"),
            env=small
            | {
                "POD_NAME": "istiod",
                "POD_NAMESPACE": "istio-system",
                "SERVICE_ACCOUNT": "istiod",
                "CLUSTER_ID": "Kubernetes",
                "REVISION": "default",
                "PILOT_CERT_PROVIDER": "istiod",
                "PILOT_ENABLE_AMBIENT": "true",
                "PILOT_ENABLE_METADATA_EXCHANGE": "false",
                "LOCAL_CERT_DIR": str(state / "run" / "istiod"),
                "ROOT_CA_DIR": str(pki / "cacerts"),
            },
        ),
    ]
