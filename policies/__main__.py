"""The policy pack: hands each stack's objects to the rules, and reports what they find."""

from collections.abc import Iterator, Mapping
from typing import Any

from guard import live
from guard.objects import Object, World
from guard.reading import Reading, analysed
from guard.table import TABLE, Needs, Policy
from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyPack,
    PolicyProviderResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

READING = Reading()
KUBERNETES = "kubernetes:"


def target_of(provider: PolicyProviderResource | None) -> live.Target | None:
    """The cluster of a Kubernetes provider; None where it is not known yet."""
    props: Mapping[str, object] = provider.props if provider else {}
    try:
        return live.Target(str(props.get("kubeconfig") or ""), str(props.get("context") or ""))
    except UnknownValueError:
        return None


def stack_of(urn: str) -> str:
    """The stack that a resource is of, by its URN: the engine does not tell each pack the name."""
    return urn.removeprefix("urn:pulumi:").partition("::")[0]


def one_by_one(row: Policy) -> ResourceValidationPolicy:
    """A rule that judges each object by itself: the engine asks before the object is applied."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if not args.resource_type.startswith(KUBERNETES):
            return
        target = target_of(args.provider)
        stack = stack_of(args.urn)
        READING.begin(stack, target)
        item = Object(live.kind_of(args.resource_type), args.props, args.urn)
        remember(item)
        if not row.judges(item):
            return
        world = World((item,), stack=stack)
        if Needs.STATE in row.needs:
            world = READING.alone(item, stack, target)
        elif Needs.CLUSTER in row.needs:
            world = READING.before((item,), stack, target)
        for _urn, line in row.broken(world, args.get_config() or {}):
            report(line, None)

    return ResourceValidationPolicy(**described(row), validate=validate)


def remember(item: Object) -> None:
    """Keeps what the program asks for, for the rules that judge the whole stack."""
    try:
        READING.asked(live.marked(Object(item.kind, {}, item.urn), dict(item.labels), dict(item.annotations)))
    except UnknownValueError:
        return  # known only when it is applied: until then the engine's own view of it must do


def as_a_whole(row: Policy) -> StackValidationPolicy:
    """A rule that judges the stack: the engine asks at the end of a preview, and at the end of an update."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for target, objects in by_cluster(args):
            world = READING.whole(objects, stack_of(objects[0].urn), target)
            if Needs.ISTIOCTL in row.needs:
                try:
                    world = analysed(world)
                except live.Cannot as why:
                    report(f"{why}; nothing was analysed", None)
                    continue
            for urn, line in row.broken(world, args.get_config() or {}):
                report(line, urn or None)

    return StackValidationPolicy(**described(row), validate=validate)


def by_cluster(args: StackValidationArgs) -> Iterator[tuple[live.Target | None, tuple[Object, ...]]]:
    """The stack's Kubernetes objects, those of each cluster together."""
    found: dict[live.Target | None, list[Object]] = {}
    for item in args.resources:
        if item.resource_type.startswith(KUBERNETES):
            made = Object(live.kind_of(item.resource_type), item.props, item.urn)
            found.setdefault(target_of(item.provider), []).append(made)
    return ((target, tuple(objects)) for target, objects in found.items())


def described(row: Policy) -> dict[str, Any]:
    """What the two kinds of policies of the SDK have in common."""
    schema = PolicyConfigSchema(properties={name: dict(given) for name, given in row.parameters.items()})
    return {
        "name": row.name,
        "description": row.description,
        "enforcement_level": EnforcementLevel(row.level),
        "config_schema": schema if row.parameters else None,
        "remediation_steps": row.remedy,
    }


if __name__ == "__main__":
    PolicyPack(
        name="waypoint-lab",
        enforcement_level=EnforcementLevel.MANDATORY,
        policies=[one_by_one(row) if row.kinds else as_a_whole(row) for row in TABLE],
    )
