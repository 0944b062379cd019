"""Probes: one question to a container, asked again and again, and what the answers in a row mean."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from embedded.kube import Object

Execute = Callable[[list[str], float], Awaitable[tuple[int | None, str]]]


@dataclass
class Answer:
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


async def ask(probe: Object, container: Object, pod_ip: str, execute: Execute) -> Answer:
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
                return Answer(True)
            if command := probe.get("exec"):
                code, output = await execute(command["command"], seconds)
                return Answer(code == 0, output if code is not None else f"command timed out after {seconds:g}s")
    except TimeoutError:
        return Answer(False, f"no answer within {seconds:g}s")
    except (OSError, ValueError, aiohttp.ClientError) as error:
        return Answer(False, str(error))
    return Answer(False, "this kind of probe is not supported on this node")


async def _http(get: Object, port: int, pod_ip: str) -> Answer:
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
            return Answer(True)
        return Answer(False, f"HTTP probe failed with statuscode: {answer.status}")


class Prober:
    """Asks one probe on its schedule and calls `settled(well, said)` whenever the verdict may have changed.

    The verdict changes after `successThreshold` good or `failureThreshold` bad answers in a row.
    """

    def __init__(self, probe: Object, question: Callable[[], Awaitable[Answer]]) -> None:
        """`question` asks once."""
        self._probe, self._question = probe, question

    async def run(self, settled: Callable[[bool, str], None]) -> None:
        """Asks until it is cancelled."""
        good = bad = 0
        period = float(self._probe.get("periodSeconds", 10))
        await asyncio.sleep(float(self._probe.get("initialDelaySeconds", 0)))
        while True:
            answer = await self._question()
            good, bad = (good + 1, 0) if answer.well else (0, bad + 1)
            if good >= int(self._probe.get("successThreshold", 1)):
                settled(True, "")
            elif bad >= int(self._probe.get("failureThreshold", 3)):
                settled(False, answer.said)
            await asyncio.sleep(period)
