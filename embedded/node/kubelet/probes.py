"""Probes of containers: one attempt, its repetition, and the thresholds."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import grpc
import yarl
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from embedded.kube import Object
from embedded.node.kubelet.environment import static_probe

EAGER_FIRST_SECONDS, EAGER_LAST_SECONDS = 0.1, 1.0
REDIRECTS = (301, 302, 303, 307, 308)
MOST_REQUESTS = 10  # of one HTTP probe, with those after redirects
SERVING = 1  # a status of the health service of gRPC
Execute = Callable[[list[str], float], Awaitable[tuple[int | None, str]]]


@dataclass
class ProbeResult:
    """The result of one attempt; `message` is the reason of a failure, `answered` is True for one by an HTTP status."""

    passed: bool
    message: str = ""
    answered: bool = field(default=False, compare=False)


def port_number(container: Object, port: int | str) -> int:
    """Return the number of a probe's port, which may be the name of a container port.

    Raises:
        ValueError: No container port has that name.
    """
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for declared in container.get("ports") or []:
        if declared.get("name") == port:
            return int(declared["containerPort"])
    raise ValueError(f'no port is named "{port}"')


async def attempt(probe: Object, container: Object, pod_ip: str, execute: Execute) -> ProbeResult:
    """Run a probe once. A failure of the container is a result, never an exception.

    Args:
        probe: The probe, as in the container's spec.
        container: The container's spec.
        pod_ip: The Pod's address.
        execute: Runs a command in the container within a number of seconds; returns exit code and output.
    """
    seconds = float(probe.get("timeoutSeconds", 1))
    if command := probe.get("exec"):  # `execute` has the same limit and then kills the command
        code, output = await execute(command["command"], seconds)
        return ProbeResult(code == 0, output if code is not None else f"command timed out after {seconds:g}s")
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
            if call := probe.get("grpc"):
                return await _grpc(call, pod_ip)
    except TimeoutError:
        return ProbeResult(False, f"no answer within {seconds:g}s")
    except (OSError, ValueError, aiohttp.ClientError) as error:
        return ProbeResult(False, str(error))
    return ProbeResult(False, "this kind of probe is not supported on this node")


async def run_hook(hook: Object, seconds: float, probe: Callable[[Object], Awaitable[ProbeResult]]) -> ProbeResult:
    """Run a lifecycle hook. An HTTP hook passes by any answer, whatever its status.

    Args:
        hook: The hook, as in the container's spec.
        seconds: Its limit: the grace period of a preStop hook, and none (`math.inf`) of a postStart hook.
        probe: Runs the actions that hooks and probes have in common.

    Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/lifecycle/handlers.go
    """
    if "sleep" in hook:
        await asyncio.sleep(min(seconds, float(hook["sleep"]["seconds"])))
        return ProbeResult(True)
    answer = await probe({**hook, "timeoutSeconds": seconds})
    return ProbeResult(True) if answer.answered else answer


async def _grpc(call: Object, pod_ip: str) -> ProbeResult:
    """Ask the health service of a gRPC server.

    Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
    """
    # Both messages have one field, number 1: a string, and a number.
    request, options = StringValue(value=call.get("service") or ""), [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(f"{pod_ip}:{call['port']}", options=options) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check", StringValue.SerializeToString, Int32Value.FromString
        )
        try:
            status = (await check(request)).value
        except grpc.aio.AioRpcError as error:
            return ProbeResult(False, f"gRPC probe failed with {error.code().name}: {error.details()}")
    if status == SERVING:
        return ProbeResult(True)
    return ProbeResult(False, f"gRPC probe failed with health status {status}")


async def _http(get: Object, port: int, pod_ip: str) -> ProbeResult:
    """Ask by HTTP; follow redirects to the same host, pass by one to another host.

    Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/probe/http/http.go
    """
    scheme = get.get("scheme", "HTTP").lower()
    url = yarl.URL(f"{scheme}://{get.get('host') or pod_ip}:{port}/{get.get('path', '/').lstrip('/')}")
    headers = {"User-Agent": "kube-probe/1.36", "Accept": "*/*", "Connection": "close"}
    headers |= {item["name"]: item["value"] for item in get.get("httpHeaders") or []}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout()) as session:  # the caller has the limit
        for _ in range(MOST_REQUESTS):
            # As in the real kubelet, a probe does not verify certificates.
            async with session.get(url, headers=headers, ssl=False, allow_redirects=False) as answer:
                status, location = answer.status, answer.headers.get("Location", "")
            if status not in REDIRECTS or not location:
                passed = 200 <= status < 400
                message = "" if passed else f"HTTP probe failed with statuscode: {status}"
                return ProbeResult(passed, message, answered=True)
            following = url.join(yarl.URL(location))
            if following.host != url.host:
                return ProbeResult(True, answered=True)
            url = following
    return ProbeResult(False, f"stopped after {MOST_REQUESTS} redirects")


class Prober:
    """Loop that repeats one probe on its schedule and reports when a threshold is reached.

    The thresholds are `successThreshold` successes or `failureThreshold` failures in a row. An eager prober tries more
    often than its period until the first success, so that a Pod becomes ready early; those extra attempts do not count
    as failures. The initial delay begins when the prober is created, at the start of its container.
    """

    def __init__(self, probe: Object, try_once: Callable[[], Awaitable[ProbeResult]], *, eager: bool = False) -> None:
        """Repeat `try_once` by the schedule of `probe`; `eager` is for startup and readiness probes."""
        self._probe, self._try_once, self._eager = probe, try_once, eager
        self._begin = asyncio.get_running_loop().time() + float(probe.get("initialDelaySeconds", 0))

    async def run(self, settled: Callable[[bool, str], None]) -> None:
        """Probe until cancelled; call `settled(passed, message)` whenever a threshold is reached."""
        good = bad = 0
        period = float(self._probe.get("periodSeconds", 10))
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._begin - loop.time()))
        due, eager, pause = loop.time(), self._eager, EAGER_FIRST_SECONDS
        while True:
            result = await self._try_once()
            counts = loop.time() >= due
            if result.passed:
                good, bad, eager = good + 1, 0, False
            elif counts:
                good, bad = 0, bad + 1
            if good >= int(self._probe.get("successThreshold", 1)):
                settled(True, "")
            elif counts and bad >= int(self._probe.get("failureThreshold", 3)):
                settled(False, result.message)
            if counts:
                due = loop.time() + period
            await asyncio.sleep(min(pause, period) if eager else period)
            pause = min(pause * 1.5, EAGER_LAST_SECONDS)


class ProbeSet:
    """The startup, readiness and liveness probes of one run of a container."""

    def __init__(
        self,
        spec: Object,
        try_once: Callable[[Object], Awaitable[ProbeResult]],
        *,
        started: Callable[[], None],
        readiness: Callable[[bool, str], None],
        failed: Callable[[str, str], None],
    ) -> None:
        """Prepare the probes, when the container starts.

        Args:
            spec: The container's spec.
            try_once: Runs a probe once.
            started: Called once, after the startup probe.
            readiness: Called with (ready, message).
            failed: Called with (probe, message) if the container must be restarted.
        """
        self._spec, self._try_once = spec, try_once
        self._startup, self._ready = (self._prober(kind, eager=True) for kind in ("startupProbe", "readinessProbe"))
        self._live = self._prober("livenessProbe")
        self._started, self._readiness, self._failed = started, readiness, failed
        self._restarting: list[asyncio.Task[None]] = []  # of the startup and liveness probes
        self._stopped = False

    def stop(self) -> None:
        """Run no startup and no liveness probe any more, because the container is to end.

        Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/prober/prober_manager.go
        """
        self._stopped = True
        for task in self._restarting:
            task.cancel()

    def _prober(self, kind: str, *, eager: bool = False) -> Prober | None:
        probe = static_probe(self._spec, kind)
        return Prober(probe, lambda: self._try_once(probe), eager=eager) if probe else None

    async def run(self) -> None:
        """Probe until cancelled: the startup probe alone, then the others."""
        if self._stopped:
            return
        if self._startup:
            await self._start(self._startup)
        self._started()
        async with asyncio.TaskGroup() as group:
            if self._ready:
                group.create_task(self._ready.run(self._readiness))
            else:
                self._readiness(True, "")
            if self._live and not self._stopped:
                asking = self._live.run(lambda passed, message: None if passed else self._failed("Liveness", message))
                self._restarting.append(group.create_task(asking))

    async def _start(self, startup: Prober) -> None:
        passed = asyncio.Event()

        def settled(success: bool, message: str) -> None:
            if success:
                passed.set()
            else:
                self._failed("Startup", message)

        asking = asyncio.create_task(startup.run(settled))
        self._restarting.append(asking)
        try:
            await passed.wait()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
