"""Answers of the launcher about starts that fail."""

import json
import os
import socket
from pathlib import Path

import pytest

from embedded.node.launcher import server


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(2, "No such file or directory", "/app"), "/app: No such file or directory"),
        (OSError(2, 'exec: "run": No such file or directory'), 'exec: "run": No such file or directory'),
        (OSError("mount /x: Permission denied"), "mount /x: Permission denied"),
    ],
)
def test_server_error_of_a_start_names_its_path(
    error: OSError, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object) -> int:
        raise error

    order = tmp_path / "order"
    order.write_text(json.dumps({"id": 1, "op": "run"}))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        launcher = server.LauncherServer(ours)
        monkeypatch.setattr(launcher, "_start", start)
        launcher._answer([os.open(order, os.O_RDONLY)])
        os.close(launcher._own_pid_namespace)
        assert {"id": 1, "error": text} == json.loads(theirs.recv(4096))
