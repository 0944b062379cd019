"""The policy pack: checks the resources of a stack and reports violations to Pulumi."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi_policy
from pack.policy import Policy, Requirement
from pack.queries import ClusterConnection, QueryError, kind_of
from pack.reader import SnapshotReader, analyzed
from pack.resources import ClusterSnapshot, Resource
from pack.rules.reductions import pod_namespaces
from pack.table import TABLE
from pulumi_policy import PolicyProviderResource, ReportViolation, ResourceValidationArgs, StackValidationArgs
from pulumi_policy.proxy import UnknownValueError

READER = SnapshotReader()
KUBERNETES = "kubernetes:"


def connection_of(provider: PolicyProviderResource) -> ClusterConnection | None:
    """Return the connection of a Kubernetes provider; None where it is not known yet."""
    props: Mapping[str, object] = provider.props
    try:
        given = {field: str(props.get(field) or "") for field in ClusterConnection._fields}
    except UnknownValueError:
        return None
    # The SDK writes KUBECONFIG into explicit providers. Source: pulumi_kubernetes, Provider.
    if given["kubeconfig"] == os.environ.get("KUBECONFIG"):
        given["kubeconfig"] = ""
    return ClusterConnection(**given)


def stack_of(urn: str) -> str:
    """Return the name of a resource's stack."""
    return urn.removeprefix("urn:pulumi:").partition("::")[0]


def resource_policy(row: Policy) -> pulumi_policy.ResourceValidationPolicy:
    """Return a policy that checks each resource before it is applied."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if not (args.provider and args.resource_type.startswith(KUBERNETES)):
            return  # without a provider it is a component such as a ConfigGroup, which applies nothing itself
        connection, stack = connection_of(args.provider), stack_of(args.urn)
        READER.start(stack, connection)
        item = Resource(kind_of(args.resource_type), args.props, args.urn)
        record(item)
        if not row.applies_to(item):
            return
        snapshot = ClusterSnapshot((item,), stack=stack)
        if Requirement.STATE in row.requires:
            snapshot = READER.of_resource(item, stack, connection)
        elif Requirement.CLUSTER in row.requires:
            snapshot = READER.beside_cluster((item,), stack, connection)
        if Requirement.PODS in row.requires:
            try:
                snapshot = READER.with_pods(snapshot, connection, pod_namespaces(snapshot))
            except QueryError as error:
                report(f"{error}; no Pod was counted", None)
                return
        for _urn, line in row.violations(snapshot, args.get_config() or {}):
            report(line, None)

    return pulumi_policy.ResourceValidationPolicy(**common_arguments(row), validate=validate)


def record(item: Resource) -> None:
    """Record the requested labels and annotations for the checks of the whole stack."""
    try:
        labels, annotations, _key = dict(item.labels), dict(item.annotations), item.key
    except UnknownValueError:
        return  # known only when it is applied: until then the engine's outputs are used
    READER.record(Resource(item.kind, {}, item.urn).marked(labels, annotations))


def stack_policy(row: Policy) -> pulumi_policy.StackValidationPolicy:
    """Return a policy that checks the whole stack at the end of a preview and of an update."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for connection, resources in by_cluster(args):
            snapshot = READER.of_stack(resources, stack_of(resources[0].urn), connection)
            if Requirement.ISTIOCTL in row.requires:
                try:
                    snapshot = analyzed(snapshot)
                except QueryError as error:
                    report(f"{error}; nothing was analyzed", None)
                    continue
            for urn, line in row.violations(snapshot, args.get_config() or {}):
                report(line, urn or None)

    return pulumi_policy.StackValidationPolicy(**common_arguments(row), validate=validate)


def by_cluster(args: StackValidationArgs) -> Iterator[tuple[ClusterConnection | None, tuple[Resource, ...]]]:
    """Yield the stack's Kubernetes resources of each cluster."""
    found: dict[ClusterConnection | None, list[Resource]] = {}
    for item in args.resources:
        if item.provider and item.resource_type.startswith(KUBERNETES):
            connection = connection_of(item.provider)
            READER.connect(item.provider.urn, connection)
            resource = Resource(kind_of(item.resource_type), item.props, item.urn)
            found.setdefault(connection, []).append(resource)
    return ((connection, tuple(resources)) for connection, resources in found.items())


def common_arguments(row: Policy) -> dict[str, Any]:
    """Return the arguments that both kinds of Pulumi policies take."""
    schema = pulumi_policy.PolicyConfigSchema(properties={name: dict(given) for name, given in row.parameters.items()})
    return {
        "name": row.name,
        "description": row.description,
        "enforcement_level": pulumi_policy.EnforcementLevel(row.level),
        "config_schema": schema if row.parameters else None,
        "remediation_steps": row.fix,
    }


if __name__ == "__main__":
    pulumi_policy.PolicyPack(
        name="waypoint-lab",
        enforcement_level=pulumi_policy.EnforcementLevel.MANDATORY,
        policies=[resource_policy(row) if row.kinds else stack_policy(row) for row in TABLE],
    )
