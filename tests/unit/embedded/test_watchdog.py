"""The watchdog: its helpers are started again, and one that nobody knows starts nothing."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from embedded.supervisor import ports, watchdog

KILLED_PARENT = """import os, signal, sys
from embedded import processes
from embedded.supervisor import watchdog
processes.write_identity = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
watchdog.watch = lambda *_: print("started", flush=True)
sys.exit(watchdog.main())"""
SHORT_HELPER = """import os, signal, sys, time
from pathlib import Path
from embedded import processes
from embedded.supervisor import watchdog
starts = 0
def helper():
    global starts
    starts += 1
    if starts == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    return processes.start_child("helper", lambda: None)
processes.start_in_namespaces = lambda _: processes.start_child("supervisor", lambda: time.sleep(600))
watchdog.RESTART_SECONDS = 0.01
watchdog.watch([], Path(sys.argv[1]), [helper])
print(starts)"""


def run(script: str, *args: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-c", script, *args]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_watchdog_whose_parent_was_killed_starts_nothing(tmp_path: Path) -> None:
    done = run(KILLED_PARENT, "--bin", "/nowhere", "--isolated", str(tmp_path))
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, ""), done.stderr


def test_helper_that_ends_is_started_again_until_sigterm(tmp_path: Path) -> None:
    done = run(SHORT_HELPER, str(tmp_path / "supervisor"))
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_channel_for_ports_outlives_a_killed_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "RESTART_SECONDS", 0)
    ours, theirs = ports.channel()
    with ours, theirs:
        start = partial(ports.start, ours, theirs)
        helpers: dict[int, watchdog.Start] = {start(): start}
        (killed,) = helpers
        os.kill(killed, signal.SIGKILL)
        os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
        watchdog.restart_ended(helpers)
        assert killed not in helpers
        with ports.Ports(ours).listen("127.0.0.1", 0) as listening:
            assert listening.getsockname()[0] == "127.0.0.1"
