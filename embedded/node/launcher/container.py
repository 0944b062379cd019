"""Conversion of a forked process into the first process of a Pod, or into a container's process."""

import contextlib
import fcntl
import os
import signal
import socket
import termios
from collections.abc import Iterator
from typing import Any, NoReturn

from embedded.node.launcher import system

# As container runtimes do. Source: OCI runtime-tools, default `readonlyPaths` and `maskedPaths`.
PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
PROC_MASKED = ("kcore", "keys", "latency_stats", "timer_list")


def build_root(root: str, plan: list[list[str]]) -> None:
    """Carry out the mount plan under the folder `root` and make that the root of a new mount namespace.

    Args:
        root: An empty folder of this machine.
        plan: Steps of (kind, source or mode, target), as `kubelet.mounts.plan` returns them.

    Raises:
        OSError: A mount fails, a mount point cannot be created, or a folder of the machine would remain writable.
    """
    system.unshare(system.NEWNS, "mounts")
    system.mount("none", "/", flags=system.MS_REC | system.MS_PRIVATE)
    for kind, source, target in plan:
        if kind == "show":
            source = os.path.realpath(source)
        held = system.held(source) if kind in ("bind", "bind-ro") else contextlib.nullcontext(source)
        with held as source, _inside(root):
            try:
                _carry_out(kind, source, target)
            except OSError as error:
                if error.filename is not None:
                    raise OSError(error.errno, f"create {target}: {error.strerror}") from None
                raise
    system.change_root(root)


@contextlib.contextmanager
def _inside(root: str) -> Iterator[None]:
    """Resolve absolute paths in the folder `root`, and relative ones from this machine's root.

    A symbolic link in a volume, also an absolute one, then leads to nothing of this machine.
    """
    os.chdir("/")
    machine = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chroot(root)
        yield
    finally:
        os.fchdir(machine)
        os.chroot(".")
        os.close(machine)


def _of_machine(path: str) -> str:
    """Return the path by which `_inside` another root finds the real `path` of this machine."""
    return path.lstrip("/") or "."


def _carry_out(kind: str, source: str, at: str) -> None:
    if kind == "dir":
        os.makedirs(at, exist_ok=True)
    elif kind == "file":
        os.makedirs(os.path.dirname(at), exist_ok=True)
        if not os.path.lexists(at):
            os.close(os.open(at, os.O_CREAT | os.O_WRONLY, 0o644))
    elif kind == "link":
        os.symlink(source, at)
    elif kind == "tmpfs":
        system.mount("tmpfs", at, "tmpfs", system.MS_NOSUID | system.MS_NODEV, f"mode={source}")
    elif kind == "devpts":
        with contextlib.suppress(PermissionError):  # some sandboxes forbid it; the folder is then empty
            flags = system.MS_NOSUID | system.MS_NOEXEC
            system.mount("devpts", at, "devpts", flags, "newinstance,ptmxmode=0666,mode=0620")
    elif kind in ("bind", "bind-ro", "show"):
        try:
            system.mount(_of_machine(source), at, flags=system.MS_BIND | system.MS_REC)
        except OSError:
            if kind != "show":
                raise
            return  # a folder of this machine that cannot be shown (another user's mount) is left empty
        if kind != "bind":
            system.set_read_only(at)
    elif kind == "read-only":
        system.remount_one_read_only(at)
    elif kind == "proc":
        _mount_proc(at)


def _mount_proc(at: str) -> None:
    try:
        system.mount("proc", at, "proc", system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC)
    except PermissionError:  # inside a container whose own /proc is masked
        system.mount(_of_machine("/proc"), at, flags=system.MS_BIND | system.MS_REC)
    for name in filter(lambda name: os.path.exists(f"{at}/{name}"), PROC_READ_ONLY):
        system.mount(f"{at}/{name}", f"{at}/{name}", flags=system.MS_BIND | system.MS_REC)
        system.set_read_only(f"{at}/{name}")
    for name in filter(lambda name: os.path.exists(f"{at}/{name}"), PROC_MASKED):
        system.mount(_of_machine("/dev/null"), f"{at}/{name}", flags=system.MS_BIND)


def become_pause(order: dict[str, Any], error_pipe: int) -> NoReturn:
    """Become the first process of a Pod: it owns the namespaces and reaps orphans.

    Its own file system is empty, so that a container finds nothing of this machine behind `/proc/1/root`.
    """
    null = os.open("/dev/null", os.O_RDWR)
    system.unshare(system.NEWNET | system.NEWNS | system.NEWUTS | system.NEWIPC, "namespaces")
    system.mount("none", "/", flags=system.MS_REC | system.MS_PRIVATE)
    for name, value in order["sysctls"].items():
        with open(f"/proc/sys/{name.replace('.', '/')}", "w") as file:
            file.write(value)
    system.mount("tmpfs", "/tmp", "tmpfs", system.MS_NOSUID | system.MS_NODEV | system.MS_RDONLY)
    system.change_root("/tmp")
    socket.sethostname(order["hostname"])
    system.prctl(system.PR_SET_NAME, b"pause")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.close(error_pipe)
    for handle in (0, 1, 2):
        os.dup2(null, handle)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        signal.sigtimedwait({signal.SIGCHLD}, 3600)


def become_container(order: dict[str, Any], handles: list[int]) -> NoReturn:
    """Become a container's process, or with `inside` in `order` a command in that running container.

    Raises:
        OSError: The process cannot be started.
    """
    for name, flag in (("net", system.NEWNET), ("uts", system.NEWUTS), ("ipc", system.NEWIPC)):
        system.enter(order["pause"], name, flag)
    users = None
    if "inside" in order:
        users = os.open(f"/proc/{order['inside']}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        system.enter(order["inside"], "mnt", system.NEWNS)
    else:
        build_root(order["root"], order["plan"])
    os.setsid()
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
    if order.get("tty"):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(order["cwd"] or "/")
    # Python ignores some signals, and a new program inherits that.
    for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(each) == signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)
    if order["no_new_privileges"]:
        system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)
    if order["user"] or order["group"]:
        system.become_user(order["user"], order["group"], order["capabilities"], users, order["groups"])
    else:
        if order["groups"]:
            os.setgroups(order["groups"])
        system.limit_capabilities(order["capabilities"])
    argv = order["argv"]
    # Worded as a container runtime does it: the command, and the reason.
    try:
        os.execvpe(argv[0], argv, order["env"])
    except OSError as error:
        raise OSError(error.errno, f'exec: "{argv[0]}": {os.strerror(error.errno or 0)}') from None
