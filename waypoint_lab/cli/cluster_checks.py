"""What a cluster must have for the lab, as pure functions of what it says; each finding names what would fix it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from waypoint_lab.config.settings import LabConfig

Object = dict[str, Any]
GATEWAY_API = (1, 1)  # Source: Gateway API 1.1 made Services as parents of an HTTPRoute standard
ISTIO = (1, 24)  # Source: Istio 1.24 made ambient mode with waypoints stable
CANARY = (1, 31)  # Source: istio/istio 60801: a canary waypoint, in istiod and in ztunnel
CRDS = {
    "gateways.gateway.networking.k8s.io": "Gateway API",
    "httproutes.gateway.networking.k8s.io": "Gateway API",
    "authorizationpolicies.security.istio.io": "Istio",
    "virtualservices.networking.istio.io": "Istio",
    "telemetries.telemetry.istio.io": "Istio",
}
AMBIENT = "istioctl install --set profile=ambient"
INSTALL = {
    "Gateway API": "kubectl apply --server-side -f <standard-install.yaml of a Gateway API release, 1.1 or newer>",
    "Istio": AMBIENT,
}


class State(StrEnum):
    """How one thing is."""

    OK = "ok"
    UNKNOWN = "unknown"  # it cannot be seen; measuring will tell
    MISSING = "MISSING"


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, how it is, what was found, and the command that would fix it."""

    what: str
    state: State
    found: str
    fix: str = ""

    def __str__(self) -> str:
        """As `lab doctor` prints it."""
        return f"{self.state:<8}{self.what}: {self.found}" + (f"; fix: {self.fix}" if self.fix else "")


def _ok(what: str, found: str) -> Check:
    return Check(what, State.OK, found)


def _missing(what: str, found: str, fix: str) -> Check:
    return Check(what, State.MISSING, found, fix)


def _number(text: str) -> tuple[int, int] | None:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def gateway_api(crds: Mapping[str, str]) -> list[Check]:
    """`crds`: name and bundle version of each CRD that is there."""
    found = []
    for part in dict.fromkeys(CRDS.values()):
        absent = [name for name, owner in CRDS.items() if owner == part and name not in crds]
        if absent:
            found.append(_missing(f"{part} CRDs", f"{', '.join(absent)} not installed", INSTALL[part]))
        elif part == "Gateway API":
            version = crds["httproutes.gateway.networking.k8s.io"]
            number = _number(version)
            want = ".".join(map(str, GATEWAY_API))
            if number and number < GATEWAY_API:
                found.append(_missing("Gateway API", f"{version} is too old, {want} or newer is needed", INSTALL[part]))
            else:
                found.append(_ok("Gateway API", version or "installed, version not stated"))
        else:
            found.append(_ok(f"{part} CRDs", "installed"))
    return found


def _image(workload: Object) -> str:
    """Version in the tag of a workload's first image; empty where there is none."""
    containers = workload.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or [{}]
    return str(containers[0].get("image", "")).rpartition(":")[2]


def _old(version: str, wanted: tuple[int, int]) -> str:
    """Why `version` is not enough; empty where it is, or does not tell."""
    number, want = _number(version), ".".join(map(str, wanted))
    what = " for a canary waypoint" if wanted == CANARY else ""
    return f"{version} is too old{what}, {want} or newer is needed" if number and number < wanted else ""


def ambient(classes: list[Object], workloads: list[Object], wanted: tuple[int, int] = ISTIO) -> list[Check]:
    """`classes`: the GatewayClass istio-waypoint if it is there; `workloads`: istiod and ztunnel, as far as there.

    `wanted`: the version of both that is needed at least.
    """
    conditions = classes[0].get("status", {}).get("conditions") or [] if classes else []
    accepted = any(item["type"] == "Accepted" and item["status"] == "True" for item in conditions)
    if not classes:
        found = [_missing("Istio ambient", "there is no GatewayClass istio-waypoint", AMBIENT)]
    elif not accepted:
        found = [_missing("Istio ambient", "no istiod has accepted the GatewayClass istio-waypoint", AMBIENT)]
    else:
        found = [_ok("Istio ambient", "GatewayClass istio-waypoint is accepted")]
    by_kind = {item["kind"]: item for item in workloads}
    if istiod := by_kind.get("Deployment"):
        version = _image(istiod)
        why = _old(version, wanted)
        found.append(_missing("Istio version", why, "istioctl upgrade") if why else _ok("Istio version", version))
    else:
        found.append(Check("Istio version", State.UNKNOWN, "no Deployment with the label app=istiod"))
    if ztunnel := by_kind.get("DaemonSet"):
        status = ztunnel.get("status", {})
        ready, scheduled = status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)
        if ready < scheduled or not scheduled:
            fix = f"kubectl -n {ztunnel['metadata']['namespace']} rollout status daemonset/ztunnel"
            found.append(_missing("ztunnel", f"{ready} of {scheduled} nodes ready", fix))
        elif why := _old(_image(ztunnel), wanted):
            found.append(_missing("ztunnel", why, "istioctl upgrade"))
        else:
            found.append(_ok("ztunnel", f"ready on {ready} nodes"))
    else:
        found.append(Check("ztunnel", State.UNKNOWN, "no DaemonSet with the label app=ztunnel"))
    return found


def enrolled(config: LabConfig, namespaces: Mapping[str, Object]) -> list[Check]:
    """Whether both namespaces are there and in the mesh."""
    found = []
    for name in dict.fromkeys((config.app.namespace, config.app.client.namespace)):
        labels = namespaces.get(name, {}).get("metadata", {}).get("labels", {})
        if name not in namespaces:
            found.append(_missing(f"namespace {name}", "does not exist", f"kubectl create namespace {name}"))
        elif labels.get("istio.io/dataplane-mode") != "ambient":
            fix = f"kubectl label namespace {name} istio.io/dataplane-mode=ambient"
            found.append(_missing(f"namespace {name}", "is not enrolled in the mesh", fix))
        else:
            found.append(_ok(f"namespace {name}", "enrolled in the mesh"))
    return found


def service(config: LabConfig, item: Object | None) -> Check:
    """Whether the Service is there, with the port."""
    name = f"Service {config.app.namespace}/{config.app.service}"
    if item is None:
        return _missing(name, "does not exist", "set waypoint-lab:app.namespace and app.service")
    ports = [port["port"] for port in item["spec"].get("ports") or []]
    if config.app.port not in ports:
        listed = ", ".join(map(str, ports)) or "none"
        return _missing(name, f"has no port {config.app.port}, but {listed}", "set waypoint-lab:app.port")
    return _ok(name, f"port {config.app.port}")


def permissions(reviews: list[Object]) -> list[Check]:
    """What the API server says of the access that the user, and istiod, need."""
    found = []
    for who in dict.fromkeys(item["kind"] for item in reviews):
        own = [item for item in reviews if item["kind"] == who]
        denied = []
        for item in own:
            if not item.get("status", {}).get("allowed"):
                asked = item["spec"]["resourceAttributes"]
                kind = asked["resource"] + (f"/{asked['subresource']}" if asked.get("subresource") else "")
                denied.append(f"{asked['verb']} {kind}")
        what = "your permissions" if who == "SelfSubjectAccessReview" else "istiod's permissions"
        fix = "ask for a Role with them" if who == "SelfSubjectAccessReview" else AMBIENT
        namespace = own[0]["spec"]["resourceAttributes"]["namespace"]
        if denied:
            found.append(_missing(what, f"not allowed in {namespace}: {', '.join(denied)}", fix))
        else:
            found.append(_ok(what, f"sufficient in {namespace}"))
    return found
