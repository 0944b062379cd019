"""Name, version and origin of the Pulumi plugins."""

import importlib.metadata
import os
from pathlib import Path

import pytest

from embedded import shell
from embedded.pulumi_plugins.status import Plugin, plugins
from embedded.toolchain.versions import KUBERNETES_PROVIDER

NAMES = ("pulumi-language-python", "pulumi-resource-kubernetes", "pulumi-resource-command")


def add(folder: Path, name: str) -> str:
    folder.mkdir(parents=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)
    return str(folder)


def test_plugins_without_any_are_missing(tmp_path: Path) -> None:
    assert [Plugin(name, "none", "missing") for name in NAMES] == plugins(tmp_path, {"PATH": str(tmp_path)})


def test_plugins_of_the_project_have_the_versions_of_the_sdks(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text('{"toolchain": "/toolchain"}')
    path = shell.environment(tmp_path)["PATH"].split(os.pathsep)[-1]
    found = {plugin.name: plugin for plugin in plugins(tmp_path, {"PATH": path})}
    for sdk, name in (("pulumi", NAMES[0]), ("pulumi-command", NAMES[2])):
        assert Plugin(name, importlib.metadata.version(sdk), "this project") == found[name]


def test_kubernetes_provider_of_toolchain_or_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYPOINT_LAB_CACHE", str(tmp_path / "cache"))
    built = add(tmp_path / "cache" / "toolchain-0" / "plugins", NAMES[1])
    own = add(tmp_path / "plugins" / "resource-kubernetes-v4.34.2", NAMES[1])
    expected = Plugin(NAMES[1], KUBERNETES_PROVIDER, "official, built by the toolchain")
    assert expected == plugins(tmp_path, {"PATH": built})[1]
    expected = Plugin(NAMES[1], "4.34.2", "official, from Pulumi's plugin folder")
    assert expected == plugins(tmp_path, {"PATH": f"{own}{os.pathsep}{built}"})[1]


def test_plugin_on_path_is_asked_for_its_version(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "cluster.json").write_text('{"toolchain": "/toolchain"}')
    shell.environment(tmp_path / "state")
    path = f"{shell.plugin_folder(tmp_path / 'state')}{os.pathsep}/usr/bin{os.pathsep}/bin"
    found = plugins(tmp_path / "other", {"PATH": path})
    assert Plugin(NAMES[0], importlib.metadata.version("pulumi"), "from PATH") == found[0]
    assert Plugin(NAMES[2], importlib.metadata.version("pulumi-command"), "from PATH") == found[2]
