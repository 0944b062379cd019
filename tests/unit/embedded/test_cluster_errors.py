"""Errors of the machine are one line of the command `lab`, never a traceback."""

import errno
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from embedded import cluster, processes
from embedded.errors import ClusterError, NotReadyError, os_errors_as_cluster_errors
from waypoint_lab.cli import main


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.EACCES, "check who owns it"),
        (errno.EROFS, "choose folders that can be written"),
        (errno.ENOSPC, "free some disk space"),
    ],
)
def test_error_of_the_machine_names_the_file_and_a_fix(number: int, fix: str) -> None:
    with pytest.raises(ClusterError, match=f"^/some/file: .*; {fix}"), os_errors_as_cluster_errors(Path("/state")):
        raise OSError(number, "reason", "/some/file")


@pytest.mark.parametrize("command", ["up", "down", "status", "env"])
def test_unusable_state_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    (tmp_path / "file").touch()
    assert main.main(["--state", str(tmp_path / "file"), command]) == 1
    if command != "status":  # a cluster that was never started there does not run
        said = capsys.readouterr().err
        assert said.startswith(f"lab {command}: ")
        assert said.count("\n") == 1


def test_full_disk_is_named_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "check_namespaces", lambda: None)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5 * 2**20))
    with pytest.raises(ClusterError, match=r"5 MiB of disk are free; free 256 MiB$"):
        cluster.up(tmp_path / "state", 0, 0, lambda _: None)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("failure", "stopped"), [(NotReadyError("a Pod"), False), (ClusterError("etcd"), True), (KeyboardInterrupt(), True)]
)
def test_cluster_that_its_user_can_repair_keeps_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, stopped: bool
) -> None:
    ended = []

    async def wait(*_: object) -> None:
        raise failure

    monkeypatch.setattr(cluster, "_start", lambda *_: None)
    monkeypatch.setattr(cluster, "wait_until_ready", wait)
    monkeypatch.setattr(cluster, "_stop", ended.append)
    with pytest.raises(type(failure)):
        cluster.up(tmp_path, progress=lambda _: None)
    assert ended == [tmp_path] * stopped


def test_interrupted_start_of_the_watchdog_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "600"]) as watchdog:

        def start(*_: object) -> None:
            processes.write_identity(tmp_path / "run" / "watchdog", watchdog.pid)
            raise KeyboardInterrupt

        monkeypatch.setattr(cluster, "_start", start)
        try:
            with pytest.raises(KeyboardInterrupt):
                cluster.up(tmp_path, progress=lambda _: None)
            assert processes.start_time(watchdog.pid) == 0
        finally:
            watchdog.kill()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the state of a cluster that runs and is ready."""
    (tmp_path / "cluster.json").write_text(json.dumps({"api_port": 6443, "http_port": 8080, "isolated": False}))
    monkeypatch.setattr(cluster, "watchdog", lambda _: 7)
    monkeypatch.setattr(cluster, "authorities_valid", lambda _: True)
    monkeypatch.setattr(cluster, "status", lambda _: cluster.ClusterStatus(True, []))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"isolated": True}, "--isolated"),
        ({"api_port": 1}, "--api-port 1"),
        ({"http_port": 2, "isolated": True}, "--http-port 2 and --isolated"),
    ],
)
def test_up_with_other_settings_than_the_cluster_runs_with_is_refused(
    running: Path, given: dict[str, int], expected: str
) -> None:
    with pytest.raises(ClusterError, match=f"^the cluster runs without {expected}; run `lab down` first$"):
        cluster.up(running, progress=lambda _: None, **given)


@pytest.mark.parametrize("given", [(None, None), (6443, 8080)])
def test_up_with_the_settings_that_the_cluster_runs_with_changes_nothing(
    running: Path, given: tuple[int | None, int | None]
) -> None:
    said: list[str] = []
    cluster.up(running, *given, said.append)
    assert said == ["cluster: already running"]


def test_up_with_an_authority_that_is_not_valid_names_the_commands_that_make_a_new_one(
    running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "authorities_valid", lambda _: False)
    with pytest.raises(ClusterError, match=f"^{running}/pki: an authority is .*; run `lab down` and `lab up`$"):
        cluster.up(running, progress=lambda _: None)
