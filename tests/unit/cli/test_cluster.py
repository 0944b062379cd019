"""`lab up` and `lab status`: the commands that they name use the same state folder."""

from pathlib import Path

import pytest

from embedded import cluster
from waypoint_lab.cli import main


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a state folder; starting its cluster does nothing."""
    monkeypatch.setattr("sys.argv", [".venv/bin/lab"])
    monkeypatch.setattr(cluster, "up", lambda *_arguments, **_options: None)
    monkeypatch.setattr(cluster, "ports", lambda _state: (6443, 8080))
    return tmp_path / "own state"


@pytest.mark.parametrize("given", [True, False])
def test_up_names_the_environment_of_its_cluster(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: bool
) -> None:
    if not given:
        monkeypatch.setenv("WAYPOINT_LAB_STATE", str(own))
    assert main.main([*(["--state", str(own)] if given else []), "up"]) == 0
    option = f" --state '{own}'" if given else ""
    assert capsys.readouterr().err.splitlines()[-1] == f'this shell:  eval "$(.venv/bin/lab{option} env)"'


def test_status_names_the_start_of_its_cluster(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--state", str(own), "status"]) == 1
    assert f"start it with `lab --state '{own}' up`" in capsys.readouterr().out
