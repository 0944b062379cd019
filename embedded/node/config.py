"""Settings of the node agent: one JSON file, written by the supervisor."""

import json
from dataclasses import dataclass, fields
from pathlib import Path


class NodeConfigError(Exception):
    """The configuration file cannot be used; the message is one line."""


@dataclass(frozen=True)
class NodeConfig:
    """Settings of the node agent. Paths are absolute; addresses are those inside the node's network namespace.

    `resolver` answers for names outside the cluster; it is empty where nobody does.
    """

    api: str
    ca_file: str
    token_file: str
    node_name: str
    node_ip: str
    pod_cidr: str
    service_cidr: str
    state_dir: str
    kubelet_port: int
    kubelet_cert: str
    kubelet_key: str
    mesh_ca_cert: str
    cluster_domain: str
    resolver: str
    toolchain_bin: str
    toolchain_share: str

    @classmethod
    def load(cls, path: str | Path) -> "NodeConfig":
        """Read the settings from the file `path`.

        Raises:
            NodeConfigError: The file is missing, is not a JSON object, or has a wrong, missing or unknown field.
        """
        try:
            given = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise NodeConfigError(f"{path}: {error}") from None
        if not isinstance(given, dict):
            raise NodeConfigError(f"{path}: expected one JSON object")
        wanted = {field.name: field.type for field in fields(cls)}
        for name in wanted:
            if name not in given:
                raise NodeConfigError(f"{path}: field {name} is missing")
            if not isinstance(given[name], int if wanted[name] is int else str):
                raise NodeConfigError(f"{path}: field {name} is of the wrong type: {given[name]!r}")
        if unknown := sorted(set(given) - set(wanted)):
            raise NodeConfigError(f"{path}: unknown field {unknown[0]}")
        return cls(**given)

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
