"""Commands of kubectl, and the errors of those that fail."""

from pathlib import Path

import pytest

from tests.unit.measure.servers import install
from waypoint_lab import kubectl
from waypoint_lab.errors import KubectlError


class Cluster:
    kubeconfig = ""
    context = ""

    def __init__(self, kubeconfig: str = "", context: str = "") -> None:
        self.kubeconfig, self.context = kubeconfig, context


def test_command_names_the_cluster_of_the_target() -> None:
    assert kubectl.command(Cluster("/k", "west"), "get") == ["kubectl", "--kubeconfig=/k", "--context=west", "get"]
    assert kubectl.command(Cluster(), "get") == ["kubectl", "get"]


def test_command_expands_the_home_folder_and_starts_at_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert "--kubeconfig=/home/me/.kube/staging.yaml" in kubectl.command(Cluster("~/.kube/staging.yaml"))
    assert f"--kubeconfig={kubectl.PROJECT_FOLDER}/k.yaml" in kubectl.command(Cluster("k.yaml"))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo a >&2; echo 'error: forbidden' >&2; exit 1", "kubectl get: forbidden"),
        ("exit 1", "kubectl get: failed without a message"),
        ("echo no", "kubectl get pods: the answer is not JSON"),
        ("sleep 5", "kubectl get pods --ignore-not-found: no answer within 0.1 s"),
    ],
)
def test_get_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str) -> None:
    install(tmp_path, monkeypatch, f"#!/bin/sh\n{script}\n")
    monkeypatch.setattr(kubectl, "GRACE_SECONDS", 0.1)
    with pytest.raises(KubectlError) as caught:
        kubectl.get(Cluster(), "pods", limit_seconds=0.1 if "sleep" in script else 5)
    assert said == str(caught.value)


@pytest.mark.parametrize(
    ("script", "want"), [("", []), ("echo '{\"a\": 1}'", [{"a": 1}]), ("echo '{\"items\": [{}]}'", [{}])]
)
def test_items_of_any_answer_are_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, want: list[object]
) -> None:
    install(tmp_path, monkeypatch, f"#!/bin/sh\n{script}\n")
    assert want == kubectl.items(Cluster(), "pods")


def test_run_without_kubectl_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for call in (kubectl.require, lambda: kubectl.run(Cluster(), "get")):
        with pytest.raises(KubectlError, match=r"^kubectl is not on PATH; "):
            call()


def test_run_with_bytes_that_are_no_text_replaces_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "#!/bin/sh\nprintf 'ag\\377ent\\n'\n")
    assert kubectl.run(Cluster(), "logs") == "ag\ufffdent\n"
    with kubectl.start(Cluster(), "exec") as process:
        assert process.stdout
        assert process.stdout.read() == "ag\ufffdent\n"
