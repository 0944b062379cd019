"""Checks of this machine before the cluster starts."""

import os
import shutil
import subprocess

from embedded.errors import ClusterError


def check_namespaces() -> None:
    """Check that the kernel grants the namespaces, and that their commands are here. Raises ClusterError."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    try:
        done = subprocess.run(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", *user, "true"],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    except FileNotFoundError:
        raise ClusterError("the command unshare is missing; install util-linux") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        fix = "run on the machine itself" if os.geteuid() == 0 else "allow unprivileged user namespaces, or run as root"
        raise ClusterError(f"this kernel refuses the namespaces that the cluster needs ({reason}); {fix}")
    for command in ("ip", "mount", "nsenter"):
        if not shutil.which(command):
            raise ClusterError(f"the command {command} is missing; install iproute2 and util-linux")
