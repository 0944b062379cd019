from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import language_pb2

from embedded.pulumi_plugins.language import Host, missing

VERSION = version("pulumi")


class Aborted(Exception):
    pass


class Context:
    """A gRPC context whose `abort` raises the reason."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []

    def add_callback(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(f"{code.name}: {details}")


def info(folder: Path) -> Any:
    return language_pb2.ProgramInfo(root_directory=str(folder), program_directory=str(folder), entry_point=".")


def test_missing_names_requirements_that_are_not_installed() -> None:
    text = f"""
# a comment
pulumi=={VERSION} \\
    --hash=sha256:00 \\
    --hash=sha256:11
pulumi-kubernetes>=99  # from the far future
no-such-package
no-such-package-either ; python_version < "3"
"""
    assert missing(text) == ["pulumi-kubernetes>=99", "no-such-package"]


def test_missing_with_an_invalid_requirement_raises() -> None:
    with pytest.raises(ValueError, match="Expected package name"):
        missing("--index-url somewhere")


def test_install_dependencies_without_the_requirements_is_refused(tmp_path: Path) -> None:
    request = language_pb2.InstallDependenciesRequest(info=info(tmp_path), is_plugin=True)
    with pytest.raises(
        Aborted, match=r"UNIMPLEMENTED: the language host of this project installs nothing: .*requirements.txt"
    ):
        list(Host().InstallDependencies(request, Context()))
    (tmp_path / "requirements.txt").write_text(f"pulumi=={VERSION}\n")
    assert list(Host().InstallDependencies(request, Context())) == []
    (tmp_path / "requirements.txt").write_text("no-such-package==1\n")
    with pytest.raises(Aborted, match=r"asks for no-such-package==1, which .* does not have"):
        list(Host().InstallDependencies(request, Context()))


OFFICIAL = ["GeneratePackage", "Link", "Pack", "GenerateProgram", "GenerateProject", "Template"]


@pytest.mark.parametrize("method", OFFICIAL)
def test_unsupported_method_names_the_official_host(method: str) -> None:
    with pytest.raises(Aborted, match=r"^UNIMPLEMENTED: .* takes the official pulumi-language-python") as caught:
        getattr(Host(), method)(None, Context())
    assert "\n" not in str(caught.value)


PLUGIN = """
import os, sys
print(8080, *sys.argv[1:], os.getcwd(), sorted(set(os.environ) & {"GIVEN", "OWN"}), flush=True)
print("a warning", file=sys.stderr, flush=True)
sys.stdin.read()
sys.exit(3)
"""


def test_run_plugin_passes_arguments_folder_and_environment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN", "of the language host")
    plugin, work = tmp_path / "plugin", tmp_path / "work"
    plugin.mkdir()
    work.mkdir()
    (plugin / "__main__.py").write_text(PLUGIN)
    request = language_pb2.RunPluginRequest(
        pwd=str(work), info=info(plugin), args=["127.0.0.1:9"], env=["GIVEN=a=b"], kind="resource"
    )
    context = Context()
    said = list(Host().RunPlugin(request, context))
    assert b"".join(item.stdout for item in said) == f"8080 127.0.0.1:9 {work} ['GIVEN']\n".encode()
    assert b"".join(item.stderr for item in said) == b"a warning\n"
    assert said[-1].exitcode == 3
    assert len(context.callbacks) == 1, "the plugin must end with the engine's call"


LASTING = """
import sys, time
print("early", file=sys.stderr, flush=True)
print("port", flush=True)
time.sleep(600)
"""


@pytest.mark.timeout(60)
def test_run_plugin_streams_its_output(tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(LASTING)
    request = language_pb2.RunPluginRequest(pwd=str(tmp_path), info=info(tmp_path), env=["A=b"], kind="resource")
    host, context = Host(), Context()
    answers = host.RunPlugin(request, context)
    try:
        assert {"stdout", "stderr"} == {next(answers).WhichOneof("output") for _ in range(2)}
    finally:
        host.end_children()
    assert [item.exitcode for item in answers] == [-15]
