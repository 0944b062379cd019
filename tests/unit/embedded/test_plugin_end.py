"""Plugins end with the engine that has started them, even if it is killed."""

import os
import signal
import subprocess
import sys

import pytest

from embedded import processes

WAIT_SECONDS = 30.0
PLUGIN = """import runpy, sys
from embedded.pulumi_plugins import protocol
protocol.ENGINE_SECONDS = 0.1
runpy.run_module(sys.argv[1], run_name="__main__")"""
ENGINE = """import subprocess, sys, time
plugin = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], stdout=subprocess.PIPE)
plugin.stdout.readline()
print(plugin.pid, flush=True)
time.sleep(600)"""


@pytest.mark.parametrize("module", ["embedded.pulumi_plugins.language", "embedded.pulumi_plugins.command"])
def test_plugin_ends_with_a_killed_engine(module: str) -> None:
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, PLUGIN, module], stdout=subprocess.PIPE)
    with engine:
        assert engine.stdout
        plugin = int(engine.stdout.readline())
        assert processes.start_time(plugin)
        engine.kill()
    left = processes.wait_until_gone([plugin], WAIT_SECONDS)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert left == []
