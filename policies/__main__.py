"""The policy pack: hands each stack's objects to the rules, and reports what they find as mandatory violations."""

from collections.abc import Mapping
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    StackValidationArgs,
    StackValidationPolicy,
)
from rules import RULES, Object, Rule

SCHEMAS: Mapping[str, PolicyConfigSchema] = {
    "weights-add-up": PolicyConfigSchema(properties={"total": {"type": "number", "default": 100, "minimum": 1}}),
    "fault-limits": PolicyConfigSchema(
        properties={
            "maxPercent": {"type": "number", "default": 100, "minimum": 0, "maximum": 100},
            "maxDelaySeconds": {"type": "number", "default": 10, "minimum": 0},
        }
    ),
}


def objects_of(args: StackValidationArgs) -> list[Object]:
    """The Kubernetes objects among a stack's resources."""
    found = [item for item in args.resources if item.resource_type.startswith("kubernetes:")]
    return [Object(item.resource_type.rsplit(":", 1)[1], item.props) for item in found]


def policy(name: str, rule: Rule) -> StackValidationPolicy:
    """A rule as a policy of the pack; its description is the rule's own first line."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        settings: Mapping[str, Any] = args.get_config() or {}
        for line in rule(objects_of(args), settings):
            report(line, None)

    description = (rule.__doc__ or name).splitlines()[0]
    return StackValidationPolicy(name=name, description=description, validate=validate, config_schema=SCHEMAS.get(name))


PolicyPack(
    name="waypoint-lab",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[policy(name, rule) for name, rule in RULES.items()],
)
