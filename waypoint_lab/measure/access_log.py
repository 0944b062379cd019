"""Which waypoint took the lab's own requests, and what a waypoint logged: read from access logs, on any cluster."""

import json
import re
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure.probe import AGENT, ProbeError, kubectl

KUBECTL_SECONDS = 30
LIMIT_SECONDS = 15.0  # pilot-agent has Envoy write its log every second
POLL_SECONDS = 0.2
OF_GATEWAY = "gateway.networking.k8s.io/gateway-name"
# istiod's text format: response flags, user agent, upstream cluster, and the Service's own address.
_LINE = re.compile(
    r'^\[[^]]*] "(?P<method>\S+) [^"]*" (?P<status>\d+) (?P<flags>\S+) .*? "[^"]*" "(?P<agent>[^"]*)" "[^"]*" '
    r'"[^"]*" "[^"]*" (?P<cluster>\S+) \S+ (?P<local>\S+) '
)


def _kubectl(config: LabConfig, *arguments: str) -> str:
    try:
        done = subprocess.run(
            kubectl(config, *arguments), capture_output=True, text=True, check=False, timeout=KUBECTL_SECONDS
        )
    except FileNotFoundError:
        raise ProbeError("kubectl is not on PATH") from None
    if done.returncode:
        raise ProbeError((done.stderr.strip().splitlines() or ["kubectl failed"])[-1])
    return done.stdout


def address(config: LabConfig) -> str:
    """Where the Service listens, as its waypoint logs it. Raises ProbeError."""
    found = json.loads(_kubectl(config, "get", "service", config.app.service, "-n", config.app.namespace, "-o", "json"))
    return f"{found['spec']['clusterIP']}:{config.app.port}"


def log(config: LabConfig, waypoint: str, seconds: int) -> str:
    """What all Pods of a waypoint logged in the last `seconds`; nothing where it has none. Raises ProbeError."""
    chosen = ("-l", f"{OF_GATEWAY}={waypoint}", "--tail=-1", "--max-log-requests=50", f"--since={seconds}s")
    return _kubectl(config, "logs", "-n", config.app.namespace, *chosen)


def requests(text: str, address: str) -> Iterator[dict[str, str]]:
    """The requests in a log that went to `address`: method, status, flags, agent, cluster and local."""
    for line in text.splitlines():
        if (found := _LINE.match(line)) and found["local"] == address:
            yield found.groupdict()


def agent() -> str:
    """A user agent that tells these requests from all others, the lab's own among them."""
    return f"{AGENT}/{secrets.token_hex(4)}"


def answers(config: LabConfig, agent: str, sent: int, began: float) -> dict[str, Counter[str]]:
    """The statuses that each waypoint answered requests of `agent` with, `sent` of them since `began` (monotonic).

    Waits until all of them are logged, at most for LIMIT_SECONDS. Raises ProbeError.
    """
    where, until = address(config), time.monotonic() + LIMIT_SECONDS
    while True:
        window = int(time.monotonic() - began) + 5
        found = {
            name: Counter(one["status"] for one in requests(log(config, name, window), where) if one["agent"] == agent)
            for name in config.waypoints
        }
        if sum(counter.total() for counter in found.values()) >= sent or time.monotonic() > until:
            return found
        time.sleep(POLL_SECONDS)


def totals(answers: Mapping[str, Counter[str]]) -> Counter[str]:
    """How many requests each waypoint took, whatever it answered."""
    return Counter({name: seen.total() for name, seen in answers.items()})


def taken(config: LabConfig, agent: str, sent: int, began: float) -> Counter[str]:
    """How many requests of `agent` each waypoint took; see `answers`."""
    return totals(answers(config, agent, sent, began))
