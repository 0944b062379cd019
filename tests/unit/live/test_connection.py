"""The process that carries the API leaves nothing behind, also where this process is killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, pathlib, sys
from components._internal import api
from waypoint_lab.live import connection

async def main():
    await connection.start(*api.proxy(["sh", "-c", "exec sleep 60"], pathlib.Path(sys.argv[1])))
    print("started", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_proxy_of_a_process_that_ends_removes_its_folder(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "socket"
    folder.mkdir()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process:
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
    began = time.monotonic()
    while folder.exists():
        assert time.monotonic() - began < 10, "the folder is still there"
        time.sleep(0.05)
