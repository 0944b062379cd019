"""Pulumi programs for tests of the pack, and the violations that it reports."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from embedded.project import PROJECT_FOLDER
from tests.conftest import Kubectl
from tests.embedded.pulumi_program import Program

# Two namespaces of an ambient mesh; `live` is production.
LIVE, CALM = "policy-live", "policy-calm"
GATEWAY_API, ISTIO, SECURITY = "gateway.networking.k8s.io/v1", "networking.istio.io/v1", "security.istio.io/v1"
USE, CANARY, WEIGHT = "istio.io/use-waypoint", "istio.io/use-waypoint-canary", "istio.io/use-waypoint-canary-weight"
Config = dict[str, Any]


class ReportedViolation(NamedTuple):
    """A violation as Pulumi shows it."""

    policy: str
    level: str
    message: str


def row(api: str, kind: str, name: str, spec: Any = None, place: str = LIVE, **more: Any) -> dict[str, Any]:
    body = {name: more.pop(name) for name in ("data",) if name in more} | ({"spec": spec} if spec else {})
    document = {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": place, **more}, **body}
    return {"name": f"{place}-{kind}-{name}".lower(), "document": document}


def service(name: str, place: str = LIVE, **labels: str) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80}]
    quick = {"pulumi.com/skipAwait": "true"}
    return row("v1", "Service", name, {"ports": ports}, place, labels=labels, annotations=quick)


def route(name: str, *backends: tuple[str, int], place: str = LIVE, parent: str = "", **match: Any) -> dict[str, Any]:
    refs = [{"name": backend, "port": 80, "weight": weight} for backend, weight in backends]
    parents = [{"group": "", "kind": "Service", "name": parent or name, "port": 80}]
    return row(
        GATEWAY_API, "HTTPRoute", name, {"parentRefs": parents, "rules": [{"backendRefs": refs, **match}]}, place
    )


def rule(name: str, to: str, place: str = LIVE, host: str = "", annotations: Any = None, **rule: Any) -> dict[str, Any]:
    there = [{"destination": {"host": f"{to}.{place}.svc.cluster.local"}}]
    spec = {"hosts": [f"{host or to}.{place}.svc.cluster.local"], "http": [{"route": there, **rule}]}
    return row(ISTIO, "VirtualService", name, spec, place, annotations=annotations or {})


def authorization(
    name: str, place: str = LIVE, service: str = "", gateways: Sequence[str] = (), **spec: Any
) -> dict[str, Any]:
    refs = [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway} for gateway in gateways]
    refs += [{"group": "", "kind": "Service", "name": service}] if service else []
    bound = {"targetRefs": refs} if refs else {}
    return row(SECURITY, "AuthorizationPolicy", name, {"action": "ALLOW", **bound, **spec}, place)


def waypoint(name: str, port: int, place: str, **spec: Any) -> dict[str, Any]:
    listeners = [{"name": "mesh", "port": port, "protocol": "HBONE"}]
    return row(
        GATEWAY_API, "Gateway", name, {"gatewayClassName": "istio-waypoint", "listeners": listeners, **spec}, place
    )


def canary(weight: int) -> list[dict[str, Any]]:
    names = ("shop", "shop-old", "shop-next")
    return [*map(service, names), route("shop", ("shop-old", 100 - weight), ("shop-next", weight))]


def patch(name: str, place: str, weight: str = "", **labels: str) -> dict[str, Any]:
    """A patch of the namespace `place`: its labels, or the weight of its canary waypoint."""
    given = {"annotations": {WEIGHT: weight}} if weight else {"labels": labels}
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place, **given}}
    return {"name": name, "document": document, "patch": True}


def two_waypoints(kubectl: Kubectl, place: str, *labels: str, weight: str = "") -> None:
    """A namespace with the Gateways `old` and `new`, of a class without a controller: they need not run."""
    kubectl("create", "namespace", place)
    for name in ("old", "new"):
        gateway = waypoint(name, 15008, place, gatewayClassName="nobodys")["document"]
        kubectl("apply", "--filename=-", given=json.dumps(gateway))
    if labels:
        kubectl("label", "namespace", place, *labels)
        kubectl("annotate", "namespace", place, f"{WEIGHT}={weight}")


def packed(folder: Path, environment: dict[str, str]) -> Program:
    """A program beside a copy of the pack, which is to need nothing of this project."""
    made = Program(folder, environment)
    # Shows the flag --event-log, as Pulumi's own Automation API does.
    made.environment["PULUMI_DEBUG_COMMANDS"] = "true"
    shutil.copytree(PROJECT_FOLDER / "policies", pack(made))
    return made


def pack(program: Program) -> Path:
    return program.folder.parent / "pack"


def preview(
    program: Program,
    rows: list[dict[str, Any]],
    config: Config | None = None,
    *,
    fails: bool,
    provider: Config | None = None,
) -> list[ReportedViolation]:
    """Return the violations of these resources that the pack reports."""
    program.write(*rows, provider=provider)
    events, settings = program.folder / "events.json", program.folder / "policies.json"
    events.unlink(missing_ok=True)
    settings.write_text(json.dumps(config or {}))
    given = ("--policy-pack", str(pack(program)), "--policy-pack-config", str(settings))
    said = program.pulumi("preview", *given, "--event-log", str(events), fails=fails)
    found = []
    for line in events.read_text().splitlines():
        if event := json.loads(line).get("policyEvent"):
            message = event["message"].strip()
            assert message.splitlines()[-1] in said, "a violation that the user is not shown"
            found.append(ReportedViolation(event["policyName"], event["enforcementLevel"], message))
    return found
