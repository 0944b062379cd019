"""System calls that the standard library lacks: mounts, namespaces and capabilities."""

import codecs
import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

NEWNS, NEWUTS, NEWIPC, NEWPID, NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x20000000, 0x40000000
NEWUSER = 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MS_NOATIME, MS_NODIRATIME, MS_RELATIME, ST_RELATIME = 1024, 2048, 1 << 21, 4096
PR_SET_PDEATHSIG, PR_SET_NAME, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 15, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_MNT_DETACH, _AT_FDCWD, _AT_RECURSIVE, _SYS_MOUNT_SETATTR = 2, -100, 0x8000, 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPABILITY_VERSION = 0x20080522
_SET_IDS = 1 << 6 | 1 << 7  # CAP_SETGID, CAP_SETUID
_libc = ctypes.CDLL(None, use_errno=True)
codecs.lookup("unicode_escape")  # loaded now: in a root that is being built, Python finds no module


def check(result: int, what: str) -> None:
    """Raise OSError, with `what` in its text, if the system call failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount `source` at `target`; raise OSError with both names on failure."""
    given = [text.encode() or None for text in (source, target, kind)]
    check(_libc.mount(*given, ctypes.c_ulong(flags), data.encode() or None), f"mount {kind or source} on {target}")


@contextlib.contextmanager
def held(path: str) -> Iterator[str]:
    """Open the absolute `path` without following a link in any part of it; yield a name that no one can lead elsewhere.

    Raises:
        OSError: A part is missing, or is a link.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open("/", flags)
    try:
        try:
            for part in filter(None, path.split("/")):
                outer, handle = handle, os.open(part, flags, dir_fd=handle)
                os.close(outer)
            if stat.S_ISLNK(os.fstat(handle).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        except OSError as error:
            raise OSError(error.errno, f"mount {path}: {error.strerror}") from None
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def set_read_only(target: str) -> None:
    """Make the mount `target` and all mounts below it read-only; raise OSError if it remains writable."""
    attributes = (ctypes.c_uint64 * 4)(MS_RDONLY, 0, 0, 0)
    done = _libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, attributes, 32)
    if done != 0 and ctypes.get_errno() == errno.ENOSYS:
        remount_read_only(target)  # a kernel before 5.12
    else:
        check(done, f"read-only {target}")


def remount_read_only(target: str) -> None:
    """Do the work of `set_read_only` one mount at a time, as kernels before 5.12 need it."""
    top = os.path.realpath(target)
    # A root that is being built has no /proc yet; its working folder is then this machine's root.
    table_path = "/proc/self/mountinfo" if os.path.exists("/proc/self/mountinfo") else "proc/self/mountinfo"
    with open(table_path, "rb") as table:
        found = [line.split()[4].decode("unicode_escape").encode("latin-1").decode() for line in table]
    for path in sorted({path for path in found if path == top or path.startswith(top.rstrip("/") + "/")}):
        remount_one_read_only(path)


def remount_one_read_only(target: str) -> None:
    """Make the mount `target` read-only, without the mounts below it."""
    # Flags that are not repeated would be cleared, which a user namespace may not do.
    kept = os.statvfs(target).f_flag
    flags = kept & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME)
    flags |= MS_RELATIME if kept & ST_RELATIME else 0
    mount("none", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def change_root(root: str) -> None:
    """Make the mount `root` the root of this mount namespace and detach the old one."""
    os.chdir(root)
    check(_libc.syscall(_SYS_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    check(_libc.umount2(b".", _MNT_DETACH), "leave the old root")
    os.chdir("/")


def unshare(flags: int, what: str) -> None:
    """Create new namespaces; `what` names them in the error."""
    check(_libc.unshare(flags), f"unshare {what}")


def enter(pid: int, name: str, flag: int) -> None:
    """Enter the namespace `name` of the process `pid`."""
    handle = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter_handle(handle, flag, name)
    finally:
        os.close(handle)


def enter_handle(handle: int, flag: int, name: str) -> None:
    """Enter the namespace that the descriptor `handle` refers to."""
    check(_libc.setns(handle, flag), f"enter the {name} namespace")


def prctl(option: int, value: Any) -> None:
    """Set an attribute of this process; failures are ignored."""
    _libc.prctl(option, value, 0, 0, 0)


def limit_capabilities(mask: int) -> None:
    """Keep only the capabilities of `mask` (bit n is capability n), also across execve.

    Raises:
        OSError: The kernel refuses.
    """
    for number in range(64):
        if not mask >> number & 1 and _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            if ctypes.get_errno() == errno.EINVAL:
                break  # beyond the last capability of this kernel
            check(-1, f"drop capability {number}")
    _libc.prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: the low 32 bits, then the high ones
    check(_libc.capget(header, sets), "read capabilities")
    low, high = sets[1] & mask, sets[4] & mask >> 32
    check(_libc.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)), "set capabilities")


def _map_ids(user: int, groups: Iterable[int]) -> None:
    """Create a user namespace in which this process is `user`, and in which `groups` are those of the machine.

    Only a process outside may map more than one group: a child, which remains there.
    """
    maps = {"uid_map": f"{user} {os.geteuid()} 1\n", "gid_map": "".join(f"{one} {one} 1\n" for one in groups)}
    here = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # this process, also for the child
    created, tell = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(tell)
            if os.read(created, 1):
                for name, value in maps.items():
                    with open(name, "w", opener=lambda path, _: os.open(path, os.O_WRONLY, dir_fd=here)) as file:
                        file.write(value)
                code = 0
        except OSError as error:
            code = error.errno or 1
        finally:
            os._exit(code)
    try:
        unshare(NEWUSER, "user")
        os.write(tell, b"1")
    finally:
        for handle in (tell, created, here):
            os.close(handle)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, f"groups {' '.join(map(str, groups))}: {os.strerror(code)}")


def become_user(user: int, group: int, mask: int, namespace: int | None = None, groups: Sequence[int] = ()) -> None:
    """Become `user` and `group`, with the capabilities of `mask`.

    A user namespace that has only these two gives them without root, too. Where the kernel allows none, the ids of the
    machine are set.

    Args:
        user: User id, 0 or above.
        group: Group id, 0 or above.
        mask: Capabilities, as for `limit_capabilities`; the next execve drops them, unless `user` is 0.
        namespace: Descriptor of the user namespace of a process that became the same user; None to create one.
        groups: Further groups, which only root of the machine can give.

    Raises:
        OSError: The kernel refuses.
    """
    maps = (("setgroups", "deny"), ("uid_map", f"{user} {os.geteuid()} 1"), ("gid_map", f"{group} {os.getegid()} 1"))
    try:
        if namespace is not None:
            enter_handle(namespace, NEWUSER, "user")
        elif groups:
            _map_ids(user, sorted({0, group, *groups}))
        else:
            unshare(NEWUSER, "user")
            for name, value in maps:
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(value)
        if groups:
            os.setgroups(groups)
            os.setresgid(group, group, group)
    except OSError:
        for handle in (0, 1, 2):
            if stat.S_ISFIFO(os.fstat(handle).st_mode) or os.isatty(handle):
                os.fchown(handle, user, group)  # /dev/stdout is opened again by name
        limit_capabilities(mask | _SET_IDS)
        os.setgroups(groups)
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    else:
        limit_capabilities(mask)
