"""Reads of the API server through a proxy: a stand-in of kubectl that serves a Unix socket."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components._internal import api

OK = b'{"items": []}'
PROXY = """#!{python}
import http.server, json, os, socketserver, sys, time
socket = next(item for item in sys.argv if item.startswith("--unix-socket=")).partition("=")[2]
print(os.getpid(), file=open({pids!r}, "a"))
if "--context=bad" in sys.argv:
    sys.exit('error: context "bad" does not exist')

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/late":
            time.sleep(3)
        status, body = {{"/ok": (200, {{"items": []}}), "/no": (403, {{"message": "pods is forbidden"}})}}.get(
            self.path, (502, None)
        )
        text = json.dumps(body) if body else "no route to\\nthe server"
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def address_string(self):
        return ""

    def log_message(self, *_):
        pass

socketserver.UnixStreamServer(socket, Handler).serve_forever()
"""


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the stand-in on PATH; return the file with the process ids of its starts."""
    file, kubectl = tmp_path / "pids", tmp_path / "kubectl"
    kubectl.write_text(PROXY.format(python=sys.executable, pids=str(file)))
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    yield file
    api.end()


def test_read_starts_one_proxy_that_ends_with_its_folder(pids: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(pids.parent))
    monkeypatch.setattr(api.tempfile, "tempdir", None)
    assert [api.read(["kubectl"], "/ok") for _ in range(3)] == [OK] * 3
    (pid,) = pids.read_text().split()
    (folder,) = pids.parent.glob("waypoint-lab-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    api.end()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_read_of_a_refusal_has_its_message_and_status(pids: Path) -> None:
    with pytest.raises(api.ApiReadError, match=r"^pods is forbidden$") as caught:
        api.read(["kubectl"], "/no")
    assert caught.value.status == 403
    with pytest.raises(api.ApiReadError, match=r"^no route to the server$"):
        api.read(["kubectl"], "/other")


def test_read_after_the_proxy_was_killed_starts_another(pids: Path) -> None:
    api.read(["kubectl"], "/ok")
    killed = int(pids.read_text())
    os.kill(killed, signal.SIGKILL)

    with pytest.raises(api.ApiReadError, match=r"^kubectl proxy gave no answer: "):
        api.read(["kubectl"], "/ok")
    assert api.read(["kubectl"], "/ok") == OK
    assert len(pids.read_text().split()) == 2


def test_read_without_an_answer_in_time_fails(pids: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.read(["kubectl"], "/ok")
    monkeypatch.setattr(api, "READ_SECONDS", 0.2)
    with pytest.raises(api.ApiReadError, match=r"^kubectl proxy gave no answer: timed out$"):
        api.read(["kubectl"], "/late")


def test_read_with_an_unusable_kubeconfig_has_the_message_of_kubectl(pids: Path) -> None:
    with pytest.raises(api.ApiReadError, match=r'^error: context "bad" does not exist$'):
        api.read(["kubectl", "--context=bad"], "/ok")


def test_read_without_kubectl_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError):
        api.read(["kubectl"], "/ok")
