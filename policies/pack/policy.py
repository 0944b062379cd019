"""A policy: one row of the table of policies."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .resources import ClusterSnapshot, Parameters, Resource, Violations

Schema = Mapping[str, Any]  # JSON schema of one parameter, with `default` and `description`


class EnforcementLevel(StrEnum):
    """Effect of a violation: it stops the update, or is only shown."""

    MANDATORY = "mandatory"
    ADVISORY = "advisory"


class Requirement(StrEnum):
    """Input that a rule needs besides the stack's resources."""

    CLUSTER = "cluster"  # resources of the cluster
    STATE = "state"  # labels and annotations that the stack applied earlier
    PODS = "pods"  # Pods of the namespaces whose selectors change
    ISTIOCTL = "istioctl"  # messages of `istioctl analyze`


@dataclass(frozen=True)
class Policy:
    """A policy of the pack.

    Attributes:
        name: Its name in Pulumi.
        description: The requirement in one line.
        fix: Remedy of a violation.
        reason: Reason of the requirement, for the documentation.
        rule: The check.
        level: Its default enforcement level.
        kinds: Kinds that are checked one by one before each resource is applied; empty for a check of the whole stack.
        labels: Labels of which a resource needs one to be checked, because the check waits for the cluster.
        requires: Input besides the stack's resources.
        parameters: Its parameters.
    """

    name: str
    description: str
    fix: str
    reason: str
    rule: Callable[[ClusterSnapshot, Parameters], Violations]
    level: EnforcementLevel = EnforcementLevel.MANDATORY
    kinds: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    requires: frozenset[Requirement] = frozenset()
    parameters: Mapping[str, Schema] = field(default_factory=dict)

    def applies_to(self, item: Resource) -> bool:
        """Return True if the policy checks this resource by itself."""
        return item.base in self.kinds and (not self.labels or any(name in item.labels for name in self.labels))

    def violations(self, snapshot: ClusterSnapshot, given: Parameters) -> Iterator[tuple[str, str]]:
        """Check a snapshot. Violations that were found before an unknown value are yielded.

        Args:
            snapshot: The resources to check.
            given: Parameters that differ from their defaults.

        Yields:
            For each violation the URN of the resource and one line: where, what is wrong, what to do.
        """
        # Pulumi passes unknown parameters on; without this line a misspelt one has no effect.
        if unknown := given.keys() - self.parameters.keys() - {"enforcementLevel"}:
            known = ", ".join(self.parameters) or "none"
            yield "", f"{self.name}: unknown parameter {', '.join(sorted(unknown))}; it has {known}"
            return
        parameters = {**{name: schema["default"] for name, schema in self.parameters.items()}, **given}
        for item, problem in self.rule(snapshot, parameters):
            yield item.urn, f"{item.title}: {problem}; {self.fix}"


def number_schema(default: float, description: str, minimum: float = 0, **more: float) -> Schema:
    """Return the schema of a number of `minimum` or more."""
    return {"type": "number", "default": default, "minimum": minimum, **more, "description": description}


def texts_schema(default: list[str], description: str) -> Schema:
    """Return the schema of a list of strings."""
    return {"type": "array", "items": {"type": "string"}, "default": default, "description": description}


CLUSTER = frozenset({Requirement.CLUSTER})
PODS = frozenset({Requirement.CLUSTER, Requirement.PODS})
# Parameters of a policy that applies to production.
PRODUCTION: Mapping[str, Schema] = {
    "stacks": texts_schema(["prod", "production"], "production stacks; * and ? are wildcards"),
    "namespaceLabels": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "default": {"environment": "production"},
        "description": "labels, any of which makes a namespace production",
    },
}
