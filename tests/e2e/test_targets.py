"""Clusters that are not the embedded one: an existing cluster, known by its kubeconfig alone, and one made by kind.

There is no container runtime where these tests run, so kind and istioctl are recording stand-ins: `kind create` hands
out the kubeconfig of the embedded cluster. Pulumi, kubectl and all that they do on that cluster are real.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded import cluster as embedded
from tests.conftest import Kubectl

CLONE = embedded.PROJECT_FOLDER
UP = ("pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--suppress-progress")
DESTROY = ("pulumi", "destroy", "--yes", "--skip-preview", "--non-interactive", "--suppress-progress")
Run = Callable[..., "subprocess.CompletedProcess[str]"]
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


def _stack(environment: dict[str, str], name: str, config: dict[str, Any]) -> Iterator[Run]:
    file = CLONE / f"Pulumi.{name}.yaml"
    file.write_text(yaml.safe_dump({"config": {f"waypoint-lab:{key}": value for key, value in config.items()}}))

    def run(*command: str, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
        chosen = (*command, "--stack", name)
        return subprocess.run(
            chosen, cwd=CLONE, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )

    try:
        assert run("pulumi", "stack", "init").returncode == 0
        yield run
        gone = run(*DESTROY)
        assert gone.returncode == 0, gone.stdout
        assert run("pulumi", "stack", "rm", "--yes").returncode == 0
    finally:
        file.unlink(missing_ok=True)


# An existing cluster.


@pytest.fixture
def foreign(cluster_state: Path, cluster_environment: dict[str, str], tmp_path: Path) -> Iterator[Run]:
    """A stack that knows the embedded cluster as any other: by a kubeconfig file elsewhere, named in its config."""
    kubeconfig = tmp_path / "foreign.yaml"
    shutil.copy(cluster_state / "kubeconfig", kubeconfig)
    environment = {**cluster_environment, "WAYPOINT_LAB_STATE": str(tmp_path / "state")}
    del environment["KUBECONFIG"]
    yield from _stack(environment, "foreign-test", {"target": {"kind": "existing", "kubeconfig": str(kubeconfig)}})


def lab(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "waypoint_lab.cli", *arguments)


@pytest.mark.timeout(600)
def test_the_walk_passes_on_a_cluster_that_is_known_by_its_kubeconfig_alone(foreign: Run) -> None:
    doctor = foreign(*lab("doctor", "--json"))
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    states = {item["what"]: item["state"] for item in json.loads(doctor.stdout)["findings"]}
    assert states["Gateway API"] == states["Istio ambient"] == states["your permissions"] == "ok"
    done = foreign(*lab("run", "--stages", "l7-policy,canary", "--json", "-"), seconds=500)
    assert done.returncode == 0, done.stdout + done.stderr
    stages = {row["name"]: row["passed"] for row in json.loads(done.stdout)["stages"]}
    assert stages == {"waypoint": True, "l7-policy": True, "canary": True, "cleanup": True}


@pytest.mark.timeout(300)
def test_what_a_cluster_lacks_is_one_line_each_before_anything_changes(foreign: Run) -> None:
    wanted = {"namespace": "default", "service": "nowhere", "port": "1", "backends.baseline.service": "nowhere-1"}
    for key, value in {f"app.{name}": value for name, value in wanted.items()}.items():
        assert foreign("pulumi", "config", "set", "--path", key, value).returncode == 0
    said = foreign(*UP).stdout
    assert "2 things are missing" in said
    assert "kubectl label namespace default istio.io/dataplane-mode=ambient" in said
    assert "Service default/nowhere: does not exist" in said
    doctor = foreign(*lab("doctor"))
    assert doctor.returncode == 1
    assert [line.split(":")[0] for line in doctor.stdout.splitlines() if line.startswith("MISSING")] == [
        "MISSING namespace default",
        "MISSING Service default/nowhere",
    ]
    assert foreign("pulumi", "config", "set", "--path", "target.context", "no-such-context").returncode == 0
    refused = foreign(*UP)
    assert refused.returncode != 0
    assert 'no-such-context cannot be used: context "no-such-context" does not exist' in refused.stdout


@pytest.fixture
def viewer(cluster_state: Path, kubectl: Kubectl, tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of somebody who may look at things, and no more."""
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


@pytest.mark.timeout(300)
def test_missing_permissions_are_said_before_anything_changes(foreign: Run, viewer: Path) -> None:
    assert foreign("pulumi", "config", "set", "--path", "target.kubeconfig", str(viewer)).returncode == 0
    doctor = foreign(*lab("doctor"))
    (permissions,) = (line for line in doctor.stdout.splitlines() if "your permissions" in line)
    assert permissions.startswith("MISSING your permissions: not allowed in bookinfo-backends: create gateways, patch ")
    assert "unknown istiod's permissions: cannot be asked for" in doctor.stdout
    assert "the cluster is not ready for the lab: your permissions: not allowed" in foreign(*UP).stdout


# A cluster made by kind.


class StandIns:
    """Recording kind and istioctl, and what they are told to do wrong."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        """Writes them into `folder`."""
        self.folder = folder
        for name, text in {"kind": KIND, "istioctl": ISTIOCTL}.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        (folder / "clusters").mkdir()
        (folder / "log").touch()
        shutil.copy(kubeconfig, folder / "kubeconfig")

    def switch(self, name: str, *, on: bool) -> None:
        if on:
            (self.folder / name).touch()
        else:
            (self.folder / name).unlink()

    def calls(self) -> list[str]:
        """What was called since the last time, without questions."""
        log = self.folder / "log"
        found = [line for line in log.read_text().splitlines() if line != "kind get clusters"]
        log.write_text("")
        return found

    @property
    def clusters(self) -> list[str]:
        return sorted(os.listdir(self.folder / "clusters"))


@pytest.fixture
def standins(cluster_state: Path, tmp_path: Path) -> StandIns:
    folder = tmp_path / "bin"
    folder.mkdir()
    return StandIns(folder, cluster_state / "kubeconfig")


@pytest.fixture
def kind_environment(cluster_environment: dict[str, str], standins: StandIns) -> dict[str, str]:
    path = f"{standins.folder}{os.pathsep}{cluster_environment['PATH']}"
    return {**cluster_environment, "STAND_IN": str(standins.folder), "KUBECONFIG": "/nowhere", "PATH": path}


@pytest.fixture
def kind(kind_environment: dict[str, str]) -> Iterator[Run]:
    # Bookinfo is on the embedded cluster already.
    config = {
        "target": {"kind": "kind", "name": "lab-test"},
        "app": {"deployBookinfo": False},
        "stages": {"waypoint": True},
    }
    yield from _stack(kind_environment, "kind-test", config)
    assert not list((CLONE / ".lab" / "kind").glob("lab-test*"))


CREATED = [
    "kind create cluster --name lab-test --config waypoint_lab/program/kind_cluster.yaml "
    "--kubeconfig .lab/kind/lab-test.kubeconfig --wait 180s",
    "istioctl install --kubeconfig .lab/kind/lab-test.kubeconfig --skip-confirmation --readiness-timeout 5m "
    "--set profile=ambient --set hub=docker.io/istio --set tag=1.31.0",
]
DELETED = ["kind delete cluster --name lab-test --kubeconfig .lab/kind/lab-test.kubeconfig"]


@pytest.mark.timeout(300)
def test_kind_makes_a_cluster_once_and_destroy_takes_it_away(kind: Run, standins: StandIns) -> None:
    done = kind(*UP)
    assert done.returncode == 0, done.stdout + done.stderr
    assert standins.calls() == CREATED
    assert (CLONE / ".lab/kind/lab-test.kubeconfig").stat().st_mode & 0o777 == 0o600
    exported = kind("pulumi", "stack", "export").stdout
    assert "client-key-data" not in exported
    assert "waypoint-gateway" in exported
    again = kind(*UP, "--expect-no-changes")
    assert again.returncode == 0, again.stdout
    verified = kind(*lab("verify"))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    gone = kind(*DESTROY)
    assert gone.returncode == 0, gone.stdout
    assert (standins.calls(), standins.clusters) == (DELETED, [])


@pytest.mark.timeout(300)
def test_what_went_wrong_half_way_is_taken_up_where_it_stopped(kind: Run, standins: StandIns) -> None:
    standins.switch("fails", on=True)
    assert "could not pull the node image" in kind(*UP).stdout
    assert len(standins.calls()) == 1
    standins.switch("fails", on=False)
    standins.switch("istio-fails", on=True)
    assert "ztunnel is not ready" in kind(*UP).stdout
    assert standins.calls() == CREATED
    standins.switch("istio-fails", on=False)
    done = kind(*UP)
    assert done.returncode == 0, done.stdout
    assert standins.calls() == CREATED[1:]


@pytest.mark.timeout(300)
def test_an_interrupted_creation_leaves_no_cluster(
    kind: Run, kind_environment: dict[str, str], standins: StandIns
) -> None:
    standins.switch("slow", on=True)
    running = subprocess.Popen(
        (*UP, "--stack", "kind-test"), cwd=CLONE, env=kind_environment, stdout=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not (standins.folder / "slow").read_text():
        assert time.monotonic() < until, "kind was not called"
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "cancelled" in said
    assert standins.clusters == []
    standins.switch("slow", on=False)


@pytest.mark.timeout(300)
def test_a_name_that_is_taken_and_a_missing_runtime_are_one_line_before_anything_changes(
    kind: Run, standins: StandIns
) -> None:
    standins.switch("clusters/lab-test", on=True)
    said = kind(*UP).stdout
    assert "kind has a cluster lab-test already, not of this stack: set waypoint-lab:target.name" in said
    standins.switch("clusters/lab-test", on=False)
    standins.switch("no-runtime", on=True)
    said = kind(*UP).stdout
    assert "kind has no container runtime: start Docker or Podman (Cannot connect to the Docker daemon)" in said
    assert standins.calls() == []
    standins.switch("no-runtime", on=False)
