"""Reading of the output of a process."""

import asyncio
import errno
import os

from embedded.node.launcher import process
from embedded.node.launcher.process import Process, read_pipe


def test_read_pipe_writer_without_pause_leaves_the_event_loop_free() -> None:
    async def scene() -> int:
        reader, writer = os.pipe()
        taken = 0

        def write_again(data: bytes) -> None:
            nonlocal taken
            taken += 1
            if taken < 1000:
                os.write(writer, data)

        os.write(writer, b"x" * 4096)
        one = Process(1)
        reading = asyncio.create_task(read_pipe(reader, write_again, one, 10))
        for _ in range(5):
            await asyncio.sleep(0)
        found = taken
        one.end(0)
        await reading
        os.close(writer)
        return found

    assert asyncio.run(scene()) <= 5


def test_read_pipe_process_that_ended_is_drained_up_to_a_limit() -> None:
    async def scene() -> int:
        reader, writer = os.pipe()
        total = 0

        def write_again(data: bytes) -> None:
            nonlocal total
            total += len(data)
            if total < 4 * process.DRAIN_BYTES:
                os.write(writer, data)

        os.write(writer, b"x" * 32768)
        one = Process(1)
        one.end(0)
        await read_pipe(reader, write_again, one, 10)
        os.close(writer)
        return total

    assert asyncio.run(scene()) == process.DRAIN_BYTES


def test_read_pipe_data_that_cannot_be_taken_is_dropped() -> None:
    async def scene() -> list[bytes]:
        reader, writer = os.pipe()
        taken: list[bytes] = []

        def take(data: bytes) -> None:
            if data == b"one":
                raise OSError(errno.ENOSPC, "No space left on device")
            taken.append(data)

        one = Process(1)
        reading = asyncio.create_task(read_pipe(reader, take, one, 10))
        os.write(writer, b"one")
        await asyncio.sleep(0.05)
        os.write(writer, b"two")
        async with asyncio.timeout(5):
            while not taken and not reading.done():
                await asyncio.sleep(0.01)
        one.end(0)
        await reading
        os.close(writer)
        return taken

    assert asyncio.run(scene()) == [b"two"]
