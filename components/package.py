"""The components as one Pulumi package, for other projects and other languages.

`python -m components.package` prints the schema; `schema.json` beside this file is the reviewed copy of it.
"""

import inspect
import json
from typing import Any

import pulumi
from pulumi.errors import InputPropertiesError
from pulumi.provider import ConstructResult
from pulumi.provider.experimental.analyzer import PropertyDefinition, TypeDefinition
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.provider.server import ComponentInitError

from .canary_route import CanaryRoute
from .chaos_rule import ChaosRule
from .fail_closed import FailClosed
from .l7_policy import L7Policy
from .service_traffic import ServiceTraffic
from .waypoint import Waypoint

NAME = "waypoint-lab"
VERSION = "0.1.0"
# Bookinfo is not among them: it is the lab's own application, and its file is no part of this folder.
COMPONENTS: list[type[pulumi.ComponentResource]] = [
    Waypoint,
    L7Policy,
    CanaryRoute,
    ChaosRule,
    ServiceTraffic,
    FailClosed,
]


class Package(ComponentProvider):
    """What the SDK infers from the components' annotations, with tidy descriptions and errors of one line."""

    def __init__(self) -> None:
        """Analyses the components; raises what the SDK's analyser raises."""
        super().__init__(COMPONENTS, NAME, version=VERSION)
        # Python 3.13 takes the indentation off docstrings itself; earlier ones would give another schema.
        self.schema = json.dumps(_tidy(json.loads(self.schema or "")))

    def get_type_definition(self, prop: PropertyDefinition) -> TypeDefinition | None:
        """None for a vocabulary too: the component itself says best which words it knows."""
        found = super().get_type_definition(prop)
        return None if found and found.enum else found

    def construct(
        self, name: str, resource_type: str, inputs: Any, options: pulumi.ResourceOptions | None = None
    ) -> ConstructResult:
        """Builds one component. Raises InputPropertiesError, which the engine shows as it is, for bad arguments."""
        try:
            return super().construct(name, resource_type, inputs, options)
        except ComponentInitError as error:
            if isinstance(error.inner, pulumi.RunError):
                raise InputPropertiesError(str(error.inner), []) from None
            raise


def _tidy(item: Any) -> Any:
    if isinstance(item, dict):
        return {
            key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else _tidy(value)
            for key, value in item.items()
            if value is not None
        }
    return [_tidy(value) for value in item] if isinstance(item, list) else item


def schema() -> str:
    """The package's schema as JSON text, in the form of `schema.json`."""
    return json.dumps(json.loads(Package().schema or ""), indent=2) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
