"""The loop of the node proxies: a failure is logged and tried again."""

import asyncio
import logging

import pytest

from embedded.node.proxy import controller
from embedded.node.proxy.controller import RETRY_SECONDS, Attempts


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "PAUSE_SECONDS", 0)


def test_attempts_failure_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Exception | float | None] = [KeyError("address"), KeyError("address"), 2.5, None]

    async def apply() -> float | None:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def play() -> list[float | None]:
        attempts = Attempts(apply)
        return [await attempts.next() for _ in range(4)]

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(play()) == [RETRY_SECONDS, RETRY_SECONDS, 2.5, None]
    assert [row.getMessage().partition(": ")[2] for row in caplog.records] == ["KeyError: 'address'"] * 2
    assert [bool(row.exc_info) for row in caplog.records] == [True, False], "the same traceback only once"


def test_attempts_failure_limits_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def apply() -> None:
        raise OSError("no space")

    monkeypatch.setattr(controller, "PAUSE_SECONDS", 1.0)
    monkeypatch.setattr(controller.asyncio, "sleep", sleep)
    assert asyncio.run(Attempts(apply).next()) == RETRY_SECONDS
    assert pauses == [1.0]


def test_attempts_end_of_the_agent_is_passed_on() -> None:
    async def apply() -> None:
        raise asyncio.CancelledError

    async def play() -> None:
        await Attempts(apply).next()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(play())
