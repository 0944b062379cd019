"""Errors of the machine are one line of the command `lab`, never a traceback."""

import errno
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from embedded import cluster
from embedded.errors import ClusterError, os_errors_as_cluster_errors


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
def test_unusable_state_folder_is_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").touch()
    argv = [sys.executable, "-m", "waypoint_lab.cli.main", "--state", str(tmp_path / "file"), command]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    if command != "status":  # a cluster that was never started there does not run
        assert done.stderr.startswith(f"lab {command}: ")
        assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_full_disk_is_named_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "check_namespaces", lambda: None)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5 * 2**20))
    with pytest.raises(ClusterError, match=r"5 MiB of disk are free; free 256 MiB$"):
        cluster.up(tmp_path / "state", 0, 0, lambda _: None)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["lock"]
