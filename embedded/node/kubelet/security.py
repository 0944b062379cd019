"""The securityContext: capabilities of containers, and sysctls of Pods."""

from embedded.kube import Object
from embedded.node.kubelet.environment import MissingReference

# The default set of containerd and Docker without MKNOD: no device cgroup keeps a container from the machine's disks.
# Source: https://github.com/moby/moby/blob/master/oci/caps/defaults.go
USUAL = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}
# Capabilities that a Pod may add: they affect the Pod's own namespaces only.
ADDABLE = USUAL | {"NET_ADMIN": 12, "IPC_LOCK": 14}


def capabilities(container: Object) -> int:
    """Return the capability mask of a container (bit n is capability n).

    Raises:
        MissingReference: The container is privileged, or adds a capability that reaches beyond its Pod.
    """
    context = container.get("securityContext") or {}
    if context.get("privileged"):
        raise MissingReference("securityContext: privileged containers do not run on this node")
    change = context.get("capabilities") or {}
    add, drop = ([name.upper().removeprefix("CAP_") for name in change.get(key) or []] for key in ("add", "drop"))
    for name in add:
        if name not in ADDABLE and name != "ALL":
            raise MissingReference(f"securityContext: capability {name} is not available on this node")
    kept = {} if "ALL" in drop else {name: bit for name, bit in USUAL.items() if name not in drop}
    kept |= ADDABLE if "ALL" in add else {name: ADDABLE[name] for name in add}
    return sum(1 << bit for bit in kept.values())


def no_new_privileges(container: Object) -> bool:
    """Return True if the container forbids privilege escalation."""
    return (container.get("securityContext") or {}).get("allowPrivilegeEscalation") is False


def sysctls(pod: Object) -> dict[str, str]:
    """Return the sysctls of a Pod.

    Raises:
        MissingReference: One reaches beyond the Pod's own network namespace.
    """
    found = {each["name"]: each["value"] for each in (pod["spec"].get("securityContext") or {}).get("sysctls") or []}
    for name in found:
        if not name.startswith("net."):
            raise MissingReference(f"securityContext: sysctl {name} is not available on this node")
    return found
