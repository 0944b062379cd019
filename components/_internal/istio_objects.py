"""Registration of a VirtualService, and of the resources that its faults and retries need."""

import pulumi

from . import budgets, fault_expiry, fault_upstream, objects, owners, sync, virtual_service, waits
from .traffic import Traffic

_BUDGET = "budget"  # role of a DestinationRule


def register(
    parent: pulumi.ComponentResource,
    name: str,
    traffic: Traffic,
    cluster: waits.Access,
    limit: float,
    *,
    endpoints: bool,
) -> pulumi.Output[str]:
    """Register the VirtualService `name`, the failing workload, the Job of fault expiry and the retry budgets.

    Args:
        parent: Component that they belong to.
        name: Name of the VirtualService.
        traffic: Declared traffic.
        cluster: Cluster that the waits ask.
        limit: Limit of each wait, in seconds.
        endpoints: Wait for a ready Pod of each backend.

    Returns:
        Name of the VirtualService.
    """
    fault, depends = traffic.fault, list[pulumi.Resource]()
    rules = _destination_rules(name, traffic, cluster)
    behind = [(fault.baseline, traffic.failing_port)] if fault and fault.failing else []
    hooks = sync.hooks(f"{name}-rule", cluster, limit, endpoints=endpoints, behind=behind)
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {
            "name": name,
            "namespace": traffic.namespace,
            "annotations": {**fault_expiry.annotations(traffic.fault), **owners.annotation()},
        },
        "spec": virtual_service.spec(traffic),
    }
    first = owners.hook(name, cluster, limit, document)
    if fault and fault.failing:
        depends += fault_upstream.register(parent, traffic, fault, first, limit)
    if fault and fault.id:
        depends.append(fault_expiry.register(parent, name, traffic, fault, first))
        if fault.expired:
            text = f"the fault expired after {fault.seconds:g} s, and is not injected again"
            pulumi.warn(f"{traffic.component} {name}: {text}; new settings, or another id, begin a new fault")
        else:
            ready = fault_expiry.ready_hook(name, cluster, fault, limit)
            for before in (hooks.before_create, hooks.before_update):
                if before is not None:
                    # First, as the others read Envoy's counters right before the write; last, as the Job may end.
                    before[:] = [ready, *before, ready]
    for full, (role, spec) in rules.items():
        checks = [budgets.hook(f"{full}-{role}", cluster, limit)] if role == _BUDGET else []
        binding = pulumi.ResourceHookBinding(
            before_create=[*(first.before_create or ()), *checks], before_update=[*checks]
        )
        made = objects.KubernetesObject(
            f"{full}-{role}",
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "DestinationRule",
                "metadata": {"name": full, "namespace": traffic.namespace, "annotations": owners.annotation()},
                "spec": spec,
            },
            pulumi.ResourceOptions(parent=parent, hooks=binding, protect=False),  # it goes with the setting
        )
        depends.append(made)  # no retry without its budget
    made = objects.KubernetesObject(
        f"{name}-rule", document, pulumi.ResourceOptions(parent=parent, depends_on=depends, hooks=hooks)
    )
    return made.metadata.apply(lambda metadata: str(metadata["name"]))


def _destination_rules(name: str, traffic: Traffic, cluster: waits.Access) -> dict[str, tuple[str, dict[str, object]]]:
    """Return role and spec of each DestinationRule by name: retry budgets, and the protocol of the failing workload.

    The backend in front of which the workload fails has a budget as well: it gets the requests when the fault expires.

    Raises:
        pulumi.RunError: Another component has a budget for a backend.
    """
    fault, budget = traffic.fault, virtual_service.retry_budget(traffic)
    failing = fault.failing if fault else ""
    # HTTP/2 requests, such as gRPC's, must reach the failing workload as such.
    keep = {"connectionPool": {"http": {"useClientProtocol": True}}}
    rules: dict[str, tuple[pulumi.Input[str], str, dict[str, object]]] = {}
    if failing:
        rules[f"{name}-upstream"] = (failing, "destination", {**keep, **(budget or {})})
    backends = [*traffic.backends, *(each for cohort in traffic.cohorts for each in cohort.backends)]
    for number, backend in enumerate(backends if budget else []):
        known = backend["name"] if isinstance(backend["name"], str) else f"backend-{number}"
        full = f"{name}-{known}" if traffic.split or number else name
        if backend["name"] in [service for service, _, _ in rules.values()]:
            continue
        rules[f"{full}-backend" if full in rules else full] = (backend["name"], _BUDGET, budget or {})
    found: dict[str, tuple[str, dict[str, object]]] = {}
    for full, (service, role, policy) in rules.items():
        host = virtual_service.host(traffic, service)
        host = budgets.claim(name, traffic, host, cluster) if role == _BUDGET else host
        found[full] = (role, {"host": host, "trafficPolicy": policy})
    return found
