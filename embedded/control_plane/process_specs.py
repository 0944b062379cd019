"""Processes of the cluster as data: command lines, dependencies and readiness checks."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from embedded.control_plane.addresses import (
    API,
    DOMAIN,
    GATEWAY_DEVICE,
    GATEWAY_IP,
    NODE_IP,
    NODE_NAME,
    SERVICE_CIDR,
)

USER_NETWORK = "user-network"
ETCD = "http://127.0.0.1:2379"
SMALL = {"GOGC": "60"}  # memory matters more than the processor time of collecting it


@dataclass(frozen=True)
class ProcessSpec:
    """One process that the supervisor starts.

    Attributes:
        name: Its name in `lab status` and of its log.
        argv: Command line.
        ready: URL that answers 200, or HOST:PORT that accepts connections, once the process serves.
        needs: Names of the components that must be ready before it starts.
        env: Variables on top of the supervisor's own.
    """

    name: str
    argv: list[str]
    ready: str
    needs: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


def _flags(flags: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def etcd(state: Path, bin_dir: Path) -> ProcessSpec:
    """Return the store of the API server."""
    flags = {
        "data-dir": state / "etcd",
        "unsafe-no-fsync": "true",
        "listen-client-urls": ETCD,
        "advertise-client-urls": ETCD,
        "listen-peer-urls": "http://127.0.0.1:2380",
        "log-level": "warn",
        "auto-compaction-retention": "5m",
        "snapshot-count": 5000,
    }
    return ProcessSpec("etcd", [str(bin_dir / "etcd"), *_flags(flags)], f"{ETCD}/health", env=SMALL)


def kube_apiserver(state: Path, bin_dir: Path) -> ProcessSpec:
    """Return the API server."""
    pki = state / "pki"
    flags = {
        "etcd-servers": ETCD,
        "bind-address": NODE_IP,
        "advertise-address": NODE_IP,
        "secure-port": 6443,
        "endpoint-reconciler-type": "none",
        "service-cluster-ip-range": SERVICE_CIDR,
        "authorization-mode": "RBAC",
        "anonymous-auth": "true",
        # It would taint the new node as not ready, for the left-out node lifecycle controller to take away.
        "disable-admission-plugins": "TaintNodesByCondition",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "token-auth-file": pki / "tokens.csv",
        "service-account-issuer": f"https://kubernetes.default.svc.{DOMAIN}",
        "service-account-key-file": pki / "sa.pub",
        "service-account-signing-key-file": pki / "sa.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "apiserver-kubelet.crt",
        "kubelet-client-key": pki / "apiserver-kubelet.key",
        "kubelet-preferred-address-types": "InternalIP",
        "cert-dir": pki,
        "profiling": "false",
    }
    argv = [str(bin_dir / "kube-apiserver"), *_flags(flags)]
    return ProcessSpec("kube-apiserver", argv, f"{API}/readyz", ("etcd",), SMALL)


def _client_flags(state: Path, name: str) -> dict[str, object]:
    return {
        "kubeconfig": state / "pki" / "inner.kubeconfig",
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "profiling": "false",
        "cert-dir": state / "pki" / name,
    }


def kube_controller_manager(state: Path, bin_dir: Path) -> ProcessSpec:
    """Return the controllers of Kubernetes."""
    flags = _client_flags(state, "controller-manager") | {
        "service-account-private-key-file": state / "pki" / "sa.key",
        "root-ca-file": state / "pki" / "ca.crt",
        # This machine is the only node: Pods cannot be evicted to another one.
        "controllers": "*,-node-lifecycle-controller,-taint-eviction-controller",
    }
    argv = [str(bin_dir / "kube-controller-manager"), *_flags(flags)]
    # The garbage collector looks for new kinds every 30 s only. Without the mesh's CRDs, foreground deletions hang.
    needs = ("kube-apiserver", "mesh")
    return ProcessSpec("kube-controller-manager", argv, "https://127.0.0.1:10257/healthz", needs, SMALL)


def kube_scheduler(state: Path, bin_dir: Path) -> ProcessSpec:
    """Return the scheduler."""
    argv = [str(bin_dir / "kube-scheduler"), *_flags(_client_flags(state, "scheduler"))]
    return ProcessSpec("kube-scheduler", argv, "https://127.0.0.1:10259/healthz", ("kube-apiserver",), SMALL)


def istiod(state: Path, bin_dir: Path) -> ProcessSpec:
    """Return Istio's control plane, as a process of the node instead of a Pod."""
    flags = {
        "kubeconfig": state / "pki" / "inner.kubeconfig",
        "grpcAddr": f"{NODE_IP}:15010",
        "secureGRPCAddr": f"{NODE_IP}:15012",
        "httpAddr": "127.0.0.1:15080",
        "httpsAddr": f"{NODE_IP}:15017",
        "monitoringAddr": f"{NODE_IP}:15014",
        "ctrlz_address": "127.0.0.1",
        "domain": DOMAIN,
        "log_output_level": "default:warn",
    }
    env = {
        "POD_NAME": f"istiod-{NODE_NAME}",
        "POD_NAMESPACE": "istio-system",
        "SERVICE_ACCOUNT": "istiod",
        "CLUSTER_ID": "Kubernetes",
        "REVISION": "default",
        "PILOT_CERT_PROVIDER": "istiod",
        "PILOT_ENABLE_AMBIENT": "true",
        "ENABLE_LEADER_ELECTION": "false",  # there is one istiod
        "PILOT_ENABLE_METADATA_EXCHANGE": "false",
        "LOCAL_CERT_DIR": str(state / "run" / "istiod"),
        "ROOT_CA_DIR": str(state / "pki" / "cacerts"),
    }
    argv = [str(bin_dir / "istiod"), "discovery", *_flags(flags)]
    needs = ("kube-apiserver", "mesh")
    return ProcessSpec("istiod", argv, "http://127.0.0.1:15080/ready", needs, SMALL | env)


def node_agent(state: Path, bin_dir: Path) -> ProcessSpec:
    """Return the node agent: kubelet, kube-proxy, ztunnel and DNS."""
    argv = [sys.executable, "-m", "embedded.node", "--bin", str(bin_dir), str(state)]
    # gRPC's handlers of fork crash children before they run their program.
    env = {"GRPC_ENABLE_FORK_SUPPORT": "0"}
    return ProcessSpec("node-agent", argv, f"{NODE_IP}:10250", needs=("kube-apiserver",), env=env)


def forwarder(bin_dir: Path, socket: Path) -> ProcessSpec:
    """Return the program that carries packets between the tap device and the user network at `socket`.

    It is ready when the user network answers.
    """
    argv = [str(bin_dir / "user_network"), "-socket", str(socket), "-device", GATEWAY_DEVICE, "attach"]
    return ProcessSpec(USER_NETWORK, argv, f"{GATEWAY_IP}:53", env=SMALL)


# In starting order. Every process listens on the node's own address or on loopback.
SPECS: tuple[Callable[[Path, Path], ProcessSpec], ...] = (
    etcd,
    kube_apiserver,
    kube_controller_manager,
    kube_scheduler,
    istiod,
    node_agent,
)
