"""Probes: one question to a container, asked again and again, and what the answers in a row mean."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from embedded.kube import Object

EAGER_FIRST_SECONDS, EAGER_LAST_SECONDS = 0.1, 1.0
Execute = Callable[[list[str], float], Awaitable[tuple[int | None, str]]]


@dataclass
class ProbeResult:
    """Whether the container answered well, and what it said if not."""

    well: bool
    said: str = ""


def port_number(container: Object, port: int | str) -> int:
    """A probe's port: a number, or the name of one of the container's ports; raises ValueError for an unknown name."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for declared in container.get("ports") or []:
        if declared.get("name") == port:
            return int(declared["containerPort"])
    raise ValueError(f'no port is named "{port}"')


async def ask(probe: Object, container: Object, pod_ip: str, execute: Execute) -> ProbeResult:
    """Asks once; never raises for what the container does."""
    seconds = float(probe.get("timeoutSeconds", 1))
    try:
        async with asyncio.timeout(seconds):
            if get := probe.get("httpGet"):
                return await _http(get, port_number(container, get["port"]), pod_ip)
            if tcp := probe.get("tcpSocket"):
                host = tcp.get("host") or pod_ip
                _, writer = await asyncio.open_connection(host, port_number(container, tcp["port"]))
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                return ProbeResult(True)
            if command := probe.get("exec"):
                code, output = await execute(command["command"], seconds)
                return ProbeResult(code == 0, output if code is not None else f"command timed out after {seconds:g}s")
    except TimeoutError:
        return ProbeResult(False, f"no answer within {seconds:g}s")
    except (OSError, ValueError, aiohttp.ClientError) as error:
        return ProbeResult(False, str(error))
    return ProbeResult(False, "this kind of probe is not supported on this node")


async def _http(get: Object, port: int, pod_ip: str) -> ProbeResult:
    scheme = get.get("scheme", "HTTP").lower()
    url = f"{scheme}://{get.get('host') or pod_ip}:{port}/{get.get('path', '/').lstrip('/')}"
    headers = {"User-Agent": "kube-probe/1.36", "Accept": "*/*", "Connection": "close"}
    headers |= {item["name"]: item["value"] for item in get.get("httpHeaders") or []}
    # As kubelet's: a probe says whether something answers, not who it is.
    trust: ssl.SSLContext | bool = ssl._create_unverified_context() if scheme == "https" else True
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers, ssl=trust, allow_redirects=False) as answer,
    ):
        if 200 <= answer.status < 400:
            return ProbeResult(True)
        return ProbeResult(False, f"HTTP probe failed with statuscode: {answer.status}")


class Prober:
    """Asks one probe on its schedule and calls `settled(well, said)` whenever the verdict may have changed.

    The verdict changes after `successThreshold` good or `failureThreshold` bad answers in a row. Until the first good
    answer it asks more often than its period says, so that a Pod is ready as soon as it can be; those extra questions
    are not counted as failures.
    """

    def __init__(self, probe: Object, question: Callable[[], Awaitable[ProbeResult]], *, eager: bool = False) -> None:
        """`question` asks once; `eager` for probes whose success is waited for (startup and readiness)."""
        self._probe, self._question, self._eager = probe, question, eager

    async def run(self, settled: Callable[[bool, str], None]) -> None:
        """Asks until it is cancelled."""
        good = bad = 0
        period = float(self._probe.get("periodSeconds", 10))
        delay = float(self._probe.get("initialDelaySeconds", 0))
        loop = asyncio.get_running_loop()
        due, eager, pause = loop.time() + delay, self._eager, EAGER_FIRST_SECONDS
        await asyncio.sleep(0 if eager else delay)
        while True:
            answer = await self._question()
            counts = loop.time() >= due
            if answer.well:
                good, bad, eager = good + 1, 0, False
            elif counts:
                good, bad = 0, bad + 1
            if good >= int(self._probe.get("successThreshold", 1)):
                settled(True, "")
            elif counts and bad >= int(self._probe.get("failureThreshold", 3)):
                settled(False, answer.said)
            if counts:
                due = loop.time() + period
            await asyncio.sleep(min(pause, period) if eager else period)
            pause = min(pause * 1.5, EAGER_LAST_SECONDS)


class ProbeSet:
    """All probes of one run of a container."""

    def __init__(
        self,
        spec: Object,
        question: Callable[[Object], Awaitable[ProbeResult]],
        *,
        started: Callable[[], None],
        readiness: Callable[[bool, str], None],
        unwell: Callable[[str, str], None],
    ) -> None:
        """`started` is called once; `unwell(which probe, what it said)` when the container is to be restarted."""
        self._spec, self._question = spec, question
        self._started, self._readiness, self._unwell = started, readiness, unwell

    def _prober(self, kind: str, *, eager: bool = False) -> Prober | None:
        probe = self._spec.get(kind)
        return Prober(probe, lambda: self._question(probe), eager=eager) if probe else None

    async def run(self) -> None:
        """Asks until it is cancelled: first the startup probe alone, then the others."""
        if startup := self._prober("startupProbe", eager=True):
            await self._start(startup)
        self._started()
        async with asyncio.TaskGroup() as group:
            if readiness := self._prober("readinessProbe", eager=True):
                group.create_task(readiness.run(self._readiness))
            else:
                self._readiness(True, "")
            if liveness := self._prober("livenessProbe"):
                group.create_task(liveness.run(lambda well, said: None if well else self._unwell("Liveness", said)))

    async def _start(self, startup: Prober) -> None:
        passed = asyncio.Event()

        def settled(well: bool, said: str) -> None:
            if well:
                passed.set()
            else:
                self._unwell("Startup", said)

        asking = asyncio.create_task(startup.run(settled))
        try:
            await passed.wait()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
