"""Output to streams that nobody reads any more."""

import pytest
from rich.text import Text

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


def test_characters_that_are_not_printable_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "é… \x1b]0;owned\x07\x9b2J\n09:00 promote"
    output.print_table(("what",), [(bad,), (Text(bad, "bold"),)])
    output.reporter("guard")(bad)
    out, error = capsys.readouterr()
    assert [line.rstrip() for line in out.splitlines()[1:]] == ["é… ?]0;owned?2J?09:00 promote"] * 2
    assert error == "guard: é… ?]0;owned??2J?09:00 promote\n"
