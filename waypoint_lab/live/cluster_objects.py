"""The objects of a namespace that decide about its traffic, and their changes."""

import time
from collections.abc import Iterator
from contextlib import suppress

from waypoint_lab.kubectl import ODD, Object
from waypoint_lab.live import objects
from waypoint_lab.live.model import Change, Fault, PolicySummary
from waypoint_lab.live.services import Declared
from waypoint_lab.measure.access_log import hosts
from waypoint_lab.measure.endpoint_counters import runs

POD, SERVICE = "Pod", "Service"
PATHS = {
    POD: "/api/v1/namespaces/{}/pods",
    SERVICE: "/api/v1/namespaces/{}/services",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes",
    "VirtualService": "/apis/networking.istio.io/v1/namespaces/{}/virtualservices",
    "DestinationRule": "/apis/networking.istio.io/v1/namespaces/{}/destinationrules",
    "AuthorizationPolicy": "/apis/security.istio.io/v1/namespaces/{}/authorizationpolicies",
}
READERS = {"HTTPRoute": objects.http_route, "VirtualService": objects.virtual_service}
MOST_CHANGES = 50


class ClusterObjects:
    """The newest state of each object."""

    def __init__(self) -> None:
        """Know no object."""
        self.known: dict[str, dict[str, Object]] = {kind: {} for kind in PATHS}
        self.changes: list[Change] = []
        self.by_pulumi = 0.0  # time of the last change by Pulumi
        self._listed: set[str] = set()

    @property
    def complete(self) -> bool:
        """True once the Pods were listed."""
        return POD in self._listed

    def take(self, kind: str, event: str, item: Object) -> None:
        """Apply an event of a watch; `LIST` has all objects of a kind.

        Args:
            kind: Kind of the objects.
            event: Type of the event.
            item: The object, or the list.
        """
        if event != "LIST":
            self._take(kind, event, item)
            return
        items = {one["metadata"]["name"]: one for one in item.get("items") or []}
        for name in self.known[kind].keys() - items.keys():
            self._take(kind, "DELETED", self.known[kind][name])
        for one in items.values():
            self._take(kind, "ADDED", one, first=kind not in self._listed)
        self._listed.add(kind)

    def _take(self, kind: str, event: str, item: Object, *, first: bool = False) -> None:
        name, known = item["metadata"]["name"], self.known[kind]
        before = known.get(name)
        if event == "DELETED":
            known.pop(name, None)
        else:
            known[name] = item
        same = before is not None and event != "DELETED" and before.get("spec") == item.get("spec")
        if kind in (POD, SERVICE) or same:
            return
        by, written = objects.writer(item)
        moment = (written or time.time()) if first else time.time()
        if by.startswith(objects.MANAGER) and not first:
            self.by_pulumi = moment
        try:
            self.changes.append(Change(time=moment, kind="object", text=objects.changed(kind, item, event)))
        except ODD:
            self.changes.append(Change(time=moment, kind="object", text=f"{kind} {name}: {event.lower()}"))
        del self.changes[:-MOST_CHANGES]

    def pods(self) -> list[str]:
        """Return the names of the Pods whose Envoy runs."""
        return sorted(name for name, item in self.known[POD].items() if runs(item))

    def declared(self) -> Declared:
        """Return the declared routes. An object of unknown shape is left out."""
        found = Declared()
        for kind, read in READERS.items():
            for item in self.known[kind].values():
                try:
                    for where, weights in read(item):
                        found.weights[where] = weights or found.weights.get(where, {})
                    found.mirrored |= set(_mirrors(item))
                except ODD:
                    continue
        for name, item in self.known[SERVICE].items():
            with suppress(*ODD):
                found.addresses[name, item["metadata"]["namespace"]] = hosts(item)
        return found

    def faults(self) -> Iterator[Fault]:
        """Yield the faults of VirtualServices."""
        for item in self.known["VirtualService"].values():
            try:
                yield from list(objects.faults(item))
            except ODD:
                continue

    def policies(self) -> Iterator[PolicySummary]:
        """Yield the AuthorizationPolicies."""
        for item in self.known["AuthorizationPolicy"].values():
            try:
                yield objects.policy(item)
            except ODD:
                continue


def _mirrors(item: Object) -> Iterator[tuple[str, str]]:
    """Yield name and namespace of the Services that a route copies requests to."""
    namespace, spec = item["metadata"]["namespace"], item["spec"]
    for rule in spec.get("rules") or []:
        for one in rule.get("filters") or []:
            if one.get("type") == "RequestMirror":
                ref = one["requestMirror"]["backendRef"]
                yield ref["name"], ref.get("namespace", namespace)
    for rule in spec.get("http") or []:
        for mirror in [
            *(rule.get("mirrors") or []),
            *([{"destination": rule["mirror"]}] if rule.get("mirror") else []),
        ]:
            yield objects.split(mirror["destination"]["host"], namespace)
