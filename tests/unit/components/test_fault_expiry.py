"""Wait for the Job that ends a fault."""

import asyncio
import json
import subprocess
from collections.abc import Sequence
from http import HTTPStatus
from time import gmtime, strftime, time
from typing import Any

import pytest

from components._internal import fault_expiry, fault_expiry_script, waits
from components._internal.api import ApiReadError
from components._internal.traffic import FaultSettings

FAULT = FaultSettings(0, 0, 503, 100, {}, id="abc", seconds=30)


def wait(
    monkeypatch: pytest.MonkeyPatch,
    status: dict[str, int],
    *events: str,
    notes: dict[str, str] | None = None,
    limit: float = 0.01,
) -> None:
    def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
        where = {"name": "t-fault-expiry-abc-x7k2p"}
        items = [{"involvedObject": {"name": "other"}, "message": "of another object"}]
        items += [{"involvedObject": where, "message": message} for message in events]
        answer: dict[str, Any] = {"items": items} if "events" in command else {"status": status}
        return subprocess.CompletedProcess(command, 0, json.dumps(answer), "")

    def read(_command: Sequence[str], path: str) -> bytes:
        assert path == "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/t"
        if notes is None:
            raise ApiReadError("no right to read it", HTTPStatus.FORBIDDEN)
        return json.dumps({"metadata": {"annotations": notes}}).encode()

    monkeypatch.setattr(waits, "run_kubectl", run)
    monkeypatch.setattr(waits, "read_api", read)
    asyncio.run(fault_expiry.until_running(waits.Access(), "shop", "t", FAULT, limit))


def test_until_running_with_a_ready_job_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    wait(monkeypatch, {"ready": 1})


def notes(age: float, fault: str = "abc") -> dict[str, str]:
    """Return the annotations of a rule whose fault has expired `age` seconds ago."""
    until = strftime(fault_expiry_script.FORMAT, gmtime(time() - age))
    return {fault_expiry_script.UNTIL: f"{fault} {until}", fault_expiry.EXPIRED: fault}


def test_until_running_with_a_job_that_is_about_to_end_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wait(monkeypatch, {"ready": 1}, notes=notes(5))
    wait(monkeypatch, {"ready": 1}, notes=notes(25, "earlier"))
    with pytest.raises(RuntimeError, match=r"^Job shop/t-fault-expiry-abc: it has ended this fault already"):
        wait(monkeypatch, {"ready": 1}, notes=notes(25), limit=60)


def test_until_running_with_a_job_that_has_ended_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"^Job shop/t-fault-expiry-abc: it has ended this fault already"):
        wait(monkeypatch, {"succeeded": 1}, limit=60)


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
