"""Waits end with what they wait for, or with their limit."""

import pytest

from waypoint_lab.errors import NotSyncedError, WaitError
from waypoint_lab.waiting import polls, wait


def test_wait_ends_once_no_problem_is_left() -> None:
    problems = ["a", "b", ""]
    assert 0 <= wait(lambda: problems.pop(0), "the thing", 5, 0.001) < 5
    assert problems == []


@pytest.mark.parametrize("error", [WaitError, NotSyncedError])
def test_wait_past_the_limit_names_the_problem(error: type[WaitError]) -> None:
    with pytest.raises(error, match=r"^the thing: not within 0\.01 s: it is gone$"):
        wait(lambda: "it is gone", "the thing", 0.01, 0.001, error)


def test_polls_with_limit_0_poll_once_and_last_past_the_limit() -> None:
    assert len(list(polls(0, 0.001))) == 1
    assert list(polls(0.01, 0.004))[-1] >= 0.01
