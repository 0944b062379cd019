"""What the rules look at: a stack's objects, and those that the cluster has already."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

WAYPOINT_CLASS = "istio-waypoint"
CLUSTER_WIDE = ("Cluster", "Namespace", "GatewayClass")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

Key = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True)
class Object:
    """A Kubernetes object: its kind, with `Patch` after it where a stack only patches it, and its fields."""

    kind: str
    properties: Mapping[str, Any]
    urn: str = ""  # Pulumi's name of it; empty for one that is not of the stack

    @property
    def base(self) -> str:
        """Its kind; a patch has the kind of what it patches."""
        return self.kind.removesuffix("Patch")

    @property
    def patch(self) -> bool:
        """Whether only some of its fields are the stack's."""
        return self.kind.endswith("Patch")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Its metadata, empty where it has none."""
        return self.properties.get("metadata") or {}

    @property
    def spec(self) -> Mapping[str, Any]:
        """Its spec, empty where it has none."""
        return self.properties.get("spec") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.metadata.get("labels") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        return self.metadata.get("annotations") or {}

    @property
    def name(self) -> str:
        """Its name; empty where Pulumi has yet to choose it."""
        return str(self.metadata.get("name") or "")

    @property
    def namespace(self) -> str:
        """The namespace it is in; empty for what is in none."""
        return "" if self.base in CLUSTER_WIDE else str(self.metadata.get("namespace") or "default")

    @property
    def key(self) -> Key:
        """Tells it from every other object of its cluster."""
        return self.base, self.namespace, self.name

    @property
    def title(self) -> str:
        """How a message calls it."""
        return f"{self.kind} {self.namespace}/{self.name}".replace(" /", " ").rstrip()


Objects = Sequence[Object]
Settings = Mapping[str, Any]
Finding = tuple[Object, str]  # what breaks the rule, and how
Findings = Iterator[Finding]


@dataclass(frozen=True)
class World:
    """All that a rule may know of one cluster.

    `objects` are the stack's, `live` the cluster's. `problem` says in one line why the cluster could not be read, and
    is empty where it was. `messages` are those of Istio's own analysers. `served` is the cluster as it is before this
    update, for a rule that compares with it where `live` is without what the stack gave.
    """

    objects: Objects
    live: Objects = ()
    problem: str = ""
    stack: str = ""
    messages: Sequence[Mapping[str, Any]] = ()
    served: Objects = ()

    def own(self, *kinds: str) -> Iterator[Object]:
        """The stack's objects of `kinds`; a patch counts as the kind that it patches."""
        return (item for item in self.objects if item.base in kinds)

    def owns(self, item: Object) -> bool:
        """Whether it is the stack's: what is wrong between two objects of others is not the stack's to mend."""
        return any(item is own for own in self.objects)

    def all(self, *kinds: str) -> Iterator[Object]:
        """The stack's and the cluster's objects of `kinds`; one that is in both is the stack's."""
        yield from self.own(*kinds)
        whole = {item.key for item in self.objects if not item.patch}
        yield from (item for item in self.live if item.base in kinds and item.key not in whole)

    @cached_property
    def _by_key(self) -> dict[Key, list[Object]]:
        found: dict[Key, list[Object]] = {}
        for item in self.all(*{item.base for item in (*self.objects, *self.live)}):
            found.setdefault(item.key, []).append(item)
        return found

    def find(self, kind: str, namespace: str, name: str) -> list[Object]:
        """All that is known of one object: several where the stack patches it, none where nobody has it."""
        return self._by_key.get((kind, namespace, name), [])

    def labels(self, kind: str, namespace: str, name: str) -> dict[str, str]:
        """Its labels as they will be; empty also where it is not known."""
        return {label: value for item in self._in_order(kind, namespace, name) for label, value in item.labels.items()}

    def annotations(self, kind: str, namespace: str, name: str) -> dict[str, str]:
        """Its annotations as they will be; empty also where it is not known."""
        return {
            note: value for item in self._in_order(kind, namespace, name) for note, value in item.annotations.items()
        }

    def _in_order(self, kind: str, namespace: str, name: str) -> list[Object]:
        """All that is known of one object; what patches it comes last, because it has the last word."""
        return sorted(self.find(kind, namespace, name), key=lambda item: item.patch)

    @property
    def elsewhere(self) -> str:
        """Where something was looked for in vain."""
        return "in the stack (the cluster could not be read)" if self.problem else "in the stack or the cluster"


def plain(value: Any) -> Any:
    """As Kubernetes writes it: Pulumi hands each number over as a float, and adds fields of its own."""
    if isinstance(value, Mapping):
        kept = {name: value[name] for name in value if not name.startswith("__") and value[name] is not None}
        return {name: plain(item) for name, item in kept.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def seconds(text: object) -> float:
    """A Go duration such as `1m30s` in seconds; 0 where there is none."""
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|s|m|h)", str(text or "")))


def service_of(host: str, namespace: str) -> tuple[str, str] | None:
    """Namespace and name of the Service that Istio takes `host` for in an object of `namespace`; None for another host.

    Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/#Destination (short names)
    """
    name, *rest = host.split(".")
    if "*" in host or (len(rest) > 1 and rest[1] != "svc"):
        return None
    return (rest[0] if rest else namespace), name


def matches_any(text: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns, with * and ?, fits all of `text`."""
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def waypoint_of(world: World, namespace: str, service: str) -> str:
    """The waypoint that a Service's traffic takes, as `namespace/name`; empty where it takes none.

    Source: https://istio.io/latest/docs/ambient/usage/waypoint/ (the Service's own label comes before its namespace's)
    """
    of_service = world.labels("Service", namespace, service)
    labels = of_service if "istio.io/use-waypoint" in of_service else world.labels("Namespace", "", namespace)
    name = labels.get("istio.io/use-waypoint", "none")
    return "" if name == "none" else f"{labels.get('istio.io/use-waypoint-namespace', namespace)}/{name}"


def in_production(world: World, settings: Settings, namespace: str) -> str:
    """Why `namespace` of this stack is production by `stacks` and `namespaceLabels`; empty where it is not."""
    if matches_any(world.stack, settings["stacks"]):
        return f"stack {world.stack} is production"
    labels = world.labels("Namespace", "", namespace)
    for label, value in settings["namespaceLabels"].items():
        if labels.get(label) == value:
            return f"namespace {namespace} is production ({label}={value})"
    return ""
