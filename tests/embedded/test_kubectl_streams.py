"""`kubectl exec`, `attach`, `run`, `port-forward` and `cp`, by WebSocket and by SPDY, on a running cluster."""

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.terminal import type_into

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
NAMESPACE = "streams-test"
SPDY = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
PORT = 8000
pytestmark = pytest.mark.timeout(180)


def _web(readiness: str) -> dict[str, object]:
    """Return a Deployment whose server listens on the Pod's loopback address only, which port-forward reaches."""
    labels = {"app": "web"}
    server = {
        "name": "web",
        "image": "python:3.12",
        "command": ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", "/srv", str(PORT)],
        "readinessProbe": {"exec": {"command": ["python3", "-c", readiness]}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/srv"}],
    }
    pod = {
        "terminationGracePeriodSeconds": 0,
        "containers": [server],
        "volumes": [{"name": "data", "configMap": {"name": "page"}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


@pytest.fixture(scope="module", autouse=True)
def _objects(kubectl: Kubectl) -> Iterator[None]:
    kubectl("create", "namespace", NAMESPACE)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": PORT}]},
    }
    page = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}, "data": {"index.html": "hello"}}
    readiness = f"import socket; socket.create_connection(('127.0.0.1', {PORT}))"
    items = [page, service, _web(readiness)]
    kubectl("apply", "-n", NAMESPACE, "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    kubectl("rollout", "status", "-n", NAMESPACE, "deploy/web", "--timeout=30s")
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@contextmanager
def forwarded(environment: dict[str, str], target: str, port: int, namespace: str = NAMESPACE) -> Iterator[str]:
    """Forward a free local port and yield its URL."""
    command = ["kubectl", "port-forward", "-n", namespace, "--address=127.0.0.1", target, f":{port}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            found = re.search(r"127\.0\.0\.1:(\d+) ->", line)
            assert found is not None, line
            yield f"http://127.0.0.1:{found[1]}/"
        finally:
            process.terminate()


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def _pod(kubectl: Kubectl) -> str:
    return kubectl("get", "pods", "-n", NAMESPACE, "-l", "app=web", "-o", "name").stdout.strip()


@pytest.mark.parametrize("protocol", [{}, SPDY], ids=["websocket", "spdy"])
@pytest.mark.parametrize(("target", "port"), [("pod", PORT), ("deploy/web", PORT), ("service/web", 80)])
def test_port_forward_carries_each_connection(
    kubectl: Kubectl, cluster_environment: dict[str, str], protocol: dict[str, str], target: str, port: int
) -> None:
    name = _pod(kubectl) if target == "pod" else target
    with forwarded(cluster_environment | protocol, name, port) as url:
        assert [fetch(url) for _ in range(3)] == ["hello"] * 3


def test_port_forward_to_a_closed_port_fails(cluster_environment: dict[str, str]) -> None:
    with (
        forwarded(cluster_environment, "deploy/web", 9) as url,
        pytest.raises((urllib.error.URLError, ConnectionError)),
    ):
        fetch(url)


@pytest.mark.parametrize("protocol", [{}, SPDY], ids=["websocket", "spdy"])
def test_exec_returns_streams_and_exit_code(cluster_environment: dict[str, str], protocol: dict[str, str]) -> None:
    script = "cat; echo bad >&2; exit 3"
    command = ["kubectl", "exec", "-i", "-n", NAMESPACE, "deploy/web", "--", "sh", "-c", script]
    given = "x" * 300_000
    environment = cluster_environment | protocol
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, env=environment, timeout=30, check=False
    )
    assert (3, given, "bad") == (done.returncode, done.stdout, done.stderr.splitlines()[0])


def test_exec_with_a_terminal_passes_ctrl_c(cluster_environment: dict[str, str]) -> None:
    script = "trap 'echo interrupted; exit 7' INT; tty; echo ready; while :; do sleep 0.2; done"
    command = ["kubectl", "exec", "-it", "-n", NAMESPACE, "deploy/web", "--", "sh", "-c", script]
    code, output = type_into(command, [("ready", "\x03")], cluster_environment)
    assert (code, "interrupted" in output, "/dev/" in output) == (7, True, True), output
    command[-1] = "echo ready; exec sleep 60"
    assert type_into(command, [("ready", "\x03")], cluster_environment)[0] == 130


def test_cp_copies_both_ways(kubectl: Kubectl, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(range(256)) * 1000)
    pod = _pod(kubectl).removeprefix("pod/")
    kubectl("cp", str(source), f"{NAMESPACE}/{pod}:/tmp/copy")
    kubectl("cp", f"{NAMESPACE}/{pod}:/tmp/copy", str(back))
    assert source.read_bytes() == back.read_bytes()


def test_run_with_input_returns_output_and_exit_code(kubectl: Kubectl) -> None:
    options = ("--rm", "-i", "--restart=Never", "--image=python:3.12", "-n", NAMESPACE)
    done = kubectl("run", "piped", *options, "--", "sh", given="echo $((40 + 2)); exit 3\n", check=False)
    assert (done.returncode, done.stdout.splitlines()[0]) == (3, "42")


def test_run_with_a_terminal_has_a_shell(cluster_environment: dict[str, str]) -> None:
    options = ("--rm", "-it", "--restart=Never", "--image=python:3.12", "-n", NAMESPACE)
    steps = [("# ", "sleep 60\r"), ("sleep 60", "\x03"), ("# ", "echo $((40 + 2))\r"), ("42", "exit 5\r")]
    code, output = type_into(["kubectl", "run", "typed", *options, "--", "sh"], steps, cluster_environment)
    assert (code, 'pod "typed" deleted' in output) == (5, True), output


def test_attach_shows_output_of_a_running_container(kubectl: Kubectl, cluster_environment: dict[str, str]) -> None:
    script = "while :; do date +%s; sleep 0.1; done"
    kubectl("run", "clock", "-n", NAMESPACE, "--image=python:3.12", "--command", "--", "sh", "-c", script)
    kubectl("wait", "-n", NAMESPACE, "pod/clock", "--for=condition=Ready", "--timeout=30s")
    command = ["kubectl", "attach", "-n", NAMESPACE, "clock"]
    with subprocess.Popen(command, env=cluster_environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.terminate()
    assert all(line.strip().isdigit() for line in lines), lines
