import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.rollout.test_notify import server
from waypoint_lab.errors import RolloutError
from waypoint_lab.rollout import approval
from waypoint_lab.rollout.analysis import StepDecision
from waypoint_lab.rollout.approval import FileApproval, HttpApproval, Wait
from waypoint_lab.rollout.state import CanaryStep

STEP = CanaryStep(5)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(approval, "POLL_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("promote\n", StepDecision.PROMOTE),
        ("Y", StepDecision.PROMOTE),
        ("yes", StepDecision.PROMOTE),
        ("pause", StepDecision.PAUSE),
        ("no", StepDecision.PAUSE),
        ("n", StepDecision.PAUSE),
        ("roll back", StepDecision.ROLL_BACK),
        ("rollback", StepDecision.ROLL_BACK),
        ("b", StepDecision.ROLL_BACK),
    ],
)
def test_file_with_an_answer_is_read_and_removed(tmp_path: Path, text: str, decision: StepDecision) -> None:
    file, lines = tmp_path / "answer", list[str]()
    file.write_text(text)
    assert Wait(FileApproval(file, lines.append), 5, lambda: "", lines.append)(STEP) is decision
    assert not file.exists()
    assert lines == [f"waiting up to 5 s for the answer in {file}: promote to 5 %? (promote, pause or roll back)"]


def test_wait_without_an_answer_pauses_at_its_limit(tmp_path: Path) -> None:
    lines: list[str] = []
    asked: list[CanaryStep] = []

    class Counted(FileApproval):
        def __call__(self, step: CanaryStep) -> StepDecision | None:
            asked.append(step)
            return super().__call__(step)

    found = Wait(Counted(tmp_path / "answer", lines.append), 0.05, lambda: "", lines.append)(STEP)
    assert found is StepDecision.PAUSE
    assert 1 <= len(asked) <= 6, "every 0.01 s"
    assert lines[-1] == f"no answer in {tmp_path / 'answer'} within 0.05 s"


def test_wait_that_is_stopped_rolls_back(tmp_path: Path) -> None:
    began = time.monotonic()
    wait = Wait(FileApproval(tmp_path / "answer", print), 60, lambda: "SIGTERM", print)
    assert wait(STEP) is StepDecision.ROLL_BACK
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("limit", "stopped", "want"), [(0.05, "", StepDecision.PAUSE), (60, "SIGINT", StepDecision.ROLL_BACK)]
)
def test_wait_answer_after_the_limit_or_the_request_to_stop_is_not_taken(
    limit: float, stopped: str, want: StepDecision
) -> None:
    asked: list[CanaryStep] = []

    class Slow(FileApproval):
        def __call__(self, step: CanaryStep) -> StepDecision:
            asked.append(step)
            time.sleep(0.1)
            return StepDecision.PROMOTE

    wait = Wait(Slow(Path("answer"), print), limit, lambda: stopped if asked else "", print)
    assert wait(STEP) is want


def test_file_with_other_text_is_reported_once_and_kept(tmp_path: Path) -> None:
    file, lines = tmp_path / "answer", list[str]()
    file.write_text("maybe")
    ask = FileApproval(file, lines.append)
    assert [ask(STEP), ask(STEP)] == [None, None]
    assert lines == [f"--approve-file {file}: 'maybe' is no answer; write promote, pause or roll back"]
    assert file.exists()


def test_file_that_is_a_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="Is a directory; let it be read and removed"):
        FileApproval(tmp_path, print)(STEP)


def test_server_is_asked_until_it_answers() -> None:
    lines: list[str] = []
    with server(403, 404, 202, 200) as there:
        found = Wait(HttpApproval(there.url, "dev", lines.append), 5, lambda: "", lines.append)(STEP)
    assert found is StepDecision.PROMOTE
    assert there.got[0] == ("/hook/t0ken", {"stack": "dev", "weight": 5, "cohort": ""})
    assert (len(there.got), len(lines)) == (4, 1)
    assert "t0ken" not in lines[0]


def test_server_that_fails_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    with server(500) as there:
        ask = HttpApproval(there.url, "dev", lines.append)
        assert [ask(STEP), ask(STEP)] == [None, None]
    assert ask(STEP) is None
    assert [line.split("; ")[-1] for line in lines] == ["asking again"] * 2
    assert "answers 500" in lines[0]
    assert "does not answer" in lines[1]
    answers: list[tuple[int, str]] = [(200, "Roll back\n"), (200, "perhaps")]
    monkeypatch.setattr(approval, "post", lambda *_args: answers.pop(0))
    assert ask(STEP) is StepDecision.ROLL_BACK
    assert ask(STEP) is None
    assert lines[2:] == ["--approve-url: 'perhaps' is no answer; it must be promote, pause or roll back; asking again"]


def test_server_redirect_is_no_answer() -> None:
    lines: list[Any] = []
    with server(302, headers={"Location": "http://127.0.0.1:1/"}) as there:
        assert HttpApproval(there.url, "dev", lines.append)(STEP) is None
    assert "answers 302" in lines[0]
