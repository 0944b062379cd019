"""Kubernetes resources of a stack and of its cluster."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .fields import Fields, fields, text

CLUSTER_SCOPED = ("Cluster", "Namespace", "GatewayClass")

Key = tuple[str, str, str]  # kind, namespace, name
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Resource:
    """A Kubernetes resource.

    Attributes:
        kind: Its kind, as `kind_of` returns it; with the suffix `Patch` where the stack only patches it.
        properties: Its fields, of any shape.
        urn: Its Pulumi URN; empty for a resource that is not of the stack.
        provider: URN of the provider that applied it; known only for a resource of the stack's last state.
    """

    kind: str
    properties: Fields
    urn: str = ""
    provider: str = ""

    @cached_property
    def base(self) -> str:
        """Kind of the resource itself, also for a patch."""
        return self.kind.removesuffix("Patch")

    @property
    def patch(self) -> bool:
        """True if the stack sets only some of its fields."""
        return self.kind.endswith("Patch")

    @property
    def spec(self) -> Fields:
        """Its spec."""
        return fields(self.properties, "spec")

    @property
    def labels(self) -> Fields:
        """Its labels."""
        return fields(self.properties, "metadata", "labels")

    @property
    def annotations(self) -> Fields:
        """Its annotations."""
        return fields(self.properties, "metadata", "annotations")

    @property
    def name(self) -> str:
        """Its name; empty where Pulumi has yet to choose it."""
        return text(self.properties, "metadata", "name")

    @property
    def namespace(self) -> str:
        """Its namespace; empty for a cluster-scoped resource."""
        return "" if self.base in CLUSTER_SCOPED else text(self.properties, "metadata", "namespace", default="default")

    @cached_property
    def key(self) -> Key:
        """Identity within its cluster."""
        return self.base, self.namespace, self.name

    @property
    def title(self) -> str:
        """Name in messages."""
        kind = self.kind.rpartition("/")[2]
        return f"{kind} {self.namespace}/{self.name}".replace(" /", " ").rstrip()

    def same_as(self, other: "Resource") -> bool:
        """Return True if both are the same resource of the cluster."""
        return self is other or (self.key == other.key and bool(self.name))

    def marked(self, labels: Fields, annotations: Fields) -> "Resource":
        """Return a copy with these labels and annotations in place of its own."""
        metadata = {**fields(self.properties, "metadata"), "labels": labels, "annotations": annotations}
        return Resource(self.kind, {**self.properties, "metadata": metadata}, self.urn, self.provider)


Resources = Sequence[Resource]
Violation = tuple[Resource, str]  # the resource that breaks a rule, and the problem
Violations = Iterator[Violation]


@dataclass(frozen=True)
class ClusterSnapshot:
    """Input of a rule: the resources of one cluster as they will be after the update.

    Attributes:
        declared: Resources of the stack.
        live: Resources of the cluster, without what the stack applied earlier.
        error: Reason why the cluster could not be read, in one line; empty if it was read.
        stack: Name of the stack.
        messages: Messages of `istioctl analyze`.
        live_unfiltered: Resources of the cluster as they are before this update.
    """

    declared: Resources
    live: Resources = ()
    error: str = ""
    stack: str = ""
    messages: Sequence[Fields] = ()
    live_unfiltered: Resources = ()

    def own(self, *kinds: str) -> Iterator[Resource]:
        """Yield the stack's resources of `kinds`; a patch counts as the kind that it patches."""
        return (item for item in self.declared if item.base in kinds)

    def owns(self, item: Resource) -> bool:
        """Return True if the resource is of the stack, so that the stack can correct it."""
        return any(item is own for own in self.declared)

    def first_owned(self, candidates: Iterable[Resource]) -> Resource | None:
        """Return the first of `candidates` that is of the stack."""
        return next(filter(self.owns, candidates), None)

    def all(self, *kinds: str) -> Iterator[Resource]:
        """Yield the resources of `kinds` of stack and cluster; one that is in both is the stack's."""
        yield from self.own(*kinds)
        whole = {item.key for item in self.own(*kinds) if not item.patch}
        yield from (item for item in self.live if item.base in kinds and item.key not in whole)

    @cached_property
    def _by_kind(self) -> dict[str, dict[Key, list[Resource]]]:
        return {}  # each kind is read when a rule asks for it: in a preview the name of a resource may be unknown

    def find(self, kind: str, namespace: str, name: str) -> list[Resource]:
        """Return a resource with its patches, patches last; empty where it does not exist."""
        if kind not in self._by_kind:
            found: dict[Key, list[Resource]] = {}
            for item in sorted(self.all(kind), key=lambda part: part.patch):
                found.setdefault(item.key, []).append(item)
            self._by_kind[kind] = found
        return self._by_kind[kind].get((kind, namespace, name), [])

    def spec(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """Return the spec of a resource with its patches applied."""
        return {field: value for item in self.find(kind, namespace, name) for field, value in item.spec.items()}

    def labels(self, kind: str, namespace: str, name: str) -> dict[str, str]:
        """Return the labels of a resource with its patches applied."""
        parts = self.find(kind, namespace, name)
        return {label: value for item in parts for label, value in item.labels.items() if isinstance(value, str)}

    def annotations(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """Return the annotations of a resource with its patches applied."""
        parts = self.find(kind, namespace, name)
        return {note: value for item in parts for note, value in item.annotations.items()}

    def patched(self, *kinds: str) -> Iterator[tuple[Resource, list[Resource]]]:
        """Yield each resource of `kinds` with the specs of its patches applied, and the parts of that, patches last."""
        for item in self.all(*kinds):
            known = self.find(*item.key)
            if item.patch and any(not part.patch for part in known):
                continue  # it is part of the whole resource
            parts = [item, *(part for part in known if part.patch and part.spec and part is not item)]
            if len(parts) > 1:
                spec = {field: value for part in parts for field, value in part.spec.items()}
                item = Resource(item.kind, {**item.properties, "spec": spec}, item.urn)
            yield item, parts

    def is_complete_for(self, namespace: str) -> bool:
        """Return True if a resource of `namespace` that is not found does not exist.

        The resources of a Helm Release are not known before it is installed.
        """
        if any(text(item.properties, "namespace", default="default") == namespace for item in self.own("Release")):
            return False
        return not self.error or any(not item.patch for item in self.find("Namespace", "", namespace))

    @property
    def searched(self) -> str:
        """Text on the places where a resource was searched."""
        return "in the stack (the cluster could not be compared)" if self.error else "in the stack or the cluster"
