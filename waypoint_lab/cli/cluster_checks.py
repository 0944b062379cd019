"""Checks of the objects that a cluster must have for the lab. Each failed check has a fix."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.kubectl import Object

GATEWAY_API = (1, 1)  # Source: Gateway API 1.1 made Services as parents of an HTTPRoute standard
ISTIO = (1, 24)  # Source: Istio 1.24 made ambient mode with waypoints generally available
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
    """Result of a check."""

    OK = "ok"
    UNKNOWN = "unknown"  # not readable, without a version, or not ready on each node; a measurement shows it
    MISSING = "MISSING"


@dataclass(frozen=True)
class Check:
    """One line of `lab doctor`: the checked object, the result, the details and the fix."""

    what: str
    state: State
    found: str
    fix: str = ""

    def __str__(self) -> str:
        """Return the line that `lab doctor` prints."""
        return f"{self.state:<8}{self.what}: {self.found}" + (f"; fix: {self.fix}" if self.fix else "")


def _ok(what: str, found: str) -> Check:
    return Check(what, State.OK, found)


def _missing(what: str, found: str, fix: str) -> Check:
    return Check(what, State.MISSING, found, fix)


def _number(text: str) -> tuple[int, int] | None:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def gateway_api(crds: Mapping[str, str]) -> list[Check]:
    """Check the CRDs of Gateway API and Istio.

    Args:
        crds: Installed CRDs: name and bundle version, which may be empty.
    """
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
    """Return the version in the tag of a workload's first image; empty if it has none."""
    containers = workload.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or [{}]
    name = str(containers[0].get("image", "")).partition("@")[0].rpartition("/")[2]  # no digest, no port of a registry
    return name.partition(":")[2]


def _old(version: str, wanted: tuple[int, int]) -> str:
    """Return the problem if `version` is older than `wanted`; empty for text without a version."""
    number, want = _number(version), ".".join(map(str, wanted))
    what = " for a canary waypoint" if wanted == CANARY else ""
    return f"{version} is too old{what}, {want} or newer is needed" if number and number < wanted else ""


def rev_of(istiod: Object) -> str:
    """Return the revision of an istiod's Deployment; empty if it has none."""
    return str((istiod.get("metadata", {}).get("labels") or {}).get("istio.io/rev", ""))


def _control_plane(istiods: list[Object], wanted: tuple[int, int], revision: str) -> Check:
    """Check the version of a revision's istiod; a single control plane may have it under the name of a tag."""
    what, revision = "Istio version", revision or "default"
    if not istiods:
        return Check(what, State.UNKNOWN, "no Deployment with the label app=istiod")
    by_revision = {rev_of(item): item for item in istiods}
    if revision not in by_revision and len(by_revision) > 1:
        found = f"several control planes ({', '.join(sorted(by_revision))}), and none has the revision {revision}"
        fix = "set waypoint-lab:waypoint.revision to one of them; `istioctl tag list` shows the revision of a tag"
        return Check(what, State.UNKNOWN, found, fix)
    version = _image(by_revision.get(revision, istiods[-1]))
    if why := _old(version, wanted):
        return _missing(what, why, "istioctl upgrade")
    if _number(version):
        return _ok(what, version)
    return Check(what, State.UNKNOWN, f"{version or 'no tag'}: its image names no version")


def ambient(
    classes: list[Object], workloads: list[Object], wanted: tuple[int, int] = ISTIO, revision: str = ""
) -> list[Check]:
    """Check istiod, ztunnel and the GatewayClass of waypoints.

    Args:
        classes: The GatewayClass istio-waypoint; empty if it does not exist.
        workloads: Workloads of istiod and ztunnel that exist.
        wanted: Oldest version of both that is accepted, as (major, minor).
        revision: Revision of the waypoint's istiod; empty means default.
    """
    conditions = classes[0].get("status", {}).get("conditions") or [] if classes else []
    accepted = any(item["type"] == "Accepted" and item["status"] == "True" for item in conditions)
    if not classes:
        found = [_missing("Istio ambient", "there is no GatewayClass istio-waypoint", AMBIENT)]
    elif not accepted:
        found = [_missing("Istio ambient", "no istiod has accepted the GatewayClass istio-waypoint", AMBIENT)]
    else:
        found = [_ok("Istio ambient", "GatewayClass istio-waypoint is accepted")]
    found.append(_control_plane([item for item in workloads if item["kind"] == "Deployment"], wanted, revision))
    if ztunnel := next((item for item in workloads if item["kind"] == "DaemonSet"), None):
        status = ztunnel.get("status", {})
        ready, scheduled = status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)
        fix = f"kubectl -n {ztunnel['metadata']['namespace']} rollout status daemonset/ztunnel"
        if not ready:
            found.append(_missing("ztunnel", f"{ready} of {scheduled} nodes ready", fix))
        elif why := _old(_image(ztunnel), wanted):
            found.append(_missing("ztunnel", why, "istioctl upgrade"))
        elif ready < scheduled:  # the other node may have nothing to do with the change
            found.append(Check("ztunnel", State.UNKNOWN, f"{ready} of {scheduled} nodes ready", fix))
        else:
            found.append(_ok("ztunnel", f"ready on {ready} nodes"))
    else:
        found.append(Check("ztunnel", State.UNKNOWN, "no DaemonSet with the label app=ztunnel"))
    return found


def enrolled(config: LabConfig, namespaces: Mapping[str, Object]) -> list[Check]:
    """Check that the namespaces of the application and the client exist and are enrolled in the mesh."""
    found = []
    meshed = (config.app.namespace, config.client.namespace)
    for name in dict.fromkeys((*config.namespaces, *meshed)):
        labels = namespaces.get(name, {}).get("metadata", {}).get("labels", {})
        if name not in namespaces:
            found.append(_missing(f"namespace {name}", "does not exist", f"kubectl create namespace {name}"))
        elif name not in meshed:
            found.append(_ok(f"namespace {name}", "there"))
        elif labels.get("istio.io/dataplane-mode") != "ambient":
            fix = f"kubectl label namespace {name} istio.io/dataplane-mode=ambient"
            found.append(_missing(f"namespace {name}", "is not enrolled in the mesh", fix))
        else:
            found.append(_ok(f"namespace {name}", "enrolled in the mesh"))
    return found


def service(config: LabConfig, item: Object | None) -> Check:
    """Check that the Service exists and has the port. `item` is None if it does not exist."""
    name = f"Service {config.app.namespace}/{config.app.service}"
    if item is None:
        return _missing(name, "does not exist", "set waypoint-lab:app.namespace and app.service")
    ports = [port["port"] for port in item["spec"].get("ports") or []]
    if config.app.port not in ports:
        listed = ", ".join(map(str, ports)) or "none"
        return _missing(name, f"has no port {config.app.port}, but {listed}", "set waypoint-lab:app.port")
    return _ok(name, f"port {config.app.port}")


def permissions(reviews: list[Object]) -> list[Check]:
    """Check the answers of access reviews for the user and for istiod."""
    found = []
    places = [(item["kind"], item["spec"]["resourceAttributes"]["namespace"]) for item in reviews]
    for kind, namespace in dict.fromkeys(places):
        own = [item for item, place in zip(reviews, places, strict=True) if place == (kind, namespace)]
        denied = []
        for item in own:
            if not item.get("status", {}).get("allowed"):
                asked = item["spec"]["resourceAttributes"]
                subresource = f"/{asked['subresource']}" if asked.get("subresource") else ""
                denied.append(f"{asked['verb']} {asked['resource']}{subresource}")
        user = kind == "SelfSubjectAccessReview"
        what, fix = "your permissions", "ask for a Role with them"
        if not user:
            what, fix = "istiod's permissions", f"grant them to {own[0]['spec'].get('user')}, as Istio's chart does"
        if denied:
            found.append(_missing(what, f"not allowed in {namespace}: {', '.join(denied)}", fix))
        else:
            found.append(_ok(what, f"sufficient in {namespace}"))
    return found
