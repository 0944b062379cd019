"""Output to terminals, to pipes, and to streams that nobody reads any more."""

import io
import json
import sys
from contextlib import redirect_stdout

import pytest
from rich.console import Console
from rich.text import Text

from tests.unit.streams import GONE, Unread, without_stderr
from waypoint_lab import masking
from waypoint_lab.cli import main, output, terminal


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.mark.parametrize("number", GONE)
def test_report_without_a_reader_is_dropped(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    without_stderr(monkeypatch, number)
    output.reporter("guard")("roll back: undo")


def test_table_that_folds_its_cells_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(masking, "_known", {"t0ken" * 12})
    output.print_table(("what",), [(f"end-user={'t0ken' * 12} to the canary",)])
    assert "end-user=[secret] to the canary" in stream.getvalue()
    assert "t0ken" not in stream.getvalue()


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_pipe_that_may_have_colours_has_whole_rows_and_no_view(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, term: str
) -> None:
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("TERM", term)
    output.print_table(("what",), [("share " * 40,)])
    assert "share " * 40 in capsys.readouterr().out
    assert not terminal.can_show(Console())


def test_json_masks_keys_and_texts_and_no_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(masking, "_known", {"4711", 'say "no"'})
    with redirect_stdout(masking.MaskedStream(sys.stdout)):
        output.print_json({"p0": 0.047116, "requests": 4711, "x-4711": ['say "no"', b"4711"]})
    want = {"p0": 0.047116, "requests": 4711, "x-[secret]": ["[secret]", "b'[secret]'"]}
    assert want == json.loads(capsys.readouterr().out)


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


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_command_with_a_closed_stream_ends_as_with_the_null_device(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, name, None)  # as after `lab policies >&-`
    assert main.main(["policies"]) == 0
    assert main.main(["policies", "--nothing"]) == 2
    getattr(sys, name).close()
