"""Settings of the node agent."""

from dataclasses import dataclass
from pathlib import Path

from embedded.control_plane.addresses import (
    API,
    DOMAIN,
    GATEWAY_DEVICE,
    GATEWAY_IP,
    NODE_IP,
    NODE_NAME,
    POD_CIDR,
)


class NodeConfigError(Exception):
    """The node agent cannot work with its settings; the message is one line."""


@dataclass(frozen=True)
class NodeConfig:
    """Settings of the node agent. Paths are absolute; addresses are those inside the node's network namespace.

    `resolver` answers for names outside the cluster; it is empty where nobody does.
    """

    ca_file: str
    token_file: str
    state_dir: str
    kubelet_cert: str
    kubelet_key: str
    mesh_ca_cert: str
    resolver: str
    toolchain_bin: str
    toolchain_share: str
    api: str = API
    node_name: str = NODE_NAME
    node_ip: str = NODE_IP
    pod_cidr: str = POD_CIDR
    kubelet_port: int = 10250
    cluster_domain: str = DOMAIN

    @classmethod
    def of(cls, state: Path, bin_dir: Path) -> "NodeConfig":
        """Return the settings for the state folder of a cluster and the `bin` folder of the toolchain."""
        pki = state / "pki"
        return cls(
            ca_file=str(pki / "ca.crt"),
            token_file=str(pki / "token"),
            state_dir=str(state / "node"),
            kubelet_cert=str(pki / "kubelet.crt"),
            kubelet_key=str(pki / "kubelet.key"),
            mesh_ca_cert=str(pki / "cacerts" / "mesh.crt"),
            resolver=GATEWAY_IP if Path("/proc/sys/net/ipv4/conf", GATEWAY_DEVICE).exists() else "",
            toolchain_bin=str(bin_dir),
            toolchain_share=str(bin_dir.parent / "share"),
        )

    @property
    def token(self) -> str:
        """Read the bearer token for the API server.

        Raises:
            NodeConfigError: The file cannot be read.
        """
        try:
            return Path(self.token_file).read_text().strip()
        except OSError as error:
            raise NodeConfigError(f"token_file: {error}") from None
