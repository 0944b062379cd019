"""Clusters that are not the embedded one: an existing cluster, known by its kubeconfig alone, and one made by kind.

There is no container runtime where these tests run, so kind and istioctl are recording stand-ins: `kind create` hands
out the kubeconfig of the embedded cluster. Pulumi, kubectl and all that they do on that cluster are real.
"""

import json
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Kubectl
from tests.documented import documented
from tests.e2e.scene import UP, Scene, until

RUN_SECONDS = 800
pytestmark = pytest.mark.timeout(400)
KIND = """#!/bin/sh
echo "kind $*" >> "$STAND_IN/log"
case "$1 $2" in
"get clusters")
  [ ! -e "$STAND_IN/no-runtime" ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
  ls "$STAND_IN/clusters" ;;
"create cluster")
  [ ! -e "$STAND_IN/slow" ] || { touch "$STAND_IN/clusters/$4"; echo started > "$STAND_IN/slow"; sleep 60 & wait; }
  [ ! -e "$STAND_IN/fails" ] || { echo "could not pull the node image" >&2; exit 1; }
  touch "$STAND_IN/clusters/$4"
  cp "$STAND_IN/kubeconfig" "$8" ;;
"delete cluster") rm -f "$STAND_IN/clusters/$4" ;;
esac
"""
ISTIOCTL = """#!/bin/sh
echo "istioctl $*" >> "$STAND_IN/log"
[ ! -e "$STAND_IN/istio-fails" ] || { echo "ztunnel is not ready" >&2; exit 1; }
"""


@pytest.fixture(autouse=True)
def _empty(scene: Scene) -> None:
    """Leave the cluster to the stacks of these tests."""
    scene.clear()


def _stack(
    folder: Path, environment: dict[str, str], name: str, init: Sequence[str], config: dict[str, Any]
) -> Iterator[Scene]:
    made = Scene(folder, environment, name)
    for command in init:
        made.shell(command)
    if config:
        made.write_settings(**config)
    yield made
    made.pulumi("destroy", "--yes", "--skip-preview")
    made.pulumi("stack", "rm", "--yes")
    made.run("pulumi", "stack", "select", "dev")  # for commands of a document, which name none


# An existing cluster.


@pytest.fixture
def existing(
    project: Path, cluster_state: Path, cluster_environment: dict[str, str], tmp_path: Path
) -> Iterator[Scene]:
    """Return a stack that reaches the embedded cluster as any other: by a kubeconfig file elsewhere."""
    kubeconfig = tmp_path / "existing.yaml"
    shutil.copy(cluster_state / "kubeconfig", kubeconfig)
    environment = {**cluster_environment, "WAYPOINT_LAB_STATE": str(tmp_path / "state")}
    del environment["KUBECONFIG"]
    init = (
        documented(
            "docs/targets.md",
            r"printf 'config:\n  waypoint-lab:target:\n    kind: existing\n' > Pulumi.staging.yaml",
        ),
        documented("docs/targets.md", "pulumi stack select --create staging"),
    )
    for made in _stack(project, environment, "staging", init, {}):
        made.shell(
            documented(
                "docs/targets.md",
                "pulumi config set --path target.kubeconfig ~/.kube/staging.yaml",
                {"~/.kube/staging.yaml": str(kubeconfig)},
            )
        )
        context = yaml.safe_load(kubeconfig.read_text())["current-context"]
        made.shell(
            documented(
                "docs/targets.md",
                "pulumi config set --path target.context staging",
                {"context staging": f"context {context}"},
            )
        )
        yield made


@pytest.mark.slow
@pytest.mark.timeout(RUN_SECONDS + 60)
def test_run_on_an_existing_cluster_passes(existing: Scene) -> None:
    doctor = existing.shell(documented("docs/targets.md", "lab doctor --stack staging", more="--json"))
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    states = {item["what"]: item["state"] for item in json.loads(doctor.stdout)["checks"]}
    assert states["Gateway API"] == states["Istio ambient"] == states["your permissions"] == "ok"
    existing.shell("pulumi config set --path stages.waypoint true")
    existing.shell(documented("docs/targets.md", "pulumi up", more="--yes --skip-preview"), RUN_SECONDS)
    existing.shell(documented("docs/targets.md", "lab verify --stack staging"))
    existing.shell("pulumi config rm --path stages.waypoint")
    command = documented("docs/targets.md", "lab run --stack staging", more="--stages l7-policy --json -")
    done = existing.run("sh", "-c", command, seconds=RUN_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    stages = {row["name"]: row["passed"] for row in json.loads(done.stdout)["stages"]}
    assert stages == {"waypoint": True, "l7-policy": True, "cleanup": True}


def test_up_on_an_incomplete_cluster_names_what_is_missing(existing: Scene) -> None:
    wanted = {"namespace": "default", "service": "nowhere", "port": "1", "request.path": "/"}
    wanted |= {f"backends.{role}.service": f"nowhere-{role}" for role in ("baseline", "canary")}
    for name, value in wanted.items():
        existing.pulumi("config", "set", "--path", f"app.{name}", value)
    said = existing.apply().stdout
    assert "fix 2 problems" in said
    assert "kubectl label namespace default istio.io/dataplane-mode=ambient" in said
    assert "Service default/nowhere: does not exist" in said
    doctor = existing.lab("doctor")
    assert doctor.returncode == 1
    assert [line.split(":")[0] for line in doctor.stdout.splitlines() if line.startswith("MISSING")] == [
        "MISSING namespace default",
        "MISSING Service default/nowhere",
    ]
    existing.pulumi("config", "set", "--path", "target.context", "no-such-context")
    refused = existing.apply()
    assert refused.returncode != 0
    assert "no-such-context cannot be used" in refused.stdout
    assert 'context "no-such-context" does not exist' in refused.stdout


@pytest.fixture
def viewer(cluster_state: Path, kubectl: Kubectl, tmp_path: Path) -> Iterator[Path]:
    """Return the kubeconfig of a user who may only read."""
    name = "targets-test-viewer"
    kubectl("create", "serviceaccount", name, "-n", "default")
    kubectl("create", "clusterrolebinding", name, "--clusterrole=view", f"--serviceaccount=default:{name}")
    token = kubectl("create", "token", name, "-n", "default").stdout.strip()
    document = yaml.safe_load((cluster_state / "kubeconfig").read_text())
    document["users"] = [{"name": item["name"], "user": {"token": token}} for item in document["users"]]
    file = tmp_path / "viewer.yaml"
    file.write_text(yaml.safe_dump(document))
    yield file
    kubectl("delete", "clusterrolebinding", name)
    kubectl("delete", "serviceaccount", name, "-n", "default")


def test_up_without_permissions_names_them_and_changes_nothing(existing: Scene, viewer: Path) -> None:
    existing.pulumi("config", "set", "--path", "target.kubeconfig", str(viewer))
    doctor = existing.lab("doctor")
    (permissions,) = (line for line in doctor.stdout.splitlines() if "your permissions" in line)
    assert permissions.startswith("MISSING your permissions: not allowed in bookinfo-backends: create gateways, patch ")
    assert "unknown istiod's permissions: cannot be asked for" in doctor.stdout
    assert "the cluster is not ready for the lab: your permissions: not allowed" in existing.apply().stdout


# A cluster that kind creates.


class StandIns:
    """Recording kind and istioctl, and the mistakes that they are to make."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        """Write both into `folder`."""
        self.folder = folder
        for name, text in {"kind": KIND, "istioctl": ISTIOCTL}.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        (folder / "clusters").mkdir()
        (folder / "log").touch()
        shutil.copy(kubeconfig, folder / "kubeconfig")

    def switch(self, name: str, *, on: bool) -> None:
        """Turn a mistake on or off."""
        if on:
            (self.folder / name).touch()
        else:
            (self.folder / name).unlink()

    def calls(self) -> list[str]:
        """Return the calls since the last time, without questions."""
        log = self.folder / "log"
        found = [line for line in log.read_text().splitlines() if line != "kind get clusters"]
        log.write_text("")
        return found

    @property
    def clusters(self) -> list[str]:
        """Names of the clusters that there are."""
        return sorted(os.listdir(self.folder / "clusters"))


@pytest.fixture
def standins(cluster_state: Path, tmp_path: Path) -> StandIns:
    """Return the stand-ins in a folder of the test's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return StandIns(folder, cluster_state / "kubeconfig")


@pytest.fixture
def kind(project: Path, cluster_environment: dict[str, str], standins: StandIns) -> Iterator[Scene]:
    """Return a stack of target kind, where only the waypoint is on."""
    path = f"{standins.folder}{os.pathsep}{cluster_environment['PATH']}"
    environment = {**cluster_environment, "STAND_IN": str(standins.folder), "KUBECONFIG": "/nowhere", "PATH": path}
    config = {
        "target": {"kind": "kind", "name": "lab-test"},
        "app": {"deployBookinfo": False},  # bookinfo is on the embedded cluster already
        "stages": {"waypoint": True},
    }
    init = (
        documented(
            "docs/targets.md", r"printf 'config:\n  waypoint-lab:target:\n    kind: kind\n' > Pulumi.local.yaml"
        ),
        documented("docs/targets.md", "pulumi stack select --create local"),
    )
    yield from _stack(project, environment, "local", init, config)
    assert not list((project / ".lab" / "kind").glob("lab-test*"))


CREATED = [
    "kind create cluster --name lab-test --config - --kubeconfig .lab/kind/lab-test.kubeconfig --wait 180s",
    "istioctl install --kubeconfig .lab/kind/lab-test.kubeconfig --skip-confirmation --readiness-timeout 5m "
    "--set profile=ambient --set hub=docker.io/istio --set tag=1.31.0",
]
DELETED = ["kind delete cluster --name lab-test --kubeconfig .lab/kind/lab-test.kubeconfig"]


@pytest.mark.slow
def test_kind_cluster_is_created_once_and_deleted_by_destroy(kind: Scene, standins: StandIns) -> None:
    kind.shell(documented("docs/targets.md", "pulumi up", more="--yes --skip-preview --non-interactive"))
    assert standins.calls() == CREATED
    assert (kind.folder / ".lab/kind/lab-test.kubeconfig").stat().st_mode & 0o777 == 0o600
    exported = kind.pulumi("stack", "export")
    assert "client-key-data" not in exported
    assert "waypoint-gateway" in exported
    kind.assert_unchanged()
    verified = kind.lab("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    kind.pulumi("destroy", "--yes", "--skip-preview")
    assert (standins.calls(), standins.clusters) == (DELETED, [])


@pytest.mark.slow
def test_kind_cluster_creation_that_failed_is_resumed(kind: Scene, standins: StandIns) -> None:
    standins.switch("fails", on=True)
    assert "could not pull the node image" in kind.apply().stdout
    assert len(standins.calls()) == 1
    standins.switch("fails", on=False)
    standins.switch("istio-fails", on=True)
    assert "ztunnel is not ready" in kind.apply().stdout
    assert standins.calls() == CREATED
    standins.switch("istio-fails", on=False)
    done = kind.apply()
    assert done.returncode == 0, done.stdout
    assert standins.calls() == CREATED[1:]


@pytest.mark.slow
def test_kind_cluster_interrupted_during_creation_is_deleted(kind: Scene, standins: StandIns) -> None:
    standins.switch("slow", on=True)
    running = kind.start(*UP, "--stack", kind.stack)
    until(lambda: (standins.folder / "slow").read_text(), 60, "kind is called")
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "cancelled" in said
    assert standins.clusters == []
    standins.switch("slow", on=False)


def test_kind_with_used_name_or_without_runtime_is_refused(kind: Scene, standins: StandIns) -> None:
    standins.switch("clusters/lab-test", on=True)
    said = kind.apply().stdout
    assert "waypoint-lab:target.name: kind has a cluster lab-test already, not of this stack; set another name" in said
    standins.switch("clusters/lab-test", on=False)
    standins.switch("no-runtime", on=True)
    said = kind.apply().stdout
    assert "there is no container runtime; start Docker or Podman (Cannot connect to the Docker daemon)" in said
    assert standins.calls() == []
    standins.switch("no-runtime", on=False)
