"""Streams of attached clients."""

import asyncio
import os

from embedded.node.kubelet import streams


def test_sink_slow_client_gets_everything_in_order() -> None:
    async def read_late() -> bytes:
        read, write = os.pipe()
        sink = streams.Sink(write)
        for number in range(50_000):
            sink.write(b"%d\n" % number)
        sink.finish()
        assert not sink.closed.is_set()
        got = await asyncio.to_thread(_read_all, read)
        await asyncio.wait_for(sink.closed.wait(), 10)
        return got

    assert b"".join(b"%d\n" % number for number in range(50_000)) == asyncio.run(read_late())


def test_sink_client_that_never_reads_is_cut_off() -> None:
    async def fill() -> bool:
        read, write = os.pipe()
        sink = streams.Sink(write)
        for _ in range(20):
            sink.write(b"x" * (1 << 20))
        os.close(read)
        return sink.closed.is_set()

    assert asyncio.run(fill())


def test_sink_client_that_is_gone_is_closed() -> None:
    async def gone() -> bool:
        read, write = os.pipe()
        os.close(read)
        sink = streams.Sink(write)
        sink.write(b"x")
        return sink.closed.is_set()

    assert asyncio.run(gone())


def _read_all(handle: int) -> bytes:
    with os.fdopen(handle, "rb") as file:
        return file.read()
