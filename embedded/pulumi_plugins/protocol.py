"""Stubs of the engine's gRPC protocol without the SDK around them, and the server of a plugin.

Importing `pulumi` takes a tenth of a second, by which every update would be longer; a plugin needs nothing of it.
"""

import importlib.util
import os
import signal
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc

ENGINE = os.getppid()  # the process that has started the plugin
ENGINE_SECONDS = 2.0  # between two looks at it


def _add_empty_package(name: str) -> None:
    """Register a package that finds its submodules but has not run its own code."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{name} is not installed; run `make`")
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules[name] = package


if "pulumi" not in sys.modules:
    _add_empty_package("pulumi")
    _add_empty_package("pulumi.runtime")

from pulumi.runtime.proto import (  # noqa: E402
    engine_pb2,
    engine_pb2_grpc,
    language_pb2,
    language_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
)

__all__ = [
    "engine_pb2",
    "engine_pb2_grpc",
    "language_pb2",
    "language_pb2_grpc",
    "plugin_pb2",
    "provider_pb2",
    "provider_pb2_grpc",
    "serve",
]


def serve(add: Callable[[Any], None], end: Callable[[], None] = lambda: None) -> NoReturn:
    """Serve a plugin on a free port of 127.0.0.1 until a signal or the engine's end; print the port on the first line.

    Args:
        add: Adds the gRPC service to a server.
        end: Called in the end.
    """
    server = grpc.server(ThreadPoolExecutor(64), options=[("grpc.max_receive_message_length", 400 * 2**20)])
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    while os.getppid() == ENGINE and not stopped.wait(ENGINE_SECONDS):
        pass
    end()
    server.stop(0.1)
    sys.stdout.flush()
    os._exit(0)  # grpc's threads would keep the interpreter for another second
