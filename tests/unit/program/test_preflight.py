"""Checks of the embedded target before anything is planned."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from embedded.control_plane.credentials import make_credentials
from embedded.errors import ClusterError
from tests.unit.configs import lab_config
from waypoint_lab import kubectl
from waypoint_lab.config.models import KindTarget
from waypoint_lab.config.settings import SKIP_GATE, LabConfig
from waypoint_lab.config.target import use_target
from waypoint_lab.config.waypoint_models import WaypointSettings
from waypoint_lab.errors import ConfigError
from waypoint_lab.program import backend_policies, kind_cluster, preflight
from waypoint_lab.program.backend_checks import application, service_ports
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


@pytest.mark.parametrize("port", [80, 9080])
def test_preflight_returns_all_ports_of_the_service_whole(
    asked: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    monkeypatch.setattr("waypoint_lab.program.preflight.verify_identity", lambda _: None)
    copied = [
        {"name": "http-web", "port": 80, "targetPort": 9080, "appProtocol": "http"},
        {"name": "http", "port": 9080, "protocol": "TCP"},
    ]
    assert (copied, []) == Preflight(lab_config(app={"port": port}), lambda _config: []).result()
    existing = lab_config(app={"port": port}, target={"kind": "existing"})
    assert (copied, []) == Preflight(existing, lambda _config: []).result()


def test_preflight_port_that_the_service_lacks_is_one_line(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypoint_lab.program.preflight.verify_identity", lambda _: None)
    with pytest.raises(ConfigError, match=r"app.port: Service .*/reviews has no port 81; its ports are 80, 9080$"):
        Preflight(lab_config(app={"port": 81}), lambda _config: []).result()


def test_preflight_without_the_waypoints_namespace_names_it(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypoint_lab.program.preflight.verify_identity", lambda _: None)
    (asked.parent / "kubectl").write_text(
        f'#!/bin/sh\ncase "$*" in *" namespace "*) ;; *) echo \'{SERVICE}\' ;; esac\n'
    )
    with pytest.raises(
        ConfigError, match=r"^waypoint-lab:waypoint.namespace: there is no namespace gateways; create it"
    ):
        Preflight(lab_config(waypoint={"namespace": "gateways"}), lambda _config: []).result()


@pytest.mark.parametrize("kind", ["embedded", "existing"])
def test_preflight_without_the_service_names_it(asked: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("waypoint_lab.program.preflight.verify_identity", lambda _: None)
    (asked.parent / "kubectl").write_text("#!/bin/sh\n")  # with --ignore-not-found, kubectl says nothing
    with pytest.raises(ConfigError, match=r"app: there is no Service bookinfo-backends/reviews; set app.namespace"):
        Preflight(lab_config(target={"kind": kind}), lambda _config: []).result()


def test_command_without_an_embedded_cluster_does_not_use_another(asked: Path) -> None:
    with pytest.raises(ClusterError, match="run `lab up` first"):
        use_target(asked.parent / "state", "embedded")


SHOP = {"baseline": {"service": "shop-v1"}, "canary": {"service": "shop-v2", "selector": {"app": "shop"}}}
ROUTE = {"waypoint": True, "accessLog": True, "canary": True}
SERVE = {"spec": {"ports": [{"name": "http", "port": 80}]}}
DATABASE = {"spec": {"ports": [{"name": "mysql-db", "port": 80}]}}


def shop(backend: Mapping[str, object] = SHOP["canary"], weight: int = 20) -> LabConfig:
    app: dict[str, object] = {"namespace": "shop", "service": "shop", "port": 80, "request": {"path": "/"}}
    app |= {"identify": {"kind": "accessLog"}, "backends": {**SHOP, "canary": backend}}
    return LabConfig.from_mapping({"app": app, "stages": ROUTE, "canary": {"weight": weight}})


class Cluster:
    """Answers of kubectl: Services by name, and the labels of Pods."""

    def __init__(self, services: Mapping[str, object], *pods: Mapping[str, str]) -> None:
        self.services, self.pods = services, [{"metadata": {"labels": labels}} for labels in pods]

    def __call__(self, _target: object, *what: str, **_more: object) -> object:
        return {"items": self.pods} if what[0] == "pods" else self.services.get(what[1], {})


@pytest.mark.parametrize(
    ("config", "services", "line"),
    [
        (
            shop(),
            {"shop": SERVE, "shop-v1": SERVE},
            "app.backends.canary.selector: no Pod in shop has the labels app=shop; "
            "fix the selector, or deploy the canary first",
        ),
        (
            shop(),
            {"shop": SERVE},
            "app.backends.baseline.service: there is no Service shop/shop-v1; create it, or set a selector",
        ),
        (
            shop(),
            {"shop": DATABASE},
            "app.port: port 80 of Service shop/shop is mysql, which is not HTTP; "
            "set another port, or the port's appProtocol to http",
        ),
        (
            shop(),
            {"shop": {"spec": {"ports": [{"name": "http", "port": 80, "appProtocol": "tcp"}]}}},
            "app.port: port 80 of Service shop/shop is tcp, which is not HTTP; "
            "set another port, or the port's appProtocol to http",
        ),
        (
            shop({"service": "shop-v2"}),
            {"shop": SERVE, "shop-v1": SERVE, "shop-v2": {"spec": {"ports": [{"port": 8080}]}}},
            "app.port: Service shop/shop-v2 has no port 80; its ports are 8080",
        ),
    ],
)
def test_service_ports_with_a_backend_that_cannot_serve_is_one_line(
    monkeypatch: pytest.MonkeyPatch, config: LabConfig, services: Mapping[str, object], line: str
) -> None:
    monkeypatch.setattr(kubectl, "get", Cluster(services))
    with pytest.raises(ConfigError) as caught:
        service_ports(config)
    assert f"waypoint-lab:{line}" == str(caught.value)


@pytest.mark.parametrize(
    ("weight", "pods", "skip"), [(20, [{"app": "shop", "x": "y"}], ""), (0, [], ""), (20, [], "1")]
)
def test_service_ports_does_not_want_pods_without_need(
    monkeypatch: pytest.MonkeyPatch, weight: int, pods: list[dict[str, str]], skip: str
) -> None:
    monkeypatch.setenv(SKIP_GATE, skip)
    monkeypatch.setattr(kubectl, "get", Cluster({"shop": SERVE, "shop-v1": SERVE}, *pods))
    assert service_ports(shop(weight=weight)) == [{"name": "http", "port": 80}]


def test_application_for_a_rollback_does_not_want_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubectl, "get", Cluster({"shop": SERVE}))
    config = shop({"service": "shop-v2"}, weight=0)
    config = msgspec.structs.replace(config, waypoint=WaypointSettings(namespace="gateways"))
    with pytest.raises(ConfigError, match=r"waypoint\.namespace: there is no namespace gateways"):
        application(config)
    monkeypatch.setenv(SKIP_GATE, "1")
    assert application(config) == ([{"name": "http", "port": 80}], [])


@pytest.mark.parametrize("target", ["embedded", "existing", "kind"])
def test_preflight_copies_policies_where_the_stack_installs_the_application(
    asked: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    config = lab_config("waypoint", target={"kind": target}, app={"deployBookinfo": True})
    monkeypatch.setattr(backend_policies, "copies", lambda _config: ["copy"])
    monkeypatch.setattr(preflight, "verify_identity", lambda _: None)
    monkeypatch.setattr(preflight, "PROJECT_FOLDER", asked.parent)
    for tool in ("kind", "istioctl"):
        (asked.parent / tool).write_text("#!/bin/sh\n")
        (asked.parent / tool).chmod(0o755)
    if target == "kind":
        assert Preflight(config, lambda _config: []).result() is None, "there is no cluster yet"
        (asked.parent / config.target.kubeconfig).parent.mkdir(parents=True)
        (asked.parent / config.target.kubeconfig).touch()
        (asked.parent / f"{config.target.kubeconfig}.owner").write_text(preflight.this_stack())
        assert Preflight(config, lambda _config: []).result() is None, "its cluster was removed by hand"
        (asked.parent / "kind").write_text(f"#!/bin/sh\necho {config.target.name}\n")
    assert Preflight(config, lambda _config: []).result() == ([], ["copy"])


@pytest.mark.parametrize(
    ("created", "services", "port"),
    [(False, {"shop": SERVE}, None), (True, {}, None), (True, {"shop": SERVE, "shop-v1": SERVE}, SERVE)],
)
def test_application_on_kind_is_the_users_own_service(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    created: bool,
    services: Mapping[str, object],
    port: Mapping[str, Mapping[str, list[object]]] | None,
) -> None:
    config = msgspec.structs.replace(shop(weight=0), target=KindTarget())
    monkeypatch.setattr(preflight, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(kubectl, "get", Cluster(services))
    if created:
        (tmp_path / config.target.kubeconfig).parent.mkdir(parents=True)
        (tmp_path / config.target.kubeconfig).touch()
    assert (port and (port["spec"]["ports"], [])) == preflight._application_on_kind(config)


KIND = """#!/bin/sh
case "$1 $2" in
"get clusters") ls "$CLUSTERS" ;;
"create cluster") touch "$CLUSTERS/$4"; echo kubeconfig > "$8" ;;
"delete cluster") rm "$CLUSTERS/$4" ;;
esac
"""


def test_kind_cluster_of_another_stack_is_neither_used_nor_deleted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for tool, script in {"kind": KIND, "istioctl": "#!/bin/sh\n", "kubectl": "#!/bin/sh\n"}.items():
        (tmp_path / tool).write_text(script)
        (tmp_path / tool).chmod(0o755)
    clusters = tmp_path / "clusters"
    clusters.mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CLUSTERS", str(clusters))
    monkeypatch.setattr(preflight, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(preflight, "_application_on_kind", lambda _config: None)
    config = lab_config(target={"kind": "kind"})
    owner = tmp_path / f"{config.target.kubeconfig}.owner"

    def run(script: str, stack: str) -> tuple[int, str]:
        names = {"KIND_NAME": config.target.name, "KIND_KUBECONFIG": config.target.kubeconfig, "KIND_CONFIG": ""}
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            cwd=tmp_path,
            env={**os.environ, **names, "KIND_OWNER": stack},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    assert run(kind_cluster.CREATE, "lab/one") == (0, "kubeconfig\n")
    assert owner.read_text() == "lab/one"
    preflight.kind(config, "lab/one")
    with pytest.raises(
        ConfigError, match=r"not of this stack but of lab/one; .* write lab/two into .*kubeconfig\.owner$"
    ):
        preflight.kind(config, "lab/two")
    code, said = run(kind_cluster.CREATE, "lab/two")
    assert code == 1
    assert "already, not of this stack" in said
    assert run(kind_cluster.DELETE, "lab/two")[0] == 0
    assert len([*clusters.iterdir()]) == 1

    owner.write_text("lab/two")  # the stack was renamed
    preflight.kind(config, "lab/two")
    assert run(kind_cluster.CREATE, "lab/two") == (0, "kubeconfig\n")
    assert run(kind_cluster.DELETE, "lab/two")[0] == 0
    assert not [*clusters.iterdir()]
    assert not owner.exists()
