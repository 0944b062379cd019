"""Listening sockets of 127.0.0.0/8 for the supervisor, opened outside its network namespace by a small process."""

import itertools
import json
import os
import socket

from embedded import processes

BACKLOG = 256
MESSAGE_BYTES = 4096
SECONDS = 5.0


def serve(channel: socket.socket) -> None:
    """Answer each request with a listening socket or an error number, until the other end is closed."""
    while message := channel.recv(MESSAGE_BYTES):
        order = json.loads(message)
        try:
            if not order["address"].startswith("127."):
                raise PermissionError(13, "not a loopback address")
            with socket.create_server((order["address"], order["port"]), backlog=BACKLOG) as listening:
                socket.send_fds(channel, [json.dumps({"id": order["id"]}).encode()], [listening.fileno()])
        except OSError as error:
            channel.send(json.dumps({"id": order["id"], "errno": error.errno}).encode())


def channel() -> tuple[socket.socket, socket.socket]:
    """Return the supervisor's end of a channel and that of the process, which both outlive a process that ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def start(ours: socket.socket, theirs: socket.socket) -> int:
    """Start the process that serves `theirs`, a child that ends with the caller, and return its id."""

    def work() -> None:
        ours.close()
        serve(theirs)

    return processes.start_child("ports", work)


class Ports:
    """The supervisor's end of the channel."""

    def __init__(self, channel: socket.socket) -> None:
        """Ask over `channel`, one request at a time."""
        channel.settimeout(SECONDS)
        self._channel, self._ids = channel, itertools.count()

    def listen(self, address: str, port: int) -> socket.socket:
        """Return a socket that listens outside.

        Raises:
            OSError: The address is in use, the port is not allowed, or the process outside is gone.
        """
        number = f"{os.getpid()}-{next(self._ids)}"
        self._channel.send(json.dumps({"id": number, "address": address, "port": port}).encode())
        while True:
            message, handles, _, _ = socket.recv_fds(self._channel, MESSAGE_BYTES, 1)
            if not message:
                raise ConnectionError("the process for listening sockets has ended")
            answer = json.loads(message)
            found = [socket.socket(fileno=handle) for handle in handles]
            if answer["id"] != number:  # of a supervisor that ended before it read the answer
                for each in found:
                    each.close()
                continue
            if not found:
                raise OSError(answer["errno"], os.strerror(answer["errno"]))
            found[0].setblocking(False)
            return found[0]
