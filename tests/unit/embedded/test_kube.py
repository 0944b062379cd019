"""The client of the Kubernetes API leaves no connection behind."""

import asyncio
import gc
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.control_plane.pki import Authority, issue_files
from embedded.kube import Kube


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[str]:
    """Return the address of a server that reads a request and never answers."""
    issue_files(Authority(tmp_path, "ca", "test"), tmp_path, "server", "server", ips=("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with context.wrap_socket(listening.accept()[0], server_side=True) as connection:
                connection.recv(4096)
                ended.wait()

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        ended.set()
        serving.join()


def test_request_that_times_out_leaves_no_connection_open(silent: str, tmp_path: Path) -> None:
    async def ask() -> None:
        async with Kube(silent, ca_file=str(tmp_path / "ca.crt"), token="any", request_seconds=0.2) as kube:
            with pytest.raises(TimeoutError):
                await kube.get("/readyz")

    asyncio.run(ask())
    gc.collect()  # pytest fails where a connection is still open
