"""Settings, a Pod and a store of fixed content for the tests of the node agent."""

from typing import Any

from embedded.node.config import NodeConfig
from embedded.node.kubelet import volumes

SETTINGS: dict[str, Any] = {
    "ca_file": "/ca",
    "token_file": "/token",
    "node_name": "n",
    "state_dir": "/state",
    "kubelet_cert": "/c",
    "kubelet_key": "/k",
    "mesh_ca_cert": "/mc",
    "resolver": "",
    "toolchain_bin": "/bin",
    "toolchain_share": "/share",
}
CONFIG = NodeConfig(**SETTINGS)
POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u-1", "labels": {"b": "2", "a": 'say "x"'}},
    "spec": {"nodeName": "n", "serviceAccountName": "sa", "containers": []},
    "status": {"podIP": "10.244.1.1", "hostIP": "10.244.0.1"},
}


class Memory:
    """A store of fixed content; tokens last as long as they are asked for, from time 1000 on."""

    def __init__(self) -> None:
        self.maps: dict[str, dict[str, bytes]] = {"cm": {"key": b"value"}}
        self.secrets: dict[str, dict[str, bytes]] = {"sec": {"word": b"hidden"}}
        self.asked = 0

    async def config_map(self, namespace: str, name: str) -> dict[str, bytes] | None:
        return self.maps.get(name)

    async def config_map_text(self, namespace: str, name: str) -> dict[str, bytes] | None:
        return self.maps.get(name)

    async def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        return self.secrets.get(name)

    async def token(self, pod: dict[str, Any], audience: str | None, seconds: int) -> tuple[str, float]:
        self.asked += 1
        return f"token-{self.asked}-{audience}", volumes.time.time() + seconds
