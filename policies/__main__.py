"""The policy pack: hands each stack's objects to the rules, and reports what they find."""

import atexit
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from guard import live
from guard.objects import Object, World
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

PREVIEW = os.environ.get("PULUMI_DRY_RUN") == "true"
UNKNOWN = "the kubeconfig of its provider is known only when the stack is applied"


class Reading:
    """What is read of the outside: every cluster once, and once more after an update, when it has changed."""

    def __init__(self) -> None:
        """Nothing is read before the first Kubernetes object comes."""
        self._before: dict[live.Target, live.Cluster] = {}
        self._after: dict[live.Target, live.Cluster] = self._before if PREVIEW else {}
        self._recorded: live.Recorded | None = None

    def begin(self, target: live.Target | None) -> None:
        """Starts reading in the background."""
        if target is not None and target not in self._before:
            self._before[target] = live.Cluster(target)
        if PREVIEW and self._recorded is None:
            self._recorded = live.Recorded(os.environ)

    def before(self, objects: tuple[Object, ...], target: live.Target | None) -> World:
        """`objects` beside the cluster as it is before anything is applied."""
        if target is None:
            return World(objects, problem=UNKNOWN)
        try:
            return World(objects, self._before[target].objects(), stack=stack_name())
        except live.Cannot as why:
            return World(objects, problem=str(why), stack=stack_name())

    def whole(self, objects: tuple[Object, ...], target: live.Target | None) -> World:
        """All objects of the stack beside what the cluster has without it."""
        if target is None:
            return World(objects, problem=UNKNOWN, stack=stack_name())
        self.begin(target)
        if target not in self._after:
            self._after[target] = live.Cluster(target)
        try:
            found = self._after[target].objects()
            # After an update the cluster has lost what the stack dropped; in a preview it still has it.
            if self._recorded:
                found = live.without(found, self._recorded.objects())
            return World(objects, found, stack=stack_name())
        except live.Cannot as why:
            return World(objects, problem=str(why), stack=stack_name())


def analysed(world: World) -> World:
    """`world` with what Istio's analysers say of all its objects. Raises live.Cannot."""
    objects = [
        item for kind in sorted({item.base for item in (*world.objects, *world.live)}) for item in world.all(kind)
    ]
    return replace(world, messages=live.analysis([item for item in objects if not item.patch]))


def stack_name() -> str:
    """The stack that is previewed or updated."""
    return os.environ.get("PULUMI_STACK", "")


def target_of(provider: PolicyProviderResource | None) -> live.Target | None:
    """The cluster of a Kubernetes provider; None where it is not known yet."""
    props: Mapping[str, object] = provider.props if provider else {}
    try:
        return live.Target(str(props.get("kubeconfig") or ""), str(props.get("context") or ""))
    except UnknownValueError:
        return None


READING = Reading()
atexit.register(live.forget_texts)


def one_by_one(row: Policy) -> ResourceValidationPolicy:
    """A rule that judges each object by itself: the engine asks before the object is applied."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if not args.resource_type.startswith("kubernetes:"):
            return
        target = target_of(args.provider)
        READING.begin(target)
        item = Object(live.kind_of(args.resource_type), args.props, args.urn)
        if item.base not in row.kinds:
            return
        world = READING.before((item,), target) if Needs.CLUSTER in row.needs else World((item,), stack=stack_name())
        for _urn, line in row.broken(world, args.get_config() or {}):
            report(line, None)

    return ResourceValidationPolicy(**described(row), validate=validate)


def as_a_whole(row: Policy) -> StackValidationPolicy:
    """A rule that judges the stack: the engine asks at the end of a preview, and at the end of an update."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for target, objects in by_cluster(args):
            world = READING.whole(objects, target)
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
        if item.resource_type.startswith("kubernetes:"):
            target = target_of(item.provider)
            found.setdefault(target, []).append(Object(live.kind_of(item.resource_type), item.props, item.urn))
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
