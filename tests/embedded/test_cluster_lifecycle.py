"""Start and end of clusters: nothing is left behind, data is kept, and errors name a fix."""

import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from embedded import cluster, health, processes
from embedded.toolchain import build

CLONE = Path(__file__).resolve().parents[2]
READY_SECONDS = 180.0
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def two_free_ports() -> tuple[int, int]:
    """Return two different free ports of 127.0.0.1."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def mentions(state: Path) -> list[str]:
    """Return the command lines of all processes of this machine that name `state`, except pytest's own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            if str(state) in line:
                found.append(line)
    return found


def namespaces(pids: Iterable[int]) -> set[str]:
    """Return every network, mount and process namespace that one of `pids` is in."""
    found = set()
    for pid in pids:
        for kind in ("net", "mnt", "pid"):
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                continue
    return found


def all_pids() -> list[int]:
    """Return every process of this machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def kubectl(state: Path, *args: str) -> str:
    """Return the output of kubectl for the cluster in `state`."""
    environment = {**os.environ, **cluster.environment(state)}
    done = subprocess.run(["kubectl", *args], env=environment, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


@pytest.fixture
def second() -> Iterator[Path]:
    """Return the state folder of a cluster that one test has for itself."""
    with tempfile.TemporaryDirectory(prefix="waypoint-lab-two-") as folder:
        state = Path(folder, "state")
        try:
            yield state
        finally:
            cluster.down(state, lambda _: None)


def uid(state: Path) -> str:
    """Return the UID of the namespace kube-system, which names the data of a cluster."""
    return kubectl(state, "get", "ns", "kube-system", "-o", "jsonpath={.metadata.uid}")


class Trace:
    """Processes, mounts and files of a cluster, which must be gone after its end."""

    def __init__(self, state: Path) -> None:
        """Remember the processes and namespaces of the cluster in `state`."""
        self._state = state
        self._pids = processes.descendants(health.watchdog(state))
        self._namespaces = namespaces(self._pids) - namespaces([os.getpid()])
        assert len(self._namespaces) >= 3
        self._mounts = Path("/proc/self/mountinfo").read_text()
        self._taken = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")

    def assert_nothing_left(self, seconds: float) -> None:
        """Check that no process, namespace, mount or listening port of the cluster is left after `seconds`."""
        assert processes.wait_until_gone(self._pids, seconds) == []
        assert mentions(self._state) == []
        # The kernel gives a namespace's number out again, so only processes older than the end count.
        older = (pid for pid in all_pids() if 0 < processes.start_time(pid) < self._taken)
        assert namespaces(older) & self._namespaces == set()
        assert Path("/proc/self/mountinfo").read_text() == self._mounts
        for port in cluster.ports(self._state):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=2)


def wait_until_ready(state: Path) -> None:
    """Wait until a cluster is ready, READY_SECONDS at most."""
    limit = time.monotonic() + READY_SECONDS
    while not (now := cluster.status(state)).ready:
        assert time.monotonic() < limit, [one for one in now.components if not one.ready]
        time.sleep(0.5)


def test_second_cluster_is_independent_and_leaves_nothing(
    cluster_state: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "grpc_proxy"):  # without a listener
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    api, http = two_free_ports()
    cluster.up(second, api, http, print)
    for state in (cluster_state, second):
        wait_until_ready(state)
    before, trace = uid(second), Trace(second)
    assert uid(cluster_state) != before
    (supervisor,) = (one.pid for one in cluster.status(second).components if one.name == "supervisor")
    parent = int(Path(f"/proc/{supervisor}/stat").read_text().rsplit(")", 1)[1].split()[1])
    assert health.watchdog(second) == parent
    os.kill(parent, signal.SIGKILL)
    trace.assert_nothing_left(10)
    assert cluster.status(second) == cluster.ClusterStatus(False, [])
    # After another boot, these files have process ids of other processes, here of the test.
    for name in ("watchdog", "supervisor"):
        (second / "run" / name).write_text(f"{os.getpid()}:1")
    cluster.up(second, api, http, print)
    assert uid(second) == before
    trace = Trace(second)
    cluster.down(second, lambda _: None)
    trace.assert_nothing_left(0)
    wait_until_ready(cluster_state)


@pytest.mark.soak  # a cluster of its own
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system that fills up")
def test_full_disk_does_not_end_the_cluster(second: Path) -> None:
    second.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(second)], check=True)
    try:
        cluster.up(second, *two_free_ports(), print)
        top = processes.descendants(health.watchdog(second))[:2]
        with (second / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
            filler.writelines(itertools.repeat(bytes(1 << 20)))
        limit = time.monotonic() + 3 * health.STATUS_FILE_SECONDS
        while cluster.status(second).ready:
            assert time.monotonic() < limit, "the status file is still written"
            time.sleep(0.2)
        (second / "filler").unlink()
        wait_until_ready(second)
        assert processes.descendants(health.watchdog(second))[:2] == top
    finally:
        cluster.down(second, lambda _: None)
        subprocess.run(["umount", str(second)], check=True)


def test_up_interrupted_leaves_nothing(second: Path) -> None:
    api, http = two_free_ports()
    argv = [
        sys.executable,
        "-m",
        "waypoint_lab.cli.main",
        "--state",
        str(second),
        "up",
        f"--api-port={api}",
        f"--http-port={http}",
    ]
    with subprocess.Popen(argv, cwd=CLONE, stderr=subprocess.PIPE, text=True) as starting:
        limit = time.monotonic() + 60
        while not (second / "run" / "supervisor").exists():
            assert time.monotonic() < limit, "the supervisor was not started"
            time.sleep(0.05)
        time.sleep(1)
        refused = subprocess.run(
            [*argv[:5], "down"], cwd=CLONE, capture_output=True, text=True, check=False, timeout=30
        )
        assert refused.stderr == "lab down: another `lab up` or `lab down` of this project is running; wait for it\n"
        starting.send_signal(signal.SIGINT)
        said = starting.communicate(timeout=120)[1]
    assert starting.returncode == 130
    assert said.splitlines()[-1] == "lab up: interrupted"
    assert mentions(second) == []
    assert not cluster.status(second).ready


def test_up_with_a_damaged_store_names_it_and_a_fix(second: Path) -> None:
    (second / "etcd" / "member" / "snap").mkdir(mode=0o700, parents=True)
    (second / "etcd" / "member" / "wal").mkdir(mode=0o700)
    (second / "etcd" / "member" / "snap" / "db").write_bytes(b"no database" * 4096)
    api, http = two_free_ports()
    with pytest.raises(cluster.ClusterError, match=r"etcd cannot read its data .*`rm -r .*` starts an empty"):
        cluster.up(second, api, http, print)
    assert mentions(second) == []


def test_up_without_namespaces_names_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = tmp_path / "bin" / "unshare"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\necho 'unshare: unshare failed: Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
    with pytest.raises(cluster.ClusterError, match=r"refuses the namespaces .*Operation not permitted") as error:
        cluster.up(tmp_path / "state", 0, 0, lambda _: None)
    assert "\n" not in str(error.value)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["lock"]


# A home folder that only root may enter would hide the interpreter and the toolchain from the user nobody, so its
# entries are shown again under a folder that all may enter, in a mount namespace of the test's own.
AS_NOBODY = """
set -e
home=$1; shift
kept=$(mktemp -d)
mount --bind "$home" "$kept"
mount -t tmpfs -o mode=755 tmpfs "$home"
for entry in "$kept"/.[!.]* "$kept"/*; do
  [ -d "$entry" ] || continue
  mkdir "$home/${entry##*/}"
  mount --bind "$entry" "$home/${entry##*/}"
done
umount "$kept"
rmdir "$kept"
exec setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="without root every other test here is this one")
def test_up_without_root_starts_the_same_cluster(second: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    second.parent.chmod(0o755)
    second.mkdir(mode=0o700)
    shutil.chown(second, nobody.pw_uid, nobody.pw_gid)
    api, http = two_free_ports()
    environment = {**os.environ, "HOME": str(second), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["WAYPOINT_LAB_CACHE"] = str(build.cache_dir())
    environment["WAYPOINT_LAB_STATE"] = str(second)

    def lab(*args: str) -> "subprocess.CompletedProcess[str]":
        argv = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            AS_NOBODY,
            "sh",
            str(Path.home()),
            sys.executable,
            "-m",
            "waypoint_lab.cli.main",
        ]
        return subprocess.run(
            [*argv, *args], env=environment, cwd=CLONE, capture_output=True, text=True, check=False, timeout=120
        )

    started = lab("up", f"--api-port={api}", f"--http-port={http}")
    assert started.returncode == 0, started.stderr
    owner = Path(f"/proc/{processes.read_living(second / 'run' / 'supervisor')}").stat().st_uid
    assert owner == nobody.pw_uid
    asked = lab("status", "--json")
    assert json.loads(asked.stdout)["ready"], asked.stdout
    command = ("exec", "deploy/productpage-v1", "-n", "bookinfo-frontends", "--", "id", "-u")
    assert kubectl(second, *command).strip().isdigit()
    ended = lab("down")
    assert ended.returncode == 0, ended.stderr
    assert mentions(second) == []
