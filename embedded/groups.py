"""Groups of the kernel that processes of this user namespace may have."""

from pathlib import Path


def available(process: Path = Path("/proc/self")) -> bool:
    """Return True if processes may have groups beside their own: only root may give them, or have them mapped.

    Args:
        process: Folder of a process in /proc.
    """
    if (process / "setgroups").read_text().strip() == "deny":
        return False
    return sum(int(line.split()[2]) for line in (process / "gid_map").read_text().splitlines()) > 1
