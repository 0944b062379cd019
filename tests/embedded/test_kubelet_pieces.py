"""The kubelet part's rules before a container runs, each alone; `test_kubelet_running.py` has those after."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from embedded.node import environment, images, status, volumes
from embedded.node.config import NodeConfig, NodeConfigError
from embedded.node.host import backoff
from embedded.node.mounts import Bind, plan
from embedded.node.sandbox import Addresses, SandboxError

SETTINGS: dict[str, Any] = {
    "api": "https://10.244.0.1:6443",
    "ca_file": "/ca",
    "token_file": "/token",
    "node_name": "n",
    "node_ip": "10.244.0.1",
    "pod_cidr": "10.244.0.0/16",
    "service_cidr": "10.96.0.0/16",
    "state_dir": "/state",
    "kubelet_port": 10250,
    "kubelet_cert": "/c",
    "kubelet_key": "/k",
    "mesh_ca_cert": "/mc",
    "mesh_ca_key": "/mk",
    "cluster_domain": "cluster.local",
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

    async def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        return self.secrets.get(name)

    async def token(self, pod: dict[str, Any], audience: str | None, seconds: int) -> tuple[str, float]:
        self.asked += 1
        return f"token-{self.asked}-{audience}", volumes.time.time() + seconds


# Configuration.


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"api": None}, "field api is of the wrong type"),
        ({"kubelet_port": "10250"}, "field kubelet_port is of the wrong type"),
        ({"color": "red"}, "unknown field color"),
    ],
)
def test_a_wrong_field_in_the_configuration_is_named(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(SETTINGS | change))
    with pytest.raises(NodeConfigError, match=complaint):
        NodeConfig.load(file)


def test_a_missing_field_and_a_missing_file_are_named(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({key: value for key, value in SETTINGS.items() if key != "ca_file"}))
    with pytest.raises(NodeConfigError, match="field ca_file is missing"):
        NodeConfig.load(file)
    with pytest.raises(NodeConfigError, match="No such file"):
        NodeConfig.load(tmp_path / "none.json")


def test_the_node_agent_refuses_a_bad_configuration_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(SETTINGS | {"token_file": str(tmp_path / "no-token")}))
    for path in (tmp_path / "none.json", file):
        got = subprocess.run(
            [sys.executable, "-m", "embedded.node", "--config", str(path)], capture_output=True, text=True, timeout=30
        )
        assert got.returncode == 2
        assert re.fullmatch(r"embedded\.node: .*No such file or directory: .*\n", got.stderr)


# Environment.


def build(container: dict[str, Any]) -> dict[str, str]:
    return asyncio.run(environment.build(POD, container, {"PATH": "/bin"}, Memory(), {"cpu": "32", "memory": "1Gi"}))


def test_references_in_values_expand_only_what_was_declared_before() -> None:
    container = {
        "env": [
            {"name": "LATE", "value": "$(PORT)"},
            {"name": "PORT", "value": "80"},
            {"name": "URL", "value": "http://h:$(PORT) $$(PORT) $(NONE)"},
        ]
    }
    got = build(container)
    assert got["LATE"] == "$(PORT)"
    assert got["URL"] == "http://h:80 $(PORT) $(NONE)"


def test_values_come_from_fields_config_maps_secrets_and_resources() -> None:
    container = {
        "resources": {"limits": {"memory": "64Mi"}},
        "envFrom": [{"prefix": "CM_", "configMapRef": {"name": "cm"}}],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['b']"}}},
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "word"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
        ],
    }
    got = build(container)
    expected = {"CM_key": "value", "IP": "10.244.1.1", "LABEL": "2", "WORD": "hidden", "MEM": "64", "CPU": "32"}
    assert expected == {name: got[name] for name in expected}
    assert "MAYBE" not in got


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "sec", "key": "k"}}, "couldn't find key k in secret ns/sec"),
        ({"fieldRef": {"fieldPath": "spec.color"}}, "fieldPath spec.color is not supported"),
    ],
)
def test_a_missing_reference_is_named(source: dict[str, Any], complaint: str) -> None:
    with pytest.raises(environment.MissingReference, match=complaint):
        build({"env": [{"name": "X", "valueFrom": source}]})


def test_labels_are_written_sorted_and_quoted() -> None:
    assert environment.field_value(POD, "metadata.labels") == 'a="say \\"x\\""\nb="2"'


@pytest.mark.parametrize(("text", "number"), [("250m", 0.25), ("1Gi", 2**30), ("2", 2), ("1e3", 1000), ("5k", 5000)])
def test_quantities_are_read(text: str, number: float) -> None:
    assert number == environment.quantity(text)


# Images.


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("python", "docker.io/library/python"),
        ("python:3.12", "docker.io/library/python"),
        ("istio/proxyv2:1.30", "docker.io/istio/proxyv2"),
        ("host:5000/a/b:1@sha256:0f", "host:5000/a/b"),
    ],
)
def test_image_names_are_spelled_out(image: str, name: str) -> None:
    assert name == images.full_name(image)


def test_bookinfo_images_run_the_version_that_they_name() -> None:
    image = images.find(CONFIG, "docker.io/istio/examples-bookinfo-reviews-v3:1.20.3")
    assert image.argv([], [])[1:] == ["-m", "embedded.bookinfo", "reviews", "--version", "v3"]


def test_an_unknown_image_is_refused_by_name() -> None:
    with pytest.raises(images.UnknownImage, match=r"ghcr\.io/no/such:1"):
        images.find(CONFIG, "ghcr.io/no/such:1")


def test_command_replaces_the_entry_point_and_args_the_default_arguments() -> None:
    image = images.Image(["envoy"], ["-c", "default"])
    assert image.argv([], []) == ["envoy", "-c", "default"]
    assert image.argv([], ["-c", "mine"]) == ["envoy", "-c", "mine"]
    assert image.argv([], ["envoy", "-c", "mine"]) == ["envoy", "-c", "mine"]
    assert image.argv(["sh"], []) == ["sh"]


# Volumes.


def test_a_volume_changes_all_at_once_and_drops_what_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    assert volumes.write_atomically(folder, {"a": (b"1", 0o644), "d/b": (b"2", 0o600)})
    assert not volumes.write_atomically(folder, {"a": (b"1", 0o644), "d/b": (b"2", 0o600)})
    assert volumes.write_atomically(folder, {"a": (b"3", 0o644)})
    assert (folder / "a").read_bytes() == b"3"
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("..")) == ["a"]
    assert len([path for path in folder.iterdir() if path.name.startswith("..")]) == 2  # the data and its link


def test_a_path_that_leaves_its_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(environment.MissingReference, match="leaves its volume"):
        volumes.write_atomically(tmp_path / "v", {"../../x": (b"", 0o644)})


def test_a_token_is_kept_until_most_of_its_life_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(volumes.time, "time", lambda: clock[0])
    store = Memory()
    source = {"serviceAccountToken": {"path": "token", "audience": "me", "expirationSeconds": 600}}
    pod = {**POD, "spec": {"volumes": [{"name": "t", "projected": {"sources": [source]}}]}}
    held = volumes.Volumes(tmp_path, store, {})

    def shown(at: float) -> str:
        clock[0] = at
        asyncio.run(held.sync(pod))
        return (tmp_path / "t" / "token").read_text()

    assert shown(1000) == shown(1479) == "token-1-me"
    assert held.renew_at() == 1480
    assert shown(1480) == "token-2-me"


def test_a_missing_config_map_stops_the_pod_unless_it_is_optional(tmp_path: Path) -> None:
    def sync(optional: bool) -> None:
        spec = {"volumes": [{"name": "v", "configMap": {"name": "none", "optional": optional}}]}
        asyncio.run(volumes.Volumes(tmp_path, Memory(), {}).sync({**POD, "spec": spec}))

    sync(True)
    assert (tmp_path / "v").is_dir()
    with pytest.raises(environment.MissingReference, match='configmap "none" not found'):
        sync(False)


# Mounts.


def test_a_mount_point_that_does_not_exist_is_made_in_a_mirror_of_its_folder() -> None:
    steps = plan({"/etc/istio/proxy": Bind("/somewhere")})
    assert ["show", "/etc", "/etc"] not in steps
    assert ["show", "/etc/passwd", "/etc/passwd"] in steps
    assert ["bind", "/somewhere", "/etc/istio/proxy"] in steps


def test_a_folder_without_new_mount_points_is_shown_whole_and_read_only() -> None:
    assert ["show", "/etc", "/etc"] in plan({"/etc/passwd": Bind("/somewhere")})


def test_everything_on_this_machine_is_read_only_in_a_container() -> None:
    own = {"/data-of-mine/x": Bind("/somewhere")}
    assert {"/somewhere"} == {source for kind, source, _ in plan(own) if kind == "bind"}


# Addresses, back-off, status.


def test_an_address_is_given_out_again_only_after_all_others() -> None:
    addresses = Addresses("10.244.0.0/16")
    first = addresses.take()
    assert first == "10.244.1.1"
    addresses.give_back(first)
    assert addresses.take() == "10.244.1.2"
    assert addresses.take(first) == first
    assert addresses.take(first) != first


def test_a_full_range_is_said() -> None:
    addresses = Addresses("10.0.0.0/23")
    for _ in range(254):
        addresses.take()
    with pytest.raises(SandboxError, match="no Pod address is left"):
        addresses.take()


def test_the_first_restart_is_at_once_and_the_wait_doubles_up_to_five_minutes() -> None:
    assert [backoff(n) for n in (1, 2, 3, 4, 9, 500)] == [0, 10, 20, 40, 300, 300]


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    before = [{"type": "Ready", "status": "False", "lastTransitionTime": "then"}, {"type": "PodScheduled"}]
    same = status.conditions(before, {"Ready": (False, "ContainersNotReady")})
    assert [(c["type"], c.get("lastTransitionTime")) for c in same] == [("PodScheduled", None), ("Ready", "then")]
    assert status.conditions(before, {"Ready": (True, "")})[-1]["lastTransitionTime"] != "then"
