import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import language_pb2

from embedded.pulumi_plugins.language import Host, interpreter, missing

VERSION = version("pulumi")
CLONE = Path(__file__).resolve().parents[3]


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


RUNNER = """#!/bin/sh
cat > "$(dirname "$0")/../given.json"
"""


def with_environment(folder: Path, target: Path | None = None) -> Any:
    """Return a program in `folder` whose `virtualenv` is `target`, or a new one with a fake interpreter."""
    made = info(folder)
    made.options["virtualenv"] = "venv"
    if target:
        (folder / "venv").symlink_to(target)
    else:
        (folder / "venv" / "bin").mkdir(parents=True)
        (folder / "venv" / "bin" / "python").write_text(RUNNER)
        (folder / "venv" / "bin" / "python").chmod(0o755)
    return made


def test_run_uses_the_virtualenv_of_the_program_and_passes_its_root(tmp_path: Path) -> None:
    request = language_pb2.RunRequest(info=with_environment(tmp_path), pwd=str(tmp_path))
    assert Host().Run(request, Context()) == language_pb2.RunResponse()
    assert json.loads((tmp_path / "venv" / "given.json").read_text())["root"] == str(tmp_path)


def test_interpreter_is_this_one_for_its_own_or_a_missing_virtualenv(tmp_path: Path) -> None:
    absent = info(tmp_path)
    absent.options["virtualenv"] = "venv"
    assert interpreter(absent) == sys.executable
    assert interpreter(with_environment(tmp_path, Path(sys.prefix))) == sys.executable
    assert interpreter(info(tmp_path)) == sys.executable


@pytest.mark.parametrize("method", ["Run", "RunPlugin", "InstallDependencies"])
@pytest.mark.parametrize(
    ("name", "value"), [("toolchain", "poetry"), ("toolchain", "uv"), ("typechecker", "mypy"), ("toolchain", "pip")]
)
def test_runtime_option_without_effect_is_refused(tmp_path: Path, method: str, name: str, value: str) -> None:
    request = {
        "Run": language_pb2.RunRequest,
        "RunPlugin": language_pb2.RunPluginRequest,
        "InstallDependencies": language_pb2.InstallDependenciesRequest,
    }[method](info=with_environment(tmp_path))
    request.info.options[name] = value
    (tmp_path / "requirements.txt").touch()

    def call() -> None:
        answer = getattr(Host(), method)(request, Context())
        list(answer if method != "Run" else [])

    if value == "pip":
        call()
        return
    with pytest.raises(Aborted, match=f"^UNIMPLEMENTED: runtime option {name}: {value} takes the official"):
        call()
    assert not (tmp_path / "venv" / "given.json").exists()


def test_run_plugin_and_install_dependencies_use_the_virtualenv(tmp_path: Path) -> None:
    made = with_environment(tmp_path)
    (tmp_path / "requirements.txt").write_text(f"pulumi=={VERSION}\n")
    with pytest.raises(Aborted, match=r"asks for pulumi==.*, which .*/venv/bin/python does not have"):
        list(Host().InstallDependencies(language_pb2.InstallDependenciesRequest(info=made), Context()))
    request = language_pb2.RunPluginRequest(pwd=str(tmp_path), info=made, env=["A=b"], kind="analyzer")
    assert list(Host().RunPlugin(request, Context()))[-1].exitcode == 0
    assert (tmp_path / "venv" / "given.json").exists()


ASK_ROOT = """
import json, sys, pulumi
from embedded.pulumi_plugins import runner
runner.set_all_config = lambda *_: sys.exit(pulumi.get_root_directory())
runner.run(json.loads(sys.argv[1]))
"""


def test_runner_tells_the_program_its_root_directory() -> None:
    names = ("project", "monitor", "engine", "stack", "parallel", "preview", "organization", "config", "secrets")
    argv = [sys.executable, "-c", ASK_ROOT, json.dumps({**dict.fromkeys(names), "root": "/a/root"})]
    assert subprocess.run(argv, capture_output=True, text=True, timeout=60).stderr == "/a/root\n"


ASK_PATH = """
import json, sys
from pathlib import Path
from embedded.pulumi_plugins import runner
sys.path.insert(0, str(Path(runner.__file__).parent))  # as Python does for a file that it runs
runner.set_all_config = lambda *_: None
async def ask(_):
    sys.exit(json.dumps(sys.path))
runner.run_in_stack = ask
runner.run(json.loads(sys.argv[1]))
"""


def test_modules_of_the_language_host_hide_no_package_of_the_program(tmp_path: Path) -> None:
    names = ("project", "monitor", "engine", "stack", "preview", "organization", "config", "secrets", "root", "pwd")
    given = {**dict.fromkeys(names), "parallel": 1, "program": str(tmp_path)}
    argv = [sys.executable, "-c", ASK_PATH, json.dumps(given)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    path = json.loads(done.stderr)
    assert path[0] == str(tmp_path)
    assert str(CLONE / "embedded" / "pulumi_plugins") not in path
