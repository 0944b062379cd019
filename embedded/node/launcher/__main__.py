"""The process that starts every Pod's processes. It is run as a script, alone, with the standard library only.

The node agent asks it over a socket. It is apart from the agent because a process that enters namespaces must fork, and
forking a small single-threaded process is cheap and safe. It is also what ends Pods with the agent: the launcher dies
with the agent, each Pod's first process dies with the launcher, and with that process the kernel ends the whole Pod.

One message is one JSON object: {"id", "op": "pause"|"run"|"exec"|"kill", ...}; the answer has the same id and a "pid"
or an "error"; {"exit": pid, "code": n} tells of an end. Descriptors travel beside the message: standard input, output
and error of the new process.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import sys
import termios
from typing import Any

NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
AT_FDCWD, AT_RECURSIVE, SYS_MOUNT_SETATTR = -100, 0x8000, 442
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
MESSAGE_BYTES = 1 << 20
MSG_CMSG_CLOEXEC = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    given = [text.encode() or None for text in (source, target, kind)]
    _check(libc.mount(*given, ctypes.c_ulong(flags), data.encode() or None), f"mount {kind or source} on {target}")


def _read_only(target: str) -> None:
    """Makes a bound tree read-only; a kernel before 5.12 cannot, and the tree then stays as it is."""
    attributes = (ctypes.c_uint64 * 4)(MS_RDONLY, 0, 0, 0)
    done = libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, attributes, 32)
    if done != 0 and ctypes.get_errno() != errno.ENOSYS:
        _check(done, f"read-only {target}")


def _prctl(option: int, value: Any) -> None:
    libc.prctl(option, value, 0, 0, 0)


def _enter(pid: int, name: str, flag: int) -> None:
    handle = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(libc.setns(handle, flag), f"enter the {name} namespace")
    finally:
        os.close(handle)


def _build_root(root: str, plan: list[list[str]]) -> None:
    """Carries out the agent's mount plan under `root` and makes that the root of this mount namespace."""
    _check(libc.unshare(NEWNS), "unshare mounts")
    _mount("none", "/", flags=MS_REC | MS_PRIVATE)
    for kind, source, target in plan:
        at = root + target
        if kind == "dir":
            os.makedirs(at, exist_ok=True)
        elif kind == "file":
            os.makedirs(os.path.dirname(at), exist_ok=True)
            if not os.path.lexists(at):
                os.close(os.open(at, os.O_CREAT | os.O_WRONLY, 0o644))
        elif kind == "link":
            os.symlink(source, at)
        elif kind == "tmpfs":
            _mount("tmpfs", at, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={source}")
        elif kind in ("bind", "bind-ro", "show"):
            try:
                _mount(source, at, flags=MS_BIND | MS_REC)
            except OSError:
                if kind != "show":
                    raise
                continue  # a folder of this machine that cannot be shown (another user's mount) is left empty
            if kind != "bind":
                _read_only(at)
        elif kind == "proc":
            try:
                _mount("proc", at, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
            except PermissionError:  # inside a container whose own /proc is masked
                _mount("/proc", at, flags=MS_BIND | MS_REC)
    os.chdir(root)
    _check(libc.syscall(SYS_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _check(libc.umount2(b".", MNT_DETACH), "leave the old root")
    os.chdir("/")


def _pause(order: dict[str, Any], tell: int) -> None:
    """The first process of a Pod: holds its namespaces and reaps what is orphaned in them."""
    _check(libc.unshare(NEWNET | NEWNS | NEWUTS | NEWIPC), "unshare")
    _mount("none", "/", flags=MS_REC | MS_PRIVATE)
    socket.sethostname(order["hostname"])
    _prctl(PR_SET_NAME, b"pause")
    os.chdir("/")
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.close(tell)
    null = os.open("/dev/null", os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(null, handle)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigtimedwait({signal.SIGCHLD}, 3600)


def _run(order: dict[str, Any], handles: list[int]) -> None:
    """Becomes a container's process, or a command in a container that runs already (op exec)."""
    pause = order["pause"]
    inside = order.get("inside")  # the container's main process, for exec
    for name, flag in (("net", NEWNET), ("uts", NEWUTS), ("ipc", NEWIPC)):
        _enter(pause, name, flag)
    if inside:
        _enter(inside, "mnt", NEWNS)
    else:
        _build_root(order["root"], order["plan"])
    os.setsid()
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
    if order.get("tty"):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(order["cwd"] or "/")
    argv, env = order["argv"], order["env"]
    # Named the way a container runtime names it: what was asked for, and what is wrong with it.
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        raise OSError(error.errno, f'exec: "{argv[0]}": {os.strerror(error.errno or 0)}') from None


class Launcher:
    """Serves one agent until its socket closes."""

    def __init__(self, channel: socket.socket) -> None:
        """Serves over `channel`."""
        self._channel = channel
        self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        # Each live child -> its own mount namespace, if it is a container. Held open until the child is reaped: the
        # kernel gives the number of one that is gone to the next, and the sweep would end somebody else's processes.
        self._mounts: dict[int, int | None] = {}

    def serve(self) -> None:
        """Answers requests and reports ends; returns when the agent is gone."""
        wake, poke = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(poke, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._channel.fileno(), wake], [], [])
            if wake in ready:
                os.read(wake, 4096)
                self._reap()
            if self._channel.fileno() in ready:
                message, handles, _, _ = socket.recv_fds(self._channel, MESSAGE_BYTES, 3, MSG_CMSG_CLOEXEC)
                if not message:
                    return
                self._answer(json.loads(message), handles)

    def _tell(self, message: dict[str, Any]) -> None:
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
            self._tell({"exit": pid, "code": code if code >= 0 else 128 - code})

    def _sweep(self, mounts: int) -> None:
        """Ends what a container's main process left: the container's own mount namespace tells whose it was."""
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

    def _answer(self, order: dict[str, Any], handles: list[int]) -> None:
        answer: dict[str, Any] = {"id": order["id"]}
        try:
            if order["op"] == "kill":
                if order["pid"] in self._mounts:  # else it has been reaped, and its number may be another's
                    # A command of exec takes its children with it; each has a session of its own.
                    os.kill(-order["pid"] if order.get("group") else order["pid"], order["signal"])
            else:
                answer["pid"] = self._start(order, handles)
        except OSError as error:
            answer["error"] = error.strerror or str(error)
            answer["errno"] = error.errno
        finally:
            for handle in handles:
                os.close(handle)
        self._tell(answer)

    def _start(self, order: dict[str, Any], handles: list[int]) -> int:
        heard, tell = os.pipe2(os.O_CLOEXEC)
        try:
            if order["op"] == "pause":
                _check(libc.unshare(NEWPID), "unshare processes")
            else:
                _enter(order["pause"], "pid", NEWPID)
            pid = os.fork()
            if pid == 0:
                self._become(order, handles, tell)
        finally:
            os.close(tell)
            _check(libc.setns(self._own_pid_namespace, NEWPID), "return")
        with os.fdopen(heard, "rb") as reader:
            said = reader.read()  # empty once the child has executed its command
        if said:
            os.waitpid(pid, 0)
            number, text = said.decode().split(" ", 1)
            raise OSError(int(number), text)
        self._mounts[pid] = None
        if order["op"] == "run":
            with contextlib.suppress(OSError):  # it has ended already
                self._mounts[pid] = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        return pid

    def _become(self, order: dict[str, Any], handles: list[int], tell: int) -> None:
        try:
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._channel.close()
            for mounts in self._mounts.values():  # a Pod's first process executes nothing, which would close them
                if mounts is not None:
                    os.close(mounts)
            if order["op"] == "pause":
                _pause(order, tell)
            _run(order, handles)
        except OSError as error:
            os.write(tell, f"{error.errno or 5} {error.strerror or error}".encode())
        except BaseException as error:
            os.write(tell, f"5 {type(error).__name__}: {error}".encode())
        finally:
            os._exit(127)


if __name__ == "__main__":
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(PR_SET_NAME, b"launcher")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    Launcher(socket.socket(fileno=int(sys.argv[1]))).serve()
