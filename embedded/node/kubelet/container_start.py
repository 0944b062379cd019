"""The start of a container: from its spec to a command and a mount plan."""

import asyncio
from collections.abc import Callable

from embedded.kube import Object
from embedded.node.kubelet import environment, security, termination
from embedded.node.kubelet.context import PodContext, backoff
from embedded.node.kubelet.etc_files import host_name
from embedded.node.kubelet.images import Image, UnknownImage, find
from embedded.node.kubelet.mounts import Bind, hidden_folders, plan, real
from embedded.node.launcher.process import Command


async def pull(pod: PodContext, image: str, set_waiting: Callable[[str, str], None]) -> Image:
    """Return the local replacement of `image`; report and retry while there is none.

    Args:
        pod: The Pod.
        image: The name of the image.
        set_waiting: Sets reason and message of the container's waiting state.
    """
    failures = 0
    while True:
        try:
            found = find(pod.config, image)
            if found.note:
                pod.event("Normal", "Pulled", f'{found.note} "{image}"')
            return found
        except (UnknownImage, OSError) as error:
            failures += 1
            set_waiting("ErrImagePull", str(error))
            pod.event("Warning", "Failed", f'Failed to pull image "{image}": {error}')
            pod.event("Warning", "Failed", "Error: ErrImagePull")
            await asyncio.sleep(1)
            set_waiting("ImagePullBackOff", f'Back-off pulling image "{image}": {error}')
            await asyncio.sleep(backoff(failures + 1))


async def prepare(pod: PodContext, spec: Object, image: Image) -> tuple[Command, list[list[str]]]:
    """Return the command of a container and the plan of its file system.

    Raises:
        MissingReference: The spec refers to something that does not exist, or asks for something unsupported.
    """
    terminal = {"TERM": "xterm"} if spec.get("tty") else {}
    known = await environment.build(pod.view(), spec, environment.SERVICES, pod.store, pod.capacity)
    env = {**terminal, **image.env, "HOSTNAME": host_name(pod.view()), **known}
    command, args = ([environment.expand(text, known) for text in spec.get(key) or []] for key in ("command", "args"))
    argv = image.argv(command, args)
    if not argv:
        raise environment.MissingReference("no command specified")
    termination.clear(pod.folder, spec)
    files = {path: Bind(real(source), read_only=True) for path, source in image.files.items()}
    binds = files | _binds(pod, spec, known)
    capabilities, no_new_privileges = security.capabilities(spec), security.no_new_privileges(spec)
    ids, groups = security.user_and_group(pod.view(), spec), security.supplemental_groups(pod.view())
    cwd, read_only = spec.get("workingDir") or "/", security.read_only_root(spec)
    made = Command(argv, env, cwd, capabilities, no_new_privileges, *ids, groups)
    return made, plan(binds, hidden_folders(pod.config.state_dir), cwd=cwd, read_only=read_only)


def _binds(pod: PodContext, container: Object, env: dict[str, str]) -> dict[str, Bind]:
    """Return a container's volumes and the files that every container has, by their path."""
    etc, read_only = pod.folder / "etc", security.read_only_root(container)
    binds = {f"/etc/{name}": Bind(str(etc / name), read_only) for name in ("resolv.conf", "hostname")}
    binds["/etc/hosts"] = Bind(str(etc / "hosts"))  # writable on every cluster
    message = termination.message_file(pod.folder, container)
    binds[container.get("terminationMessagePath") or termination.DEFAULT_PATH] = Bind(str(message))
    for mount in container.get("volumeMounts") or []:
        sub_path = mount.get("subPath") or environment.expand_known(mount.get("subPathExpr") or "", env)
        path = pod.volumes.path(mount["name"], sub_path)
        read_only = bool(mount.get("readOnly")) or pod.volumes.read_only(mount["name"])
        binds[mount["mountPath"]] = Bind(str(path), read_only)
    return binds
