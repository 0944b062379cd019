"""Plugins end with the engine that has started them, even if it is killed, and with them what they run."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from embedded import processes
from embedded.pulumi_plugins.command import Provider

WAIT_SECONDS = 30.0
PLUGIN = """import runpy, sys
from embedded.pulumi_plugins import protocol
protocol.ENGINE_SECONDS = 0.1
runpy.run_module(sys.argv[1], run_name="__main__")"""
ENGINE = """import subprocess, sys, time
plugin = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], stdout=subprocess.PIPE)
port = plugin.stdout.readline().decode().strip()
print(plugin.pid, port, flush=True)
time.sleep(600)"""


@pytest.mark.parametrize("module", ["embedded.pulumi_plugins.language", "embedded.pulumi_plugins.command"])
def test_plugin_ends_with_a_killed_engine(module: str) -> None:
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, PLUGIN, module], stdout=subprocess.PIPE)
    with engine:
        assert engine.stdout
        plugin = int(engine.stdout.readline().split()[0])
        assert processes.start_time(plugin)
        engine.kill()
    left = processes.wait_until_gone([plugin], WAIT_SECONDS)
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert left == []


@pytest.mark.parametrize("killed", ["engine", "plugin"])
@pytest.mark.timeout(60)
def test_command_ends_with_its_plugin(tmp_path: Path, killed: str) -> None:
    os.mkfifo(tmp_path / "pid")
    properties = struct_pb2.Struct()
    properties.update({"create": f"echo $$ > {tmp_path}/pid; exec sleep 600"})
    request = provider_pb2.CreateRequest(urn="urn:pulumi:dev::p::command:local:Command::c", properties=properties)
    argv = [sys.executable, "-c", ENGINE, PLUGIN, "embedded.pulumi_plugins.command"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as engine:
        assert engine.stdout
        plugin, port = map(int, engine.stdout.readline().split())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

            def create() -> None:
                with contextlib.suppress(grpc.RpcError):
                    provider_pb2_grpc.ResourceProviderStub(channel).Create(request)

            call = threading.Thread(target=create)
            call.start()
            command = int((tmp_path / "pid").read_text())
            if killed == "plugin":
                os.kill(plugin, signal.SIGTERM)
            else:
                engine.kill()
            left = processes.wait_until_gone([plugin, command], WAIT_SECONDS)
            for process in left:
                os.kill(process, signal.SIGKILL)
            call.join()
        engine.kill()
    assert left == []


def test_command_that_comes_after_the_end_does_not_start(tmp_path: Path) -> None:
    class Context:
        def abort(self, code: grpc.StatusCode, _details: str) -> None:
            raise RuntimeError(code.name)

    provider: Any = Provider("")
    provider.end()
    request = provider_pb2.CreateRequest(urn="urn:pulumi:dev::p::command:local:Command::c")
    request.properties.update({"create": f"touch {tmp_path}/started"})
    with pytest.raises(RuntimeError, match="CANCELLED"):
        provider.Create(request, Context())
    assert list(tmp_path.iterdir()) == []
