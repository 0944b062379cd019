"""The running cluster heals, keeps its data and its secrets, and listens on 127.0.0.1 only."""

import asyncio
import json
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from embedded import cluster, health, processes
from embedded.kube import ApiError
from embedded.supervisor import load_balancer

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
HEAL_SECONDS = 120.0
GIB = 2**30
pytestmark = pytest.mark.timeout(360)
# Part of each process's command line.
PROCESSES = {
    "etcd": "/bin/etcd --data-dir",
    "API server": "/bin/kube-apiserver ",
    "controller manager": "/bin/kube-controller-manager ",
    "scheduler": "/bin/kube-scheduler ",
    "istiod": "/bin/istiod discovery",
    "node agent": "embedded.node --bin",
    "node proxy": "/node/node-proxy/envoy.json",
    "pilot-agent of the ingress": "pilot-agent proxy router",
    "Envoy of the ingress": "envoy-rev.json",
    "a Pod's own process": "embedded.bookinfo reviews --version v1",
    "supervisor": " -m embedded.supervisor.supervisor ",
}


def everyone(state: Path) -> dict[int, str]:
    """Return the command line of every process of the cluster by its id outside."""
    found: dict[int, str] = {}
    for pid in processes.descendants(health.watchdog(state)):
        with suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return found


def pid_of(state: Path, name: str) -> int:
    """Return the oldest process whose command line holds PROCESSES[name]; children of a fork have the same line."""
    found = [pid for pid, line in everyone(state).items() if PROCESSES[name] in line]
    assert found, f"no process of the cluster is {name}"
    return min(found, key=lambda pid: (processes.start_time(pid), pid))


def kill(state: Path, name: str) -> int:
    """Kill a process of PROCESSES, and return its start time once it has ended. Its id may be used again."""
    pid = pid_of(state, name)
    started = processes.start_time(pid)
    os.kill(pid, signal.SIGKILL)
    assert processes.wait_until_gone([pid], 60) == []
    return started


def wait_until_ready(state: Path, since: float, process: str = "", after: int = 0) -> None:
    """Wait until the cluster is ready, HEAL_SECONDS at most.

    Args:
        state: The cluster's state folder.
        since: The moment that the wait began.
        process: A name of PROCESSES, whose process must run; empty means any.
        after: Start time of the process that it replaces.
    """
    waits = "nothing"
    while time.monotonic() - since < HEAL_SECONDS:
        now = cluster.status(state)
        found = [pid for pid, line in everyone(state).items() if PROCESSES.get(process, "") in line]
        back = any(processes.start_time(pid) > after for pid in found)
        if now.ready and back:
            return
        waits = "; ".join(f"{one.name}: {one.detail}" for one in now.components if not one.ready)
        waits += "" if back else f"; {process} has not started again"
        time.sleep(0.3)
    raise AssertionError(f"not ready {HEAL_SECONDS:g} s after the kill; waiting for {waits}")


@pytest.mark.parametrize("process", PROCESSES)
def test_killed_process_restarts_without_data_loss(cluster_state: Path, kubectl: Kubectl, process: str) -> None:
    name = "kept-" + "".join(letter for letter in process.lower() if letter.isalpha())
    kubectl("create", "configmap", name, "-n", "default")
    since = time.monotonic()
    wait_until_ready(cluster_state, since, process, kill(cluster_state, process))
    kubectl("delete", "configmap", name, "-n", "default")


def test_status_has_the_process_ids_of_this_machine(cluster_state: Path) -> None:
    wait_until_ready(cluster_state, time.monotonic())
    found = {component.name: component.pid for component in cluster.status(cluster_state).components}
    for name, process in (("etcd", "etcd"), ("istiod", "istiod"), ("supervisor", "supervisor")):
        assert pid_of(cluster_state, process) == found[name]


def test_node_agent_forks_without_the_handlers_of_grpc(cluster_state: Path) -> None:
    agent = pid_of(cluster_state, "node agent")
    assert b"GRPC_ENABLE_FORK_SUPPORT=0" in Path(f"/proc/{agent}/environ").read_bytes().split(b"\0")


def test_status_reports_a_killed_process_at_once(cluster_state: Path) -> None:
    wait_until_ready(cluster_state, time.monotonic())
    since = time.monotonic()
    killed = kill(cluster_state, "scheduler")
    assert not cluster.status(cluster_state).ready
    wait_until_ready(cluster_state, since, "scheduler", killed)


def test_second_up_changes_nothing(cluster_state: Path) -> None:
    known = json.loads((cluster_state / "cluster.json").read_text())
    before, said = everyone(cluster_state), list[str]()
    cluster.up(cluster_state, known["api_port"], known["http_port"], said.append)
    assert said == ["cluster: already running"]
    for process in ("etcd", "API server", "istiod", "supervisor", "node agent"):
        assert pid_of(cluster_state, process) in before


def test_up_beside_another_command_is_refused(cluster_state: Path) -> None:
    with cluster._locked(cluster_state), pytest.raises(cluster.ClusterError, match="another `lab up` or `lab down`"):
        cluster.up(cluster_state, progress=lambda _: None)


def test_up_with_a_used_port_names_it_and_starts_nothing(cluster_state: Path, tmp_path: Path) -> None:
    taken = json.loads((cluster_state / "cluster.json").read_text())["api_port"]
    with pytest.raises(cluster.ClusterError, match=f"127.0.0.1:{taken}") as error:
        cluster.up(tmp_path / "other", taken, 0, lambda _: None)
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["lock"]


def test_cluster_listens_on_loopback_only(cluster_state: Path) -> None:
    mine = {os.readlink(f"/proc/{pid}/fd/{fd}") for pid, fd in _descriptors(cluster_state)}
    listening = []
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if (fields[3] == "0A" or table.startswith("udp")) and f"socket:[{fields[9]}]" in mine:
                address, _, port = fields[1].partition(":")
                listening.append((socket.inet_ntoa(int(address, 16).to_bytes(4, "little")), int(port, 16)))
    known = json.loads((cluster_state / "cluster.json").read_text())
    balanced = {each for each in listening if each[0].startswith(load_balancer.network(cluster_state))}
    assert balanced, "the ingress gateway has an address of its own"
    expected = {("127.0.0.1", known["api_port"]), ("127.0.0.1", known["http_port"])}
    assert set(listening) - balanced == expected


def _descriptors(state: Path) -> list[tuple[int, str]]:
    found = []
    for pid in everyone(state):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                os.readlink(f"/proc/{pid}/fd/{fd}")
                found.append((pid, fd))
        except OSError:
            continue
    return found


def test_secrets_are_readable_by_their_owner_only(cluster_state: Path) -> None:
    assert stat.S_IMODE((cluster_state / "pki").stat().st_mode) == 0o700
    for name in ("kubeconfig", "passphrase", "pki/token", "pki/tokens.csv", "pki/ca.key", "pki/inner.kubeconfig"):
        assert stat.S_IMODE((cluster_state / name).stat().st_mode) == 0o600, name


def test_api_server_without_a_token_refuses(cluster_state: Path) -> None:
    port = json.loads((cluster_state / "cluster.json").read_text())["api_port"]
    context = ssl.create_default_context(cafile=str(cluster_state / "pki" / "ca.crt"))
    with pytest.raises(urllib.error.HTTPError, match="403") as error:
        urllib.request.urlopen(f"https://127.0.0.1:{port}/api/v1/secrets", context=context, timeout=5)
    error.value.close()


def test_environment_reaches_the_cluster_and_a_private_backend(
    cluster_environment: dict[str, str], cluster_state: Path, kubectl: Kubectl
) -> None:
    assert kubectl("config", "current-context").stdout.strip() == "waypoint-lab"
    assert cluster_environment["PULUMI_BACKEND_URL"] == f"file://{cluster_state / 'pulumi'}"
    assert kubectl("get", "node", "-o", "name").stdout.split() == ["node/waypoint-lab"]


def test_environment_prefers_the_users_official_plugins(
    cluster_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("4.9.0", "4.32.0"):
        folder = tmp_path / "plugins" / f"resource-kubernetes-v{version}"
        folder.mkdir(parents=True)
        (folder / "pulumi-resource-kubernetes").touch(mode=0o755)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    path = cluster.environment(cluster_state)["PATH"]
    newest = tmp_path / "plugins" / "resource-kubernetes-v4.32.0" / "pulumi-resource-kubernetes"
    assert shutil.which("pulumi-resource-kubernetes", path=path) == str(newest)


def test_memory_is_at_most_one_and_a_half_gib(cluster_state: Path) -> None:
    assert 0.3 * GIB < cluster.memory(cluster_state) <= 1.5 * GIB


def test_pod_in_another_namespace_does_not_make_the_cluster_unready(cluster_state: Path, kubectl: Kubectl) -> None:
    kubectl("run", "unknown", "-n", "default", "--image=example.invalid/none:1")
    try:
        wait_until_ready(cluster_state, time.monotonic())
    finally:
        kubectl("delete", "pod", "unknown", "-n", "default", "--wait=false")


def test_missing_pod_of_the_lab_makes_the_cluster_unready(cluster_state: Path, kubectl: Kubectl) -> None:
    async def ask() -> cluster.ComponentStatus:
        async with health.connect(cluster_state) as kube:
            return await health.lab_pods(kube)

    wait_until_ready(cluster_state, time.monotonic())
    kubectl("set", "image", "deploy/ratings-v1", "*=example.invalid/none:1", "-n", "bookinfo-backends")
    try:
        limit = time.monotonic() + 20
        while (pods := asyncio.run(ask())).ready:
            assert time.monotonic() < limit, "an image that does not exist was never noticed"
            time.sleep(0.2)
        assert "ratings-v1" in pods.detail
    except (ApiError, aiohttp.ClientError) as error:
        pytest.fail(f"the API server does not answer: {error}")
    finally:
        kubectl("rollout", "undo", "deploy/ratings-v1", "-n", "bookinfo-backends")
    wait_until_ready(cluster_state, time.monotonic())
