"""The search for Chromium."""

from pathlib import Path

import pytest

from tools import browser


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that alone is on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    return tmp_path


def program(file: Path, text: str = "exit 0") -> None:
    """Write an executable script."""
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def test_find_names_the_chromium_on_path_or_of_the_variable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path / "chromium-browser")
    assert browser.find() == path / "chromium-browser"
    program(path / "mine")
    monkeypatch.setenv(browser.VARIABLE, str(path / "mine"))
    assert browser.find() == path / "mine"


def test_find_without_chromium_names_the_command_that_installs_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser.os, "geteuid", lambda: 1000)
    program(path / "dnf")
    with pytest.raises(browser.NoBrowserError, match="run `sudo dnf install --assumeyes chromium`, or leave them out"):
        browser.find()
    with pytest.raises(SystemExit, match=r"tools\.browser: the browser tests need Chromium"):
        browser.main()
    monkeypatch.setenv(browser.VARIABLE, "gone")
    with pytest.raises(browser.NoBrowserError, match=f"{browser.VARIABLE} is gone: it is no executable"):
        browser.find()


def test_main_as_root_installs_the_package(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0)
    made = f"{path}/chromium"
    add = f"echo '#!/bin/sh' > {made} && /bin/chmod +x {made}"
    program(path / "apt-get", f"echo $1 >> {path}/log\n[ $1 = install ] && {add}\nexit 0")
    browser.main()
    assert (path / "log").read_text().split() == ["update", "install"]


def test_main_as_root_with_a_failed_package_manager_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0)
    program(path / "apt-get", "echo no such server >&2; exit 100")
    with pytest.raises(SystemExit, match=r"`apt-get update` failed \(no such server\); install Chromium by hand"):
        browser.main()
    program(path / "apt-get", "/bin/sleep 30")
    monkeypatch.setattr(browser, "INSTALL_SECONDS", 0.05)
    with pytest.raises(SystemExit, match=r"`apt-get update` did not end in"):
        browser.main()
