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

from ._internal import owners
from .canary_route import CanaryRoute
from .chaos_rule import ChaosRule
from .fail_closed import FailClosed
from .l7_policy import L7Policy
from .outcome_gate import OutcomeGate, OutcomeObservation
from .service_traffic import ServiceTraffic
from .waypoint import Waypoint

NAME = "waypoint-lab"
VERSION = "0.1.0"
COMPONENTS: list[type[pulumi.ComponentResource]] = [
    Waypoint,
    L7Policy,
    CanaryRoute,
    ChaosRule,
    ServiceTraffic,
    FailClosed,
    OutcomeObservation,
    OutcomeGate,
]


class Package(ComponentProvider):
    """Provider of the components, with tidy descriptions in its schema and errors of one line."""

    def __init__(self) -> None:
        """Analyze the components. Errors are those of the SDK's analyzer."""
        super().__init__(COMPONENTS, NAME, version=VERSION)
        # Python 3.13 removes the indentation of docstrings itself; earlier versions would give another schema.
        self.schema = json.dumps(_tidy(json.loads(self.schema or "")))

    def get_type_definition(self, prop: PropertyDefinition) -> TypeDefinition | None:
        """Return no definition for an enum: the error of the component itself names the words."""
        found = super().get_type_definition(prop)
        return None if found and found.enum else found

    def map_input_properties(
        self,
        inputs: Any,
        properties: dict[str, PropertyDefinition],
        mapping: dict[str, str],
        component_name: str,
        property_path: str,
    ) -> Any:
        """Return inputs with Python names; all else that is wrong stays as it is, for the component's own check.

        The SDK's own leaves out unknown names of nested objects, and objects that are outputs.
        """

        def mapped(value: Any, prop: PropertyDefinition | None) -> Any:
            if isinstance(value, list):
                return [mapped(each, prop and prop.items) for each in value]
            shape = self.get_type_definition(prop) if prop and prop.ref else None
            if not shape or not isinstance(value, dict):
                return value
            names = shape.properties_mapping
            return {names.get(key, key): mapped(each, shape.properties.get(key)) for key, each in value.items()}

        return {mapping.get(key, key): mapped(value, properties.get(key)) for key, value in inputs.items()}

    def construct(
        self, name: str, resource_type: str, inputs: Any, options: pulumi.ResourceOptions | None = None
    ) -> ConstructResult:
        """Build one component. Raise InputPropertiesError, which the engine shows as it is, for bad arguments."""
        host = owners.HOST.set(self)
        try:
            return super().construct(name, resource_type, inputs, options)
        except ComponentInitError as error:
            if isinstance(error.inner, pulumi.RunError):
                raise InputPropertiesError(str(error.inner), []) from None
            raise
        finally:
            owners.HOST.reset(host)


def _tidy(item: Any) -> Any:
    if isinstance(item, dict):
        return {
            key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else _tidy(value)
            for key, value in item.items()
            if value is not None
        }
    return [_tidy(value) for value in item] if isinstance(item, list) else item


def schema() -> str:
    """Return the package's schema as JSON text, in the form of `schema.json`."""
    return json.dumps(json.loads(Package().schema or ""), indent=2) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
