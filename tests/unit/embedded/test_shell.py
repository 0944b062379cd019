"""The environment of a user's shell: tools, stand-ins, Pulumi backend and passphrase."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedded import shell
from embedded.errors import ClusterError


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the state folder of a cluster, in an environment without Pulumi, proxies or a home."""
    for name in [*os.environ]:
        if name.startswith(("PULUMI_", "WAYPOINT_LAB_STATE")) or name in (
            *shell.PROXY_VARIABLES,
            "NO_PROXY",
            "no_proxy",
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "state folder"
    folder.mkdir()
    (folder / "cluster.json").write_text(json.dumps({"toolchain": "/toolchain"}))
    return folder


def test_environment_before_the_first_up_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="run `lab up` first"):
        shell.environment(tmp_path)


def test_stand_ins_use_the_interpreter_that_runs(state: Path) -> None:
    path = shell.environment(state)["PATH"].split(os.pathsep)
    assert str(shell.plugin_folder(state)) == path[-1]
    assert str(Path(sys.executable).parent) == path[1]
    for name in shell.STAND_INS:
        script = shell.plugin_folder(state) / name
        assert os.access(script, os.X_OK)
        assert sys.executable in script.read_text()


def test_official_plugin_goes_first_in_a_shell_that_used_the_cluster_before(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", shell.environment(state)["PATH"])
    plugin = tmp_path / "plugins" / "resource-kubernetes-v4.32.0" / "pulumi-resource-kubernetes"
    plugin.parent.mkdir(parents=True)
    plugin.touch(mode=0o755)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    path = shell.environment(state)["PATH"].split(os.pathsep)
    ours = ["/toolchain/plugins", str(shell.plugin_folder(state))]
    assert [str(plugin.parent), *ours] == path[-3:]
    assert all(path.count(one) == 1 for one in ours)


def test_official_plugin_is_a_release_of_the_toolchains_version_or_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    for version in ("4.5.4", "4.24.9", "4.25.0", "4.25.0-alpha.9", "4.100.1", "4.32.0"):
        plugin = tmp_path / "plugins" / f"resource-kubernetes-v{version}" / "pulumi-resource-kubernetes"
        plugin.parent.mkdir(parents=True)
        plugin.touch(mode=0o755)
    found = [Path(folder).name.partition("-v")[2] for folder in shell._official_plugins()]
    assert found == ["4.100.1", "4.32.0", "4.25.0"]


@pytest.fixture
def other(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the state folder of another clone, whose `lab env` this shell has used."""
    folder = tmp_path / "other" / ".lab"
    folder.mkdir(parents=True)
    (folder / "cluster.json").write_text(json.dumps({"toolchain": "/other-toolchain"}))
    for name, value in shell.environment(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return folder


def test_shell_of_another_clone_loses_its_plugins(state: Path, other: Path) -> None:
    path = shell.environment(state)["PATH"].split(os.pathsep)
    assert not {"/other-toolchain/plugins", str(shell.plugin_folder(other))} & {*path}


def test_shell_of_another_clone_loses_its_backend(state: Path, other: Path) -> None:
    assert f"file://{state / 'pulumi'}" == shell.environment(state, embedded=False)["PULUMI_BACKEND_URL"]
    credentials = Path.home() / ".pulumi" / "credentials.json"
    credentials.parent.mkdir(parents=True)
    credentials.write_text('{"current": "https://api.pulumi.com"}')
    variables = shell.environment(state, embedded=False)
    assert "your own" in shell.describe_backend(variables)
    assert "unset PULUMI_BACKEND_URL" in shell.shell_lines(variables)
    assert str(other / "kubeconfig") == os.environ["KUBECONFIG"]
    shell.use_environment(variables)
    assert not {"PULUMI_BACKEND_URL", "PULUMI_HOME", shell.PASSPHRASE_FILE} & {*os.environ}


@pytest.mark.parametrize("name", shell.STAND_INS)
def test_stand_in_answers_from_any_folder(state: Path, tmp_path: Path, name: str) -> None:
    for hiding in ("queue.py", "secrets.py", "logging.py"):
        (tmp_path / hiding).write_text("raise SystemExit(f'{__file__} is not of the standard library')")
    shell.environment(state)
    script = shell.plugin_folder(state) / name
    with subprocess.Popen([script], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        assert host.stdout.readline().strip().isdigit()
        host.terminate()


@pytest.mark.parametrize("name", ["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"])
def test_embedded_stacks_ignore_the_users_backend_with_a_notice(
    state: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "users-own")
    monkeypatch.setenv(shell.PASSPHRASE, "users-own")
    variables = shell.environment(state)
    assert f"file://{state / 'pulumi'}" == variables["PULUMI_BACKEND_URL"]
    described = shell.describe_backend(variables)
    assert described.endswith(f"{shell.PASSPHRASE}, {name} of this shell not used")
    assert f"unset {shell.PASSPHRASE}" in shell.shell_lines(variables)
    monkeypatch.setattr(os, "environ", dict(os.environ))  # changed below
    shell.use_environment({**dict(os.environ), **variables})
    assert shell.PASSPHRASE not in os.environ
    assert f"file://{state / 'pulumi'}" == os.environ["PULUMI_BACKEND_URL"]


@pytest.mark.parametrize("choice", ["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", "login"])
def test_other_stacks_use_the_backend_that_the_user_has(
    state: Path, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    if choice == "login":
        credentials = Path.home() / ".pulumi" / "credentials.json"
        credentials.parent.mkdir(parents=True)
        credentials.write_text('{"current": "https://api.pulumi.com"}')
    else:
        monkeypatch.setenv(choice, "users-own")
    monkeypatch.setenv(shell.PASSPHRASE, "users-own")
    variables = shell.environment(state, embedded=False)
    assert not any(name.startswith(("PULUMI_", "KUBECONFIG")) for name in variables)
    assert not any(line.startswith("unset") for line in shell.shell_lines(variables))
    assert "your own" in shell.describe_backend(variables)


def test_other_stacks_in_a_shell_of_lab_env_use_the_backend_of_the_login(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = Path.home() / ".pulumi" / "credentials.json"
    credentials.parent.mkdir(parents=True)
    credentials.write_text('{"current": "https://api.pulumi.com"}')
    for name, value in shell.environment(state).items():
        monkeypatch.setenv(name, value)
    variables = shell.environment(state, embedded=False)
    assert "your own" in shell.describe_backend(variables)
    unset = {line.removeprefix("unset ") for line in shell.shell_lines(variables) if line.startswith("unset ")}
    assert unset == {"PULUMI_BACKEND_URL", "PULUMI_HOME", shell.PASSPHRASE_FILE, "KUBECONFIG"}
    monkeypatch.setenv("KUBECONFIG", "users-own")
    assert "unset KUBECONFIG" not in shell.shell_lines(variables)


def test_other_stacks_in_a_shell_of_lab_env_keep_the_backend_without_a_login(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in shell.environment(state).items():
        monkeypatch.setenv(name, value)
    variables = shell.environment(state, embedded=False)
    assert f"file://{state / 'pulumi'}" == variables["PULUMI_BACKEND_URL"]
    unset = [line for line in shell.shell_lines(variables) if line.startswith("unset ")]
    assert unset == ["unset KUBECONFIG", f"unset {shell.PASSPHRASE}"]


@pytest.mark.parametrize(
    ("name", "expected"), [("c#sharp", "c%23sharp"), ("a%20b", "a%2520b"), ("q?x", "q%3Fx"), ("ü b", "ü b")]
)
def test_backend_url_of_any_folder_is_that_folder(state: Path, name: str, expected: str) -> None:
    folder = state.rename(state.with_name(name))
    assert f"file://{state.with_name(expected) / 'pulumi'}" == shell.environment(folder)["PULUMI_BACKEND_URL"]


def test_other_stacks_of_a_user_without_backend_use_the_state_folder(state: Path) -> None:
    variables = shell.environment(state, embedded=False)
    assert f"file://{state / 'pulumi'}" == variables["PULUMI_BACKEND_URL"]
    assert "KUBECONFIG" not in variables


def test_empty_passphrase_file_is_made_again(state: Path) -> None:
    (state / "passphrase").touch()
    shell.make_backend(state)
    made = (state / "passphrase").read_text()
    assert len(made) > 20
    shell.make_backend(state)
    assert made == (state / "passphrase").read_text()


def test_proxy_does_not_apply_to_loopback(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "NO_PROXY" not in shell.environment(state)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "corp.example")
    assert shell.environment(state)["NO_PROXY"] == "corp.example,127.0.0.1,localhost"


def test_shell_lines_are_read_by_a_shell(state: Path) -> None:
    lines = "\n".join(shell.shell_lines(shell.environment(state)))
    done = subprocess.run(["sh", "-c", f'{lines}\nprintf %s "$KUBECONFIG"'], capture_output=True, text=True, check=True)
    assert str(state / "kubeconfig") == done.stdout
