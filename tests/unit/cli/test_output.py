"""Output to streams that nobody reads any more."""

import pytest

from tests.unit.streams import GONE, Unread, without_stderr
from waypoint_lab.cli import output


@pytest.mark.parametrize("number", GONE)
def test_report_without_a_reader_is_dropped(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    without_stderr(monkeypatch, number)
    output.reporter("guard")("roll back: undo")


@pytest.mark.parametrize("number", GONE)
def test_table_on_stderr_without_a_reader_is_dropped(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    without_stderr(monkeypatch, number)
    output.print_table(("what",), [("share",)], stderr=True)


def test_table_on_a_closed_stdout_raises_broken_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Unread())
    with pytest.raises(BrokenPipeError):
        output.print_table(("what",), [("share",)])
