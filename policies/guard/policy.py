"""What a row of the table of policies says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from .objects import Findings, Object, Settings, World

Schema = Mapping[str, Any]  # JSON schema of one parameter, with `default` and `description`


class Level(StrEnum):
    """What happens where a policy is broken."""

    MANDATORY = "mandatory"  # the update is stopped
    ADVISORY = "advisory"  # it is said
    DISABLED = "disabled"  # it is not looked at


class Needs(StrEnum):
    """What a rule has to be given besides the stack's objects."""

    CLUSTER = "cluster"  # the objects that the cluster has already
    STATE = "state"  # what the stack gave an object before, so that what it gives up now is seen
    ISTIOCTL = "istioctl"  # the messages of Istio's analysers


@dataclass(frozen=True)
class Policy:
    """A row. `description` says in one line what must hold, `remedy` what to do where it does not.

    `kinds`: the rule judges each object of these kinds by itself, before it is applied; without, the stack as a whole.
    `labels`: of those only the ones with any of these labels, because to judge one is to wait for the cluster.
    """

    name: str
    description: str
    remedy: str
    rule: Callable[[World, Settings], Findings]
    level: Level = Level.MANDATORY
    kinds: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    needs: frozenset[Needs] = frozenset()
    parameters: Mapping[str, Schema] = field(default_factory=dict)

    def judges(self, item: Object) -> bool:
        """Whether the rule judges this object by itself."""
        return item.base in self.kinds and (not self.labels or any(name in item.labels for name in self.labels))

    def settings(self, given: Settings) -> Settings:
        """All parameters: as given, else their defaults."""
        return {**{name: schema["default"] for name, schema in self.parameters.items()}, **given}

    def broken(self, world: World, given: Settings) -> list[tuple[str, str]]:
        """For each violation the object's URN and one line: what is wrong, where, and what to do."""
        found = self.rule(world, self.settings(given))
        return [(item.urn, f"{item.title}: {what}; {self.remedy}") for item, what in found]


def number(default: float, description: str, minimum: float = 0, **more: float) -> Schema:
    """A parameter that is a number, `minimum` or more."""
    return {"type": "number", "default": default, "minimum": minimum, **more, "description": description}


def texts(default: list[str], description: str) -> Schema:
    """A parameter that is a list of texts."""
    return {"type": "array", "items": {"type": "string"}, "default": default, "description": description}
