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
    services = environment.service_environment(pod.config.service_cidr)
    known = await environment.build(pod.view(), spec, services, pod.store, pod.capacity)
    env = {**terminal, **image.env, "HOSTNAME": host_name(pod.view()), **known}
    command, args = ([environment.expand(text, known) for text in spec.get(key) or []] for key in ("command", "args"))
    argv = image.argv(command, args)
    if not argv:
        raise environment.MissingReference("no command specified")
    termination.clear(pod.folder, spec)
    files = {path: Bind(real(source), read_only=True) for path, source in image.files.items()}
    binds = files | pod.binds(spec, known)
    capabilities, no_new_privileges = security.capabilities(spec), security.no_new_privileges(spec)
    ids, groups = security.user_and_group(pod.view(), spec), security.supplemental_groups(pod.view())
    made = Command(argv, env, spec.get("workingDir") or "/", capabilities, no_new_privileges, *ids, groups)
    return made, plan(binds, hidden_folders(pod.config.state_dir), read_only=security.read_only_root(spec))
