import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components import CanaryRouteArgs, ChaosRuleArgs, L7PolicyArgs, ServiceTrafficArgs, WaypointArgs
from components._internal import arguments, kubeconfig, waits
from components._internal.waits import Access
from tests.unit.components.recording import run

YAML = "apiVersion: v1\nkind: Config\nusers: [{name: a, user: {client-key-data: c2VjcmV0}}]\n"
JSON = '{"kind": "Config", "users": [{"name": "a", "user": {"client-key-data": "c2VjcmV0"}}]}'


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    kubeconfig.end()


@pytest.mark.parametrize("contents", [YAML, JSON, f" {JSON}"])
def test_access_with_contents_names_a_private_file_with_them(contents: str) -> None:
    option = asyncio.run(Access(contents, "").program())[1]
    path = Path(option.removeprefix("--kubeconfig="))
    assert "c2VjcmV0" not in option
    assert contents == path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_path_of_equal_contents_is_the_same_until_the_end() -> None:
    first = kubeconfig.path(YAML)
    assert first == kubeconfig.path(YAML)
    assert first != kubeconfig.path(JSON)
    kubeconfig.end()
    assert not Path(first).exists()


def test_path_of_a_file_is_not_changed() -> None:
    assert kubeconfig.path("/k/config") == "/k/config"


def test_file_of_a_process_that_is_killed_is_removed() -> None:
    code = "import sys\nfrom components._internal import kubeconfig\n"
    code += "print(kubeconfig.path(sys.argv[1]), flush=True)\nsys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code, YAML], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    path = Path(process.stdout.readline().decode().strip())
    assert path.exists()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    end = time.monotonic() + 10
    while path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not path.exists()


@pytest.mark.parametrize("shape", [CanaryRouteArgs, ChaosRuleArgs, L7PolicyArgs, ServiceTrafficArgs, WaypointArgs])
def test_component_with_a_kubeconfig_as_an_object_does_not_show_it(shape: Any) -> None:
    given = {"kubeconfig": {"users": "c2VjcmV0"}, **dict.fromkeys(shape.__required_keys__, "a")}
    with pytest.raises(pulumi.RunError, match=r"^A: kubeconfig is an object: it must be text$"):
        arguments.read("A", given, shape)


@pytest.fixture
def _staging() -> Iterator[None]:
    pulumi.runtime.set_all_config(
        {"kubernetes:context": "staging", "kubernetes:kubeconfig": YAML}, ["kubernetes:kubeconfig"]
    )
    yield
    pulumi.runtime.set_all_config({}, [])


@pytest.mark.usefixtures("_staging")
def test_access_without_a_cluster_is_that_of_the_default_provider() -> None:
    found: dict[str, Access] = {}
    contents: list[str] = []

    def program() -> None:
        own = pulumi.ResourceOptions(provider=pulumi.ProviderResource("kubernetes", "east", {}))
        parent = pulumi.ComponentResource("t:t:T", "parent", None, own)
        for name, args, opts in (
            ("default", {}, pulumi.ResourceOptions()),
            ("given", {"context": "prod"}, pulumi.ResourceOptions()),
            ("own", {}, own),
            ("inherited", {}, pulumi.ResourceOptions(parent=parent)),
        ):
            found[name] = waits.access(args, pulumi.ComponentResource("t:t:T", name, None, opts))
        assert isinstance(found["default"].kubeconfig, pulumi.Output)
        found["default"].kubeconfig.apply(contents.append)

    run(program)
    assert (contents, found.pop("default").context) == ([YAML], "staging")
    assert {"given": Access("", "prod"), "own": Access(), "inherited": Access()} == found


def test_access_of_the_default_provider_with_a_cluster_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubeconfig, "configured", {"cluster": "east"}.get)

    def program(**args: str) -> None:
        waits.access(args, pulumi.ComponentResource("t:t:T", "any"))

    run(lambda: program(context="prod"))
    with pytest.raises(pulumi.RunError, match="kubernetes:cluster is set, which the waits"):
        run(program)


def test_access_takes_what_is_not_given_as_the_environments() -> None:
    assert waits.access({"kubeconfig": "a", "context": None}) == Access("a", "")
