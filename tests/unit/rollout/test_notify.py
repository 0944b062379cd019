"""Documents of decisions, and a webhook that gets them, or does not answer."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from waypoint_lab.measure.http_answer import place, post
from waypoint_lab.rollout import notify
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.notify import Webhook

AT = {"at": "2026-01-01T00:00:00.000+00:00", "promotion": "p"}
STEP = {"weight": 5.0, "cohort": ""}
START = {**AT, "kind": "start", "from": {"weight": 0, "cohort": ""}, "steps": [STEP, {"weight": 100, "cohort": ""}]}


@contextmanager
def server(*statuses: int, headers: dict[str, str] | None = None, seconds: float = 0) -> Iterator[Any]:
    """Serve the statuses in turn, the last one repeatedly; `got` has the paths and the documents."""
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            made.got.append((self.path, json.loads(body or "null")))
            made.authorization.append(self.headers["Authorization"])
            made.types.append(self.headers["Content-Type"])
            time.sleep(seconds)
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_args: object) -> None:
            pass

    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.got, made.authorization, made.types, made.url = (
        [],
        [],
        [],
        f"http://127.0.0.1:{made.server_address[1]}/hook/t0ken",
    )
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(notify, "PAUSES_SECONDS", (0.01, 0.01))


@pytest.mark.parametrize(
    ("record", "event", "phase", "text"),
    [
        (START, "start", "Progressing", "dev, shop/cart: promotion started at 0 %, steps 5 %, 100 %"),
        (
            {**AT, "kind": "decision", "decision": "promote", "why": "no failures", **STEP},
            "step",
            "Progressing",
            "dev, shop/cart: passed at 5 %: no failures",
        ),
        (
            {**AT, "kind": "decision", "decision": "pause", "why": "few requests", **STEP},
            "pause",
            "Paused",
            "dev, shop/cart: paused at 5 %: few requests",
        ),
        (
            {**AT, "kind": "decision", "decision": "roll back", "why": "it fails", **STEP},
            "rollback",
            "RollingBack",
            "dev, shop/cart: rolling back at 5 %: it fails",
        ),
        (
            {**AT, "kind": "rollback", "why": "by hand"},
            "rollback",
            "RollingBack",
            "dev, shop/cart: rolling back: by hand",
        ),
        (
            {**AT, "kind": "end", "phase": "RolledBack", "weight": 0, "cohort": ""},
            "rollback",
            "RolledBack",
            "dev, shop/cart: rolled back, at 0 %",
        ),
        (
            {**AT, "kind": "end", "phase": "Promoted", "weight": 100, "cohort": ""},
            "promotion",
            "Promoted",
            "dev, shop/cart: promoted, at 100 %",
        ),
        (
            {
                **AT,
                "kind": "migration",
                "step": {"name": "a", "canary": "b", "weight": 10},
                "decision": "promote",
                "why": "w",
            },
            "step",
            "Progressing",
            "dev, shop/cart: waypoint migration passed, 10 % through b: w",
        ),
        (
            {**AT, "kind": "migration", "step": {"name": "b"}, "decision": "promote", "why": "w"},
            "promotion",
            "Promoted",
            "dev, shop/cart: waypoint migration done, all through b: w",
        ),
        (
            {**AT, "kind": "migration", "step": {"name": "a"}, "decision": "roll back", "why": "w"},
            "rollback",
            "RolledBack",
            "dev, shop/cart: waypoint migration rolled back, all through a: w",
        ),
    ],
)
def test_document_of_a_decision_has_event_phase_and_text(
    record: dict[str, Any], event: str, phase: str, text: str
) -> None:
    found = notify.document(record, "dev", "shop/cart")
    assert found
    assert (found["event"], found["phase"], found["text"]) == (event, phase, text)
    assert json.dumps(found)


DECISION = {**AT, "kind": "decision", "decision": "pause", "why": "few requests", "weight": 5.0, "cohort": "a=b"}
MIGRATION = {**AT, "kind": "migration", "decision": "promote", "why": "w"}


@pytest.mark.parametrize(
    ("record", "step"),
    [
        (START, {"weight": 0, "cohort": ""}),
        (DECISION, {"weight": 5, "cohort": "a=b", "why": "few requests"}),
        (
            {**MIGRATION, "step": {"name": "a", "canary": "b", "weight": 10}},
            {"waypoint": "b", "weight": 10, "why": "w"},
        ),
        ({**MIGRATION, "step": {"name": "b"}}, {"waypoint": "b", "weight": 100, "why": "w"}),
    ],
    ids=["start", "decision", "migration", "migrated"],
)
def test_document_has_the_fields_of_the_docs(record: dict[str, Any], step: dict[str, Any]) -> None:
    found = notify.document(record, "dev", "shop/cart") or {}
    assert {"stack": "dev", "service": "shop/cart", **AT, **step} == {
        name: value for name, value in found.items() if name not in ("text", "event", "phase")
    }


@pytest.mark.parametrize("kind", ["apply", "measure"])
def test_document_of_a_record_that_is_no_decision_is_none(kind: str) -> None:
    assert notify.document({**AT, "kind": kind, **STEP}, "dev", "shop/cart") is None


def test_webhook_gets_each_decision_of_the_journal_in_order(tmp_path: Path) -> None:
    lines: list[str] = []
    with server(200) as there:
        journal = Journal(tmp_path, "dev")
        webhook = Webhook(there.url, "dev", "shop/cart", lines.append)
        journal.observers.append(webhook)
        journal.append("start", "p", **{"from": START["from"]}, steps=START["steps"])
        journal.append("apply", "p", **STEP)
        journal.append("decision", "p", **STEP, decision="promote", why="w")
        webhook.close()
    assert [(path, one["event"]) for path, one in there.got] == [("/hook/t0ken", "start"), ("/hook/t0ken", "step")]
    assert lines == []


@pytest.mark.parametrize("statuses", [(503, 429, 204), (408, 500, 204)])
def test_webhook_retries_temporary_failures(statuses: tuple[int, ...]) -> None:
    lines: list[str] = []
    with server(*statuses) as there:
        webhook = Webhook(there.url, "dev", "shop/cart", lines.append)
        webhook(START)
        webhook.close()
    assert (len(there.got), lines) == (3, [])


def test_webhook_that_fails_again_after_it_answered_is_reported_again() -> None:
    lines: list[str] = []
    with server(404, 404, 204, 404) as there:
        webhook = Webhook(there.url, "dev", "shop/cart", lines.append)
        for _ in range(4):
            webhook(START)
        webhook.close()
    assert (len(there.got), len(lines)) == (4, 2)


@pytest.mark.parametrize(("status", "tries"), [(503, 3), (404, 1), (302, 1)])
def test_webhook_that_refuses_is_one_line_without_its_path(status: int, tries: int) -> None:
    lines: list[str] = []
    with server(status) as there:
        webhook = Webhook(there.url, "dev", "shop/cart", lines.append)
        webhook(START)
        webhook.close()
        webhook = Webhook(there.url, "dev", "shop/cart", lines.append)
        webhook.close()
    assert len(there.got) == tries
    (line,) = lines
    assert line.startswith("the decision start was not notified: http://127.0.0.1:")
    assert line.endswith(f"answers {status}; check notify.webhook")
    assert "t0ken" not in line


def test_webhook_without_answer_is_reported_once_without_delay() -> None:
    lines: list[str] = []
    webhook = Webhook("http://127.0.0.1:1/t0ken", "dev", "shop/cart", lines.append)
    began = time.monotonic()
    for _ in range(3):
        webhook(START)
    assert time.monotonic() - began < 0.5
    webhook.close()
    (line,) = lines
    assert "http://127.0.0.1:1 does not answer" in line
    assert "t0ken" not in line


def test_webhook_close_is_bounded() -> None:
    lines: list[str] = []
    with server(200, seconds=0.5) as there:
        webhook = Webhook(there.url, "dev", "shop/cart", lines.append)
        webhook(START)
        webhook.close(0.05)
    assert lines == [f"{place(there.url)} has not taken all notifications within 0.05 s"]


def test_post_follows_no_redirect() -> None:
    with server(200) as other, server(302, headers={"Location": other.url}) as there:
        assert post(there.url, {})[0] == 302
    assert other.got == []


def test_post_sends_json() -> None:
    with server(200) as there:
        post(there.url, {"a": [1]})
    assert there.got == [("/hook/t0ken", {"a": [1]})]
    assert there.types == ["application/json"]
