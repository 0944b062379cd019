"""The files and folders that a container has at paths of its own."""

from pathlib import Path

from embedded.kube import Object
from embedded.node.kubelet import environment, termination
from embedded.node.kubelet.mounts import Bind
from embedded.node.kubelet.security import read_only_root
from embedded.node.kubelet.volumes import Volumes


def container_binds(folder: Path, volumes: Volumes, container: Object, env: dict[str, str]) -> dict[str, Bind]:
    """Return a container's volumes and the files that every container has, by their path.

    Args:
        folder: The Pod's folder.
        volumes: The Pod's volumes.
        container: The container of the Pod's spec.
        env: The variables that `subPathExpr` may refer to.

    Raises:
        MissingReference: A volume is not declared, a path leaves it, or `subPathExpr` names an unknown variable.
    """
    etc, read_only = folder / "etc", read_only_root(container)
    binds = {f"/etc/{name}": Bind(str(etc / name), read_only) for name in ("resolv.conf", "hostname")}
    binds["/etc/hosts"] = Bind(str(etc / "hosts"))  # writable on every cluster
    message = termination.message_file(folder, container)
    binds[container.get("terminationMessagePath") or termination.DEFAULT_PATH] = Bind(str(message))
    for mount in container.get("volumeMounts") or []:
        sub_path = mount.get("subPath") or environment.expand_known(mount.get("subPathExpr") or "", env)
        path = volumes.path(mount["name"], sub_path)
        read_only = bool(mount.get("readOnly")) or volumes.read_only(mount["name"])
        binds[mount["mountPath"]] = Bind(str(path), read_only)
    return binds
