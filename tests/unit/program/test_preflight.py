"""Checks of the embedded target before anything is planned."""

from pathlib import Path

import pytest

from embedded.control_plane.credentials import make_credentials
from embedded.errors import ClusterError
from tests.unit.configs import lab_config
from waypoint_lab.config.target import use_target
from waypoint_lab.errors import ConfigError
from waypoint_lab.program.preflight import Preflight

SERVICE = """{"spec": {"ports": [
{"name": "http-web", "port": 80, "targetPort": 9080, "appProtocol": "http", "nodePort": 1},
{"name": "http", "port": 9080, "protocol": "TCP"}]}}"""
OTHER = """
current-context: production
contexts: [{name: production, context: {cluster: production}}]
clusters: [{name: production, cluster: {server: "https://production.example"}}]
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the file that a stand-in for kubectl makes when it is asked; the kubeconfig is another cluster's."""
    command, file = tmp_path / "kubectl", tmp_path / "asked"
    command.write_text(f"#!/bin/sh\ntouch {file}\necho '{SERVICE}'\n")
    command.chmod(0o755)
    (tmp_path / "config").write_text(OTHER)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("WAYPOINT_LAB_STATE", str(tmp_path / "state"))
    return file


@pytest.mark.parametrize("started", [False, True])
def test_preflight_with_another_clusters_kubeconfig_refuses_without_a_request(asked: Path, started: bool) -> None:
    if started:
        make_credentials(asked.parent / "state", 16443)
    with pytest.raises(ConfigError, match=r"/config: context production is not the embedded cluster of .*/state; "):
        Preflight(lab_config(), lambda _config: []).result()
    assert not asked.exists()


def test_preflight_with_the_embedded_clusters_kubeconfig_passes(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_credentials(asked.parent / "state", 16443)
    monkeypatch.setenv("KUBECONFIG", str(asked.parent / "state" / "kubeconfig"))
    Preflight(lab_config(), lambda _config: []).result()
    assert asked.exists()


@pytest.mark.parametrize(
    ("port", "copied"),
    [
        (80, {"name": "http-web", "port": 80, "targetPort": 9080, "appProtocol": "http"}),
        (9080, {"name": "http", "port": 9080, "protocol": "TCP"}),
    ],
)
def test_preflight_returns_the_whole_port_of_the_service(
    asked: Path, monkeypatch: pytest.MonkeyPatch, port: int, copied: dict[str, object]
) -> None:
    monkeypatch.setattr("waypoint_lab.program.preflight.verify_identity", lambda _: None)
    assert copied == Preflight(lab_config(app={"port": port}), lambda _config: []).result()
    existing = lab_config(app={"port": port}, target={"kind": "existing"})
    assert copied == Preflight(existing, lambda _config: []).result()


def test_preflight_port_that_the_service_lacks_is_one_line(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypoint_lab.program.preflight.verify_identity", lambda _: None)
    with pytest.raises(ConfigError, match=r"app.port: Service .*/reviews has no port 81; its ports are 80, 9080$"):
        Preflight(lab_config(app={"port": 81}), lambda _config: []).result()


@pytest.mark.parametrize("kind", ["embedded", "existing"])
def test_preflight_without_the_service_names_it(asked: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("waypoint_lab.program.preflight.verify_identity", lambda _: None)
    (asked.parent / "kubectl").write_text("#!/bin/sh\n")  # with --ignore-not-found, kubectl says nothing
    with pytest.raises(ConfigError, match=r"app: there is no Service bookinfo-backends/reviews; set app.namespace"):
        Preflight(lab_config(target={"kind": kind}), lambda _config: []).result()


def test_command_without_an_embedded_cluster_does_not_use_another(asked: Path) -> None:
    with pytest.raises(ClusterError, match="run `lab up` first"):
        use_target(asked.parent / "state", lab_config())
