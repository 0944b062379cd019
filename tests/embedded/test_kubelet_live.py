"""The kubelet, through kubectl on a running cluster."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded import cluster, groups
from embedded.node import dns

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
NAMESPACE = "kubelet-test"
WAIT_SECONDS = 60.0
pytestmark = pytest.mark.timeout(480)


@pytest.fixture(scope="module", autouse=True)
def pods(kubectl: Kubectl) -> Iterator[None]:
    """The Pods of kubelet_pods.yaml."""
    kubectl("apply", "-f", str(Path(__file__).with_name("kubelet_pods.yaml")))
    until("the Pod all is ready", lambda: "true true" in ready(kubectl, "all"))
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def until(what: str, question: Callable[[], Any], seconds: float = WAIT_SECONDS) -> None:
    """Waits until `question` is answered with something true."""
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain until {what}"
        time.sleep(0.1)


def pod(kubectl: Kubectl, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", "pod", "-n", NAMESPACE, name, "-o", "json").stdout)
    return found


def ready(kubectl: Kubectl, name: str) -> str:
    got = kubectl("get", "pod", "-n", NAMESPACE, name, "-o", "jsonpath={.status.containerStatuses[*].ready}")
    return got.stdout


def container(kubectl: Kubectl, name: str, which: str) -> dict[str, Any]:
    return next(each for each in pod(kubectl, name)["status"]["containerStatuses"] if each["name"] == which)


def inside(kubectl: Kubectl, name: str, which: str, script: str, **options: Any) -> Any:
    return kubectl("exec", "-i", "-n", NAMESPACE, name, "-c", which, "--", "sh", "-c", script, **options)


def servers(state: Path) -> list[int]:
    """The servers of this cluster's Pod `all`, by this machine's process ids: its volume shows whose they are."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            mounts = Path(f"/proc/{name}/mountinfo").read_text()
        except OSError:
            continue
        if line.strip().endswith("http.server 8000") and re.search(rf"{state.name}/\S+/shared /shared ", mounts):
            found.append(int(name))
    return found


def test_init_containers_run_in_order_before_the_others(kubectl: Kubectl) -> None:
    assert inside(kubectl, "all", "main", "pwd; cat order").stdout == "/shared\none\ntwo\n"


def test_container_has_its_environment_and_volumes(kubectl: Kubectl) -> None:
    got = inside(kubectl, "all", "main", "echo $PORT $POD $PW; cd /opt/brand/new; cat password d/labels; test -s token")
    assert got.stdout == '8000 all s3cret\ns3cretapp="all"'


def test_container_cannot_write_read_only_mounts_and_machine_folders(kubectl: Kubectl) -> None:
    for path in ("/opt/brand/new/x", "/usr/x", str(Path(dns.__file__).with_name("x"))):
        got = inside(kubectl, "all", "main", f"touch {path}", check=False)
        assert (got.returncode, "Read-only file system" in got.stderr) == (1, True), path


def test_container_cannot_write_a_config_map(kubectl: Kubectl) -> None:
    got = inside(kubectl, "all", "side", "touch /etc/my/cm/x", check=False)
    assert (got.returncode, "Read-only file system" in got.stderr) == (1, True), got.stderr


def test_container_with_a_read_only_root_writes_its_volumes_only(kubectl: Kubectl) -> None:
    until("the Pod sealed is ready", lambda: ready(kubectl, "sealed") == "true true")
    script = "for at in / /etc /run /tmp /data /dev/shm; do touch $at/x && echo $at; done; true"
    assert inside(kubectl, "sealed", "c", script).stdout.split() == ["/data", "/dev/shm"]
    assert "Read-only file system" in inside(kubectl, "sealed", "c", "touch /tmp/x", check=False).stderr
    assert inside(kubectl, "sealed", "tmp", "touch /tmp/y; ls /tmp/x /tmp/y").stdout.split() == ["/tmp/x", "/tmp/y"]


def test_container_has_the_groups_of_its_pod_and_so_have_its_volumes(kubectl: Kubectl) -> None:
    if not groups.available():
        pytest.skip("this user has no other groups: the API server refuses the Pod, see test_groups_refused.py")
    until("the Pod groups is ready", lambda: ready(kubectl, "groups") == "true true")
    script = "id -G; touch /data/x /inner/x; stat -Lc '%g %a' /data /inner /data/x /pro/password /pro/greeting"
    expected = ["2000 3000 4000", "3000 2777", "3000 2777", "3000 644", "3000 440", "3000 440"]
    assert expected == inside(kubectl, "groups", "c", script).stdout.splitlines()
    assert inside(kubectl, "groups", "c", "cat /pro/password").stdout == "s3cret"
    assert inside(kubectl, "groups", "root", "id -u; id -G").stdout.splitlines() == ["0", "0 3000 4000"]


def test_container_secrets_of_the_cluster_are_hidden(kubectl: Kubectl, cluster_state: Path) -> None:
    assert (cluster_state / "pki" / "token").exists()
    got = inside(kubectl, "all", "main", f"ls {cluster_state}; ls {Path.home() / '.ssh'}", check=False)
    assert got.stdout == ""
    assert inside(kubectl, "all", "main", "mount -o remount,rw,bind /usr", check=False).returncode != 0


def test_container_environment_over_a_megabyte_is_accepted(kubectl: Kubectl) -> None:
    maps = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"big-{which}", "namespace": NAMESPACE},
            "data": {f"{which}{number}": "x" * 60_000 for number in range(10)},
        }
        for which in "ab"
    ]
    main = {
        "name": "c",
        "image": "python:3.11",
        "command": ["sh", "-c", "echo ${#a0} ${#b9}; sleep 600"],
        "envFrom": [{"configMapRef": {"name": f"big-{which}"}} for which in "ab"],
    }
    spec = {"terminationGracePeriodSeconds": 0, "containers": [main]}
    big = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "big", "namespace": NAMESPACE}, "spec": spec}
    before = container(kubectl, "all", "main")["restartCount"]
    items = [*maps, big]
    kubectl("create", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    until("it runs", lambda: ready(kubectl, "big") == "true")
    until("it has both maps", lambda: log(kubectl, "big", "c") == "60000 60000\n")
    assert container(kubectl, "all", "main")["restartCount"] == before


def test_ephemeral_container_is_refused_at_once(kubectl: Kubectl) -> None:
    done = kubectl("debug", "-n", NAMESPACE, "all", "--image=python:3.11", "--", "true", check=False)
    assert (done.returncode, "take no ephemeral containers; use kubectl exec" in done.stderr) == (1, True), done.stderr


def test_service_account_has_the_namespace_of_the_pod(kubectl: Kubectl) -> None:
    script = "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace"
    assert inside(kubectl, "all", "main", script).stdout == NAMESPACE


def test_config_map_change_reaches_the_container(kubectl: Kubectl) -> None:
    kubectl("patch", "configmap", "-n", NAMESPACE, "cm", "-p", '{"data":{"greeting":"changed"}}')
    until("the container prints it", lambda: "changed" in log(kubectl, "all", "side", "--tail=1"))


def log(kubectl: Kubectl, name: str, which: str, *options: str) -> str:
    return kubectl("logs", "-n", NAMESPACE, name, "-c", which, *options).stdout


def test_exec_returns_streams_and_exit_code(kubectl: Kubectl) -> None:
    got = inside(kubectl, "all", "main", "cat; echo bad >&2; exit 3", given="x" * 300_000, check=False)
    assert (got.returncode, len(got.stdout)) == (3, 300_000)
    assert got.stderr.splitlines()[0] == "bad"
    missing = kubectl("exec", "-n", NAMESPACE, "all", "-c", "main", "--", "nosuch", check=False)
    assert missing.returncode == 127
    assert '"nosuch": No such file or directory' in missing.stderr


def test_exec_with_a_terminal_has_a_terminal(kubectl: Kubectl, cluster_environment: dict[str, str]) -> None:
    command = [
        "kubectl",
        "exec",
        "-it",
        "-n",
        NAMESPACE,
        "all",
        "-c",
        "main",
        "--",
        "sh",
        "-c",
        "tty; stty size; exit 5",
    ]
    code = """import os, pty, sys
status = pty.spawn(sys.argv[1:])
sys.exit(os.waitstatus_to_exitcode(status))"""
    got = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        env=cluster_environment,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    assert got.returncode == 5, got.stdout + got.stderr
    assert "/dev/" in got.stdout


def test_logs_follow_until_the_end_with_timestamps(kubectl: Kubectl) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z \w+\n", log(kubectl, "all", "side", "--tail=1", "--timestamps"))
    assert log(kubectl, "all", "side", "--since=1s").count("\n") <= 7
    job = kubectl("logs", "-n", NAMESPACE, "job/once", "-f")
    assert job.stdout == "done\n"


def test_job_completes(kubectl: Kubectl) -> None:
    kubectl("wait", "-n", NAMESPACE, "job/once", "--for=condition=Complete", "--timeout=60s")


def test_containers_that_end_at_once_do_not_fail_others(kubectl: Kubectl) -> None:
    shell = {"name": "c", "image": "python:3.11", "command": ["sh", "-c", "echo done"]}
    spec = {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [shell]}}}
    meta = [{"name": f"short-{number}", "namespace": NAMESPACE, "labels": {"short": "yes"}} for number in range(20)]
    jobs = [{"apiVersion": "batch/v1", "kind": "Job", "metadata": item, "spec": spec} for item in meta]
    kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": jobs}))

    def ended() -> list[dict[str, int]]:
        listed = json.loads(kubectl("get", "jobs", "-n", NAMESPACE, "-l", "short=yes", "-o", "json").stdout)["items"]
        return [job["status"] for job in listed if job["status"].get("succeeded") or job["status"].get("failed")]

    until("all have ended", lambda: len(ended()) == len(jobs), 60)
    assert [status.get("failed", 0) for status in ended()] == [0] * len(jobs)


def test_crashing_container_backs_off_and_keeps_its_previous_log(kubectl: Kubectl) -> None:
    def waiting() -> bool:
        state: str = container(kubectl, "crash", "c")["state"].get("waiting", {}).get("reason", "")
        return state == "CrashLoopBackOff"

    until("it backs off", waiting)
    assert container(kubectl, "crash", "c")["lastState"]["terminated"]["exitCode"] == 4
    assert kubectl("logs", "-n", NAMESPACE, "crash", "--previous").stdout == "bye\n"


def test_unknown_image_has_an_event_and_a_reason(kubectl: Kubectl) -> None:
    reasons = ("ErrImagePull", "ImagePullBackOff")
    until("it waits", lambda: container(kubectl, "unknown", "c")["state"]["waiting"]["reason"] in reasons)
    selector = "involvedObject.name=unknown,reason=Failed"
    until(
        "the Event is there",
        lambda: "ghcr.io/no/such:1" in kubectl("get", "events", "-n", NAMESPACE, "--field-selector", selector).stdout,
    )


def test_container_waits_for_config_map_and_ends_after_grace_period(kubectl: Kubectl) -> None:
    until(
        "it waits",
        lambda: container(kubectl, "waits", "c")["state"]["waiting"]["reason"] == "CreateContainerConfigError",
    )
    kubectl("create", "configmap", "-n", NAMESPACE, "later", "--from-literal=a=b")
    until("it runs", lambda: ready(kubectl, "waits") == "true")
    started = time.monotonic()
    kubectl("delete", "pod", "-n", NAMESPACE, "waits")
    assert 1.0 <= time.monotonic() - started < 25.0


def test_container_with_failing_probe_is_restarted(kubectl: Kubectl) -> None:
    before = container(kubectl, "all", "side")["restartCount"]
    inside(kubectl, "all", "side", "touch /tmp/bad")
    until("it is restarted", lambda: container(kubectl, "all", "side")["restartCount"] > before)
    until("it is well again", lambda: ready(kubectl, "all") == "true true")


def test_container_that_ignores_sigterm_is_killed_after_the_grace_period_of_its_probe(kubectl: Kubectl) -> None:
    until("it is restarted", lambda: container(kubectl, "stubborn", "c")["restartCount"] > 0)


def test_volume_is_mounted_below_the_path_of_an_expression(kubectl: Kubectl) -> None:
    until("the container runs", lambda: container(kubectl, "stubborn", "whole")["ready"])
    assert inside(kubectl, "stubborn", "whole", "cat /data/of/stubborn/file").stdout == "stubborn\n"


def test_container_that_never_restarts_has_its_termination_message(kubectl: Kubectl) -> None:
    def ends() -> dict[str, tuple[int, str]]:
        rows = [
            (one["name"], one["state"].get("terminated")) for one in pod(kubectl, "said")["status"]["containerStatuses"]
        ]
        return {name: (end["exitCode"], end.get("message", "")) for name, end in rows if end}

    until("all have ended", lambda: len(ends()) == 3)
    assert ends() == {"usual": (0, "usual"), "own": (0, "own"), "logged": (3, "logged\n")}


def test_deployment_scales_and_replaces_a_deleted_pod(kubectl: Kubectl) -> None:
    kubectl("scale", "-n", NAMESPACE, "deploy/web", "--replicas=3")
    kubectl("rollout", "status", "-n", NAMESPACE, "deploy/web", "--timeout=60s")
    names = kubectl("get", "pods", "-n", NAMESPACE, "-l", "app=web", "-o", "name").stdout.split()
    assert len(names) == 3
    kubectl("delete", "-n", NAMESPACE, names[0])
    kubectl("scale", "-n", NAMESPACE, "deploy/web", "--replicas=1")
    listing = ("get", "pods", "-n", NAMESPACE, "-l", "app=web", "-o", "name")
    until("two are gone", lambda: len(kubectl(*listing).stdout.split()) == 1)


def test_container_whose_process_is_killed_is_restarted(kubectl: Kubectl, cluster_state: Path) -> None:
    before = container(kubectl, "all", "main")["restartCount"]
    (victim,) = servers(cluster_state)
    os.kill(victim, signal.SIGKILL)
    until("it is restarted", lambda: container(kubectl, "all", "main")["restartCount"] == before + 1)
    until("it is ready", lambda: ready(kubectl, "all") == "true true")


def test_node_agent_killed_restarts_each_pod_once(kubectl: Kubectl, cluster_state: Path) -> None:
    old = servers(cluster_state)
    (agent,) = [one.pid for one in cluster.status(cluster_state).components if one.name == "node-agent"]
    before = container(kubectl, "all", "main")["restartCount"]
    os.kill(agent, signal.SIGKILL)
    until("its Pods are restarted", lambda: container(kubectl, "all", "main")["restartCount"] > before, 90)
    until("they are ready", lambda: ready(kubectl, "all") == "true true", 90)
    new = servers(cluster_state)
    assert len(new) == 1
    assert not set(old) & set(new)

    def rest_ready() -> bool:  # Pods that are meant to fail never are
        return all(one.ready for one in cluster.status(cluster_state).components if one.name != "pods")

    until("every other part is ready", rest_ready, 90)
    # What may run only once must not run a second time.
    until("the Pod never has failed", lambda: pod(kubectl, "never")["status"]["phase"] == "Failed")
