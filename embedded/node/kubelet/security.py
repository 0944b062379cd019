"""The securityContext: users and capabilities of containers, and sysctls of Pods."""

from embedded import groups
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
# The user of containers with runAsNonRoot and without runAsUser: there is no image to name one.
NON_ROOT = 65532
# Users other than 0 may serve the ports below 1024, as with containerd.
SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0"}


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


def read_only_root(container: Object) -> bool:
    """Return True if the container may write to its volumes only."""
    return bool((container.get("securityContext") or {}).get("readOnlyRootFilesystem"))


def user_and_group(pod: Object, container: Object) -> tuple[int, int]:
    """Return the ids of a container's user and group; the container's own settings override the Pod's.

    Raises:
        MissingReference: It must not run as user 0, and names that user.
    """
    context = {**(pod["spec"].get("securityContext") or {}), **(container.get("securityContext") or {})}
    user = context.get("runAsUser")
    if context.get("runAsNonRoot") and user == 0:
        raise MissingReference("container's runAsUser breaks non-root policy")
    if user is None:
        user = NON_ROOT if context.get("runAsNonRoot") else 0
    return user, context.get("runAsGroup") or 0


def volume_group(pod: Object) -> int | None:
    """Return the group of the files of a Pod's volumes, if it names one."""
    group: int | None = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return group


def supplemental_groups(pod: Object) -> tuple[int, ...]:
    """Return the groups that the processes of a Pod have beside their own.

    Where the machine has none to give, the API server refuses Pods with others than the containers' own.
    """
    if not groups.available():
        return ()
    wanted = [*((pod["spec"].get("securityContext") or {}).get("supplementalGroups") or []), volume_group(pod)]
    return tuple(dict.fromkeys(group for group in wanted if group is not None))


def sysctls(pod: Object) -> dict[str, str]:
    """Return the sysctls of a Pod.

    Raises:
        MissingReference: One reaches beyond the Pod's own network namespace.
    """
    found = {each["name"]: each["value"] for each in (pod["spec"].get("securityContext") or {}).get("sysctls") or []}
    for name in found:
        if not name.startswith("net."):
            raise MissingReference(f"securityContext: sysctl {name} is not available on this node")
    return SYSCTLS | found
