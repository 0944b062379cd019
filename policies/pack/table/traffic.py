"""Policies on routes, faults and retries."""

from ..policy import CLUSTER, PODS, PRODUCTION, EnforcementLevel, Policy, number_schema, texts_schema
from ..rules import faults, reductions, references, retries, routes

ROWS: tuple[Policy, ...] = (
    Policy(
        "weights-add-up",
        "Weights of an HTTPRoute's rule add up, and one is above 0",
        "correct the weights, or change the parameter total",
        "`80` and `30` are not 80 % and 30 %. A power of ten times the total is right (`999` and `1` are 0.1 %), and "
        "so are equal parts without weights. Without a weight above 0 every request fails.",
        routes.weights_add_up,
        kinds=("HTTPRoute",),
        parameters={"total": number_schema(100, "sum of the weights of several backends", 1)},
    ),
    Policy(
        "canary-jump",
        "A backend's weight does not jump beyond the live weight",
        "use smaller steps",
        "A large step sends many requests to an untested version. A new route has nothing to compare with; a rollback "
        "to `baselines`, or to the Service of the route, is always allowed.",
        routes.canary_jump,
        kinds=("HTTPRoute",),
        requires=CLUSTER,
        parameters={
            "maxPoints": number_schema(80, "percentage points that a weight may grow in one update", maximum=100),
            "baselines": texts_schema(["*-baseline", "*-primary"], "backends that may take any weight at once"),
        },
    ),
    Policy(
        "large-reduction",
        "Backends, subsets and matching Pods do not fall much at once, unless it is declared",
        f"keep more of them, or declare the new number in the annotation {reductions.ANNOTATION}",
        "A selector with a wrong label, or a list without its entries, is valid and takes the capacity away. Compared "
        "with the live object: the backends of a route that get requests, the subsets of a DestinationRule, and the "
        "live Pods that the selector of a Service or of a subset matches. An object that is deleted is not compared.",
        reductions.large_reduction,
        kinds=("HTTPRoute", "VirtualService", "DestinationRule", "Service"),
        requires=PODS,
        parameters={"maxPercent": number_schema(70, "percent by which a count may fall in one update", maximum=100)},
    ),
    Policy(
        "targets-exist",
        "Routes and policies name Services, ports, subsets and Gateways that exist",
        "correct the reference, or add what is missing",
        "A route to a Service, port or subset that does not exist fails; a policy on it protects nothing. A parentRef "
        "of another group than that of its kind, and a host such as `a.b` for a Service, have no effect.",
        references.targets_exist,
        requires=CLUSTER,
    ),
    Policy(
        "service-has-cluster-ip",
        "Services of layer-7 routes and policies have a cluster IP",
        "use a Service with a cluster IP",
        "Traffic to a headless or ExternalName Service goes to the Pods directly, past every waypoint.",
        references.service_has_cluster_ip,
        requires=CLUSTER,
    ),
    Policy(
        "one-owner-per-service",
        "No HTTPRoute or VirtualService of a Service's port hides a rule of another one",
        "keep one of the two, or give each its own port or matches",
        "On one port, the rules of all routes follow each other: those of HTTPRoutes first, and of one kind those of "
        "the oldest. A rule without conditions hides all that follow it; any rule hides a later one with the same "
        "conditions. HTTPRoutes of one namespace and port are merged and sorted by their matches. A route without a "
        "port is for all ports.",
        routes.one_owner_per_service,
        requires=CLUSTER,
    ),
    Policy(
        "fault-limits",
        "Injected faults keep within limits",
        "inject less, or change the limit",
        "A fault has a limited share of aborts, delay and duration.",
        faults.fault_limits,
        kinds=("VirtualService", "ConfigMap"),
        parameters={
            "maxPercent": number_schema(100, "percent of requests that may be aborted", maximum=100),
            "maxDelaySeconds": number_schema(10, "longest delay, in seconds"),
            "maxSeconds": number_schema(
                3600, f"longest duration of a fault, in seconds (annotation {faults.DURATION})"
            ),
            "requireDuration": {
                "type": "boolean",
                "default": False,
                "description": f"true if each fault needs the annotation {faults.DURATION}",
            },
        },
    ),
    Policy(
        "no-faults-in-production",
        "No fault is injected in production",
        "inject it elsewhere",
        "Production is a stack by name, or a namespace by label: that of the resource, or of a Service that its fault "
        "is for.",
        faults.no_faults_in_production,
        requires=CLUSTER,
        parameters=PRODUCTION,
    ),
    Policy(
        "retries-within-timeout",
        "All tries together end before the caller gives up",
        "retry less, or shorten perTryTimeout",
        "`attempts` + 1 tries of `perTryTimeout` each must fit into the timeout: nobody waits for the last tries.",
        retries.retries_within_timeout,
        kinds=("VirtualService",),
        parameters={
            "callerTimeoutSeconds": number_schema(0, "seconds that callers wait; 0: only the rule's timeout counts")
        },
    ),
    Policy(
        "retried-abort",
        "No rule retries an abort that it injects itself",
        "inject the abort behind the waypoint, or remove the retries",
        "Envoy's fault filter responds before the router, which retries: the retries have no effect.",
        retries.retried_abort,
        level=EnforcementLevel.ADVISORY,
        kinds=("VirtualService",),
    ),
    Policy(
        "retried-writes",
        "Writes are not repeated without a budget",
        "match safe methods, retry on conditions before the request is seen, or set a DestinationRule's retryBudget",
        "A rule that matches more than GET, HEAD and OPTIONS repeats writes that the service may have seen, and under "
        "load retries add to it.",
        retries.retried_writes,
        level=EnforcementLevel.ADVISORY,
        requires=CLUSTER,
        parameters={"maxAttempts": number_schema(0, "retries of a write that are allowed without a budget")},
    ),
)
