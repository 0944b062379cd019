"""The launcher's loop: it takes orders from the node agent, forks, and reports the ends of processes.

The launcher is a process of its own because a process that enters namespaces must fork, and forking a small
single-threaded process is cheap and safe. It also ends Pods with the agent: the launcher dies with the agent, the first
process of each Pod dies with the launcher, and with that process the kernel ends the whole Pod.

An order is one JSON object, {"id", "op": "pause"|"run"|"exec"|"kill", ...}. It travels in a memory file, because the
kernel limits the size of a message and an environment may be larger; the message carries the file's descriptor and the
standard streams of the new process. The answer has the same id, and "pid" or "error"; {"exit": pid, "code": n} reports
an end.
"""

import contextlib
import json
import os
import select
import signal
import socket
from typing import Any, NoReturn

from embedded.node.launcher import system
from embedded.node.launcher.container import become_container, become_pause

MSG_CMSG_CLOEXEC = 0x40000000
ERROR_BYTES = 2000  # of the answer; a longer message than the socket's buffer, 4.5 KiB at least, cannot be sent


def _shortened(text: str) -> str:
    """Return a start of `text` that takes at most ERROR_BYTES as JSON."""
    while len(json.dumps(text)) > ERROR_BYTES:
        text = text[: len(text) // 2]
    return text


def _text(error: OSError) -> str:
    """Return the reason of `error`, with the path that it is about."""
    text = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {text}" if error.filename else text


class LauncherServer:
    """Server of one node agent, until its socket closes."""

    def __init__(self, channel: socket.socket) -> None:
        """Serve over `channel`."""
        self._channel = channel
        self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        # Each live child → its own mount namespace, if it is a container. Held open until the child is reaped: the
        # kernel reuses the number of a namespace that is gone, and the sweep would end processes of another container.
        self._mounts: dict[int, int | None] = {}

    def serve(self) -> None:
        """Answer orders and report ends; return when the agent is gone."""
        wake, poke = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(poke, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._channel.fileno(), wake], [], [])
            if wake in ready:
                os.read(wake, 4096)
                self._reap()
            if self._channel.fileno() in ready:
                message, handles, _, _ = socket.recv_fds(self._channel, 16, 4, MSG_CMSG_CLOEXEC)
                if not message:
                    return
                self._answer(handles)

    def _send(self, message: dict[str, Any]) -> None:
        self._channel.send(json.dumps(message).encode())

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            mounts = self._mounts.pop(pid, None)
            if mounts is not None:
                self._sweep(mounts)
                os.close(mounts)
            code = os.waitstatus_to_exitcode(status)
            self._send({"exit": pid, "code": code if code >= 0 else 128 - code})

    def _sweep(self, mounts: int) -> None:
        """Kill the remaining processes of a container: those in its mount namespace."""
        wanted = os.fstat(mounts)
        for _ in range(5):
            found = False
            for name in os.listdir("/proc"):
                try:
                    if name.isdigit() and os.path.samestat(os.stat(f"/proc/{name}/ns/mnt"), wanted):
                        os.kill(int(name), signal.SIGKILL)
                        found = True
                except OSError:
                    continue
            if not found:
                return

    def _answer(self, handles: list[int]) -> None:
        # Nothing in one order may end the launcher, and all Pods with it.
        answer: dict[str, Any] = {"id": None}
        try:
            with open(handles[0], "rb", closefd=False) as file:
                order = json.loads(file.read())
            answer["id"] = order["id"]
            if order["op"] == "kill":
                if order["pid"] in self._mounts:  # otherwise it is reaped, and its number may name another process
                    # A command of exec has a session of its own; its children are killed with it.
                    os.kill(-order["pid"] if order["group"] else order["pid"], order["signal"])
            else:
                answer["pid"] = self._start(order, handles[1:])
        except OSError as error:
            answer["error"] = _shortened(_text(error))
        except Exception as error:
            answer["error"] = _shortened(f"{type(error).__name__}: {error}")
        finally:
            for handle in handles:
                os.close(handle)
        self._send(answer)

    def _start(self, order: dict[str, Any], handles: list[int]) -> int:
        errors, error_pipe = os.pipe2(os.O_CLOEXEC)
        try:
            if order["op"] == "pause":
                system.unshare(system.NEWPID, "processes")
            else:
                system.enter(order["pause"], "pid", system.NEWPID)
            pid = os.fork()
            if pid == 0:
                self._become(order, handles, error_pipe)
        finally:
            os.close(error_pipe)
            system.enter_handle(self._own_pid_namespace, system.NEWPID, "own process")
        with os.fdopen(errors, "rb") as reader:
            error = reader.read()  # empty once the child has executed its command
        if error:
            os.waitpid(pid, 0)
            raise OSError(error.decode(errors="replace"))
        self._mounts[pid] = None
        if order["op"] == "run":
            with contextlib.suppress(OSError):  # it has ended already
                self._mounts[pid] = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        return pid

    def _become(self, order: dict[str, Any], handles: list[int], error_pipe: int) -> NoReturn:
        try:
            system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._channel.close()
            for mounts in self._mounts.values():  # a Pod's first process executes nothing, which would close them
                if mounts is not None:
                    os.close(mounts)
            if order["op"] == "pause":
                become_pause(order, error_pipe)
            become_container(order, handles)
        except OSError as error:
            os.write(error_pipe, _text(error).encode())
        except BaseException as error:
            os.write(error_pipe, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(127)
