"""Pulumi plugins that stacks use: name, version and origin."""

import importlib.metadata
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedded.shell import plugin_folder
from embedded.toolchain.go import cache_dir
from embedded.toolchain.versions import KUBERNETES_PROVIDER

# Name on PATH: Python package of the SDK, whose version the plugin of this project has.
SDKS = {
    "pulumi-language-python": "pulumi",
    "pulumi-resource-kubernetes": "pulumi-kubernetes",
    "pulumi-resource-command": "pulumi-command",
}
SECONDS = 5.0


@dataclass(frozen=True)
class Plugin:
    """A Pulumi plugin: its name on PATH, its version, and its origin."""

    name: str
    version: str
    origin: str


def plugins(state: Path, variables: Mapping[str, str]) -> list[Plugin]:
    """Return the plugins that Pulumi uses.

    Args:
        state: State folder of the cluster.
        variables: Environment of a shell that uses the cluster.
    """
    return [_plugin(name, shutil.which(name, path=variables["PATH"]), state) for name in SDKS]


def _plugin(name: str, found: str | None, state: Path) -> Plugin:
    if found is None:
        return Plugin(name, "none", "missing")
    folder = Path(found).parent
    if folder == plugin_folder(state):
        return Plugin(name, importlib.metadata.version(SDKS[name]), "this project")
    if cache_dir() in folder.parents:
        return Plugin(name, KUBERNETES_PROVIDER, "official, built by the toolchain")
    installed = re.fullmatch(r"resource-kubernetes-v(.+)", folder.name)
    if installed:
        return Plugin(name, installed[1], "official, from Pulumi's plugin folder")
    return Plugin(name, _ask_version(found), "from PATH")


def _ask_version(path: str) -> str:
    """Start a plugin and ask it for its version; return `unknown` if it does not answer."""
    import grpc  # noqa: PLC0415 - takes a tenth of a second, and few users have such plugins
    from google.protobuf import empty_pb2  # noqa: PLC0415

    from embedded.pulumi_plugins.protocol import plugin_pb2  # noqa: PLC0415

    service = "LanguageRuntime" if "-language-" in path else "ResourceProvider"
    # The plugin may insist on the address of an engine; it does not call it before it is configured.
    with subprocess.Popen(
        [path, "127.0.0.1:9"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
                ask = channel.unary_unary(
                    f"/pulumirpc.{service}/GetPluginInfo",
                    request_serializer=empty_pb2.Empty.SerializeToString,
                    response_deserializer=plugin_pb2.PluginInfo.FromString,
                )
                return str(ask(empty_pb2.Empty(), timeout=SECONDS).version) or "unknown"
        except grpc.RpcError:
            return "unknown"
        finally:
            process.kill()
