"""Readiness of a cluster that starts: its processes, its mesh and bookinfo."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from embedded.control_plane import istio
from embedded.errors import ClusterError, NotReadyError
from embedded.health import connect, read_status
from embedded.kube import FAULTS

UP_SECONDS = 180.0
PROGRESS_SECONDS = 5.0
POLL_SECONDS = 0.2
MAX_STARTS = 4  # of one component during one `up`, after which `up` fails
Progress = Callable[[str], None]


async def wait_until_ready(state: Path, progress: Progress) -> None:
    """Apply bookinfo once the control plane is ready, and wait until all components are.

    Args:
        state: State folder of the cluster.
        progress: Called with lines for the user.

    Raises:
        NotReadyError: All processes are ready, but a Pod, bookinfo or the mesh is not.
        ClusterError: A process is not ready.
    """
    began, reported, applied = time.monotonic(), 0.0, False
    starts: dict[str, int] = {}
    refused: list[str] = []
    async with connect(state) as kube:
        while True:
            now = await read_status(state, kube)
            by_name = {component.name: component for component in now.components}
            for component in now.components:
                first = starts.setdefault(component.name, component.starts)
                if component.starts - first >= MAX_STARTS and not component.ready:
                    raise ClusterError(_restarts_again_and_again(state, component.name))
            processes_ready = all(component.ready for component in now.components if component.starts)
            if not applied and processes_ready and "istiod" in by_name and by_name["istiod"].ready:
                try:
                    await istio.apply_bookinfo(kube)
                    applied, refused = True, []
                    progress(f"cluster: control plane ready, bookinfo applied ({time.monotonic() - began:.1f} s)")
                except FAULTS as error:
                    refused = [f"bookinfo ({str(error) or type(error).__name__})"]
            passed = time.monotonic() - began
            if applied and now.ready:
                progress(f"cluster: ready in {passed:.1f} s")
                for each in filter(lambda component: component.limited, now.components):
                    progress(f"cluster: {each.detail}")
                return
            if not by_name["watchdog"].ready:
                log = state / "logs" / "supervisor.log"
                raise ClusterError(f"the watchdog ended (see {log}); check that {state} was not removed")
            waiting = refused + [f"{one.name} ({one.detail})" for one in now.components if not one.ready]
            for_what = " ".join("; ".join(waiting[:3]).split())
            if passed > UP_SECONDS:
                why = f"not ready after {UP_SECONDS:.0f} s: {for_what}"
                if processes_ready and "kube-apiserver" in by_name and by_name["kube-apiserver"].ready:
                    raise NotReadyError(f"{why}; the cluster runs: repair it with kubectl, or stop it with `lab down`")
                raise ClusterError(f"{why}; see {state / 'logs'}")
            if passed - reported > PROGRESS_SECONDS:
                reported = passed
                progress(f"cluster: {passed:.0f} s, waiting for {for_what}")
            await asyncio.sleep(POLL_SECONDS)


def _restarts_again_and_again(state: Path, name: str) -> str:
    log = state / "logs" / f"{name}.log"
    if name == "etcd":
        return f"etcd cannot read its data (see {log}); `rm -r {state / 'etcd'}` starts an empty cluster"
    return f"{name} ends again and again; see {log}"
