"""The folder of a report is checked before anything is changed; its picture is printed by a browser."""

from pathlib import Path

import pytest

from tests.unit.report.reports import report
from waypoint_lab.cli import main
from waypoint_lab.errors import ReportError
from waypoint_lab.report import picture
from waypoint_lab.report.destination import ReportFolder

PNG = b"\x89PNG\r\n\x1a\n"
COMMANDS = [["run"], ["canary", "promote"], ["guard", "--namespace", "shop", "true"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_command_with_a_folder_that_cannot_be_written_is_one_line(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    words = [*command[:-1], "--report", str(file / "below"), command[-1]] if command[0] == "guard" else []
    assert main.main(words or [*command, "--report", str(file / "below")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"--report {file / 'below'}: it cannot be written (Not a directory); name another folder")


def test_prepared_without_a_browser_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReportError, match=r"^--report: the picture needs Chromium, .* or add --no-picture "):
        ReportFolder.prepared(tmp_path / "new", with_picture=True)
    assert ReportFolder.prepared(tmp_path / "new", with_picture=False).program == ""


def test_write_without_picture_is_the_page_alone(tmp_path: Path) -> None:
    files = ReportFolder.prepared(tmp_path, with_picture=False).write(report())
    assert [file.name for file in files] == ["report.html"]
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_write_without_picture_removes_the_one_of_an_earlier_report(tmp_path: Path) -> None:
    (tmp_path / "report.png").write_bytes(PNG)
    ReportFolder(tmp_path, "").write(report())
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_write_text_that_is_no_utf_8_is_a_page(tmp_path: Path) -> None:
    ReportFolder(tmp_path, "").write(report(repeat=["lab guard -- kubectl apply -f caf\udce9.yaml"]))
    assert r"caf\udce9.yaml" in (tmp_path / "report.html").read_text(encoding="utf-8")


def browser(folder: Path, script: str) -> str:
    """Return the path of a program in place of Chromium."""
    file = folder / "chromium"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def test_write_prints_the_page_in_its_whole_height(tmp_path: Path) -> None:
    script = """for word; do case $word in
--dump-dom) echo '<html data-height="4321">';;
--window-size=*) size=$word;;
--screenshot=*) echo "$size" > "${word#--screenshot=}";; esac; done"""
    files = ReportFolder(tmp_path, browser(tmp_path, script)).write(report())
    assert files[1].read_text() == "--window-size=1200,4321\n"


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("echo no display >&2; exit 3", "it ended with exit status 3 (no display); add --no-picture"),
        ("exit 0", "it wrote no picture; add --no-picture"),
    ],
)
def test_write_with_a_browser_that_fails_is_one_line(tmp_path: Path, script: str, line: str) -> None:
    program = browser(tmp_path, script)
    with pytest.raises(ReportError) as caught:
        ReportFolder(tmp_path, program).write(report())
    assert str(caught.value) == f"{program}: {line}"


def test_browser_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "LIMIT_SECONDS", 0.2)
    program = browser(tmp_path, "exec sleep 60")
    with pytest.raises(ReportError, match=r"no picture within 0.2 s; add --no-picture$"):
        ReportFolder(tmp_path, program).write(report())
