"""Wait for the Job that ends a fault."""

import asyncio
import json
import subprocess
from typing import Any

import pytest

from components._internal import fault_expiry, waits


def wait(monkeypatch: pytest.MonkeyPatch, status: dict[str, int], *events: str) -> None:
    def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
        where = {"name": "t-fault-expiry-abc-x7k2p"}
        items = [{"involvedObject": {"name": "other"}, "message": "of another object"}]
        items += [{"involvedObject": where, "message": message} for message in events]
        answer: dict[str, Any] = {"items": items} if "events" in command else {"status": status}
        return subprocess.CompletedProcess(command, 0, json.dumps(answer), "")

    monkeypatch.setattr(waits, "run_kubectl", run)
    asyncio.run(fault_expiry.until_running(waits.Access(), "shop", "t-fault-expiry-abc", 0.01))


def test_until_running_with_a_ready_job_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    wait(monkeypatch, {"ready": 1})


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ((), "no fault begins without it$"),
        (
            ("first", 'pods "x" is forbidden:\nviolates PodSecurity'),
            'last event: pods "x" is forbidden: violates PodSec',
        ),
    ],
)
def test_until_running_without_a_pod_fails_with_the_last_event(
    monkeypatch: pytest.MonkeyPatch, events: tuple[str, ...], said: str
) -> None:
    with pytest.raises(RuntimeError, match=f"^Job shop/t-fault-expiry-abc: waited 0.01 s: its Pod .*{said}") as caught:
        wait(monkeypatch, {}, *events)
    assert len(str(caught.value).splitlines()) == 1
