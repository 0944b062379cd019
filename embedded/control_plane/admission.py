"""Admission rules of the embedded cluster: what it cannot do is refused at once."""

from embedded.kube import Object

_API = "admissionregistration.k8s.io/v1"
_DEBUG = "kubectl debug: Pods of this node are processes and take no ephemeral containers; use kubectl exec"
LAYER_4 = "waypoint-lab-layer-4"
_ENTRY = (
    "ServiceEntry: this node carries resolution STATIC and DNS, hosts without wildcard, addresses that are not "
    "ranges, and endpoints with an address"
)
_CARRIED = (
    "object.spec.?resolution.orValue('NONE') in ['STATIC', 'DNS'] && object.spec.hosts.all(host, !host.contains('*')) "
    "&& object.spec.?addresses.orValue([]).all(item, !item.contains('/')) "
    "&& object.spec.?endpoints.orValue([]).all(item, item.?address.orValue('') != '')"
)
_CONTAINERS = "(object.spec.containers + object.spec.?initContainers.orValue([]))"
_CONTEXT = "object.spec.securityContext"
# Groups are possible that all containers have as their own.
_OWN_GROUPS = (
    f"!has({_CONTEXT}) || ({_CONTEXT}.?supplementalGroups.orValue([]) + "
    f"(has({_CONTEXT}.fsGroup) ? [{_CONTEXT}.fsGroup] : []))"
    f".all(group, group == {_CONTEXT}.?runAsGroup.orValue(0) && "
    f"{_CONTAINERS}.all(one, one.?securityContext.?runAsGroup.orValue(group) == group))"
)
_GROUPS = (
    "fsGroup, supplementalGroups: your user has no other groups on this machine; set them to runAsGroup, leave them "
    "out, or run lab up as root"
)
# Pods of the kubelet itself, such as istiod's, which only show processes of the node.
_MIRROR = "object.metadata.?annotations.orValue({}).exists(name, name == 'kubernetes.io/config.mirror')"
_SIDECARS = "Istio: this node injects no sidecars; enroll the namespace by the label istio.io/dataplane-mode=ambient"
_LABEL = "has(object.metadata.labels) && '{0}' in object.metadata.labels && object.metadata.labels['{0}'] == '{1}'"
_NO_DEADLINE = "activeDeadlineSeconds: this node ends no Pod by a deadline; set it in the spec of a Job instead"
# Expressions that allow a Pod, each with the reason why others are refused.
_PODS = {
    f"{_MIRROR} || !(object.spec.?hostNetwork.orValue(false) || object.spec.?hostPID.orValue(false) || "
    "object.spec.?hostIPC.orValue(false))": (
        "hostNetwork, hostPID, hostIPC: Pods of this node have namespaces of their own; leave these fields out"
    ),
    f"{_MIRROR} || {_CONTAINERS}.all(one, one.?ports.orValue([]).all(port, port.?hostPort.orValue(0) == 0))": (
        "hostPort: this node opens no ports for Pods; use a Service of type LoadBalancer"
    ),
    "!object.spec.?volumes.orValue([]).exists(volume, has(volume.hostPath))": (
        "hostPath: Pods of this node have no access to folders of the machine; use emptyDir, a ConfigMap or a Secret"
    ),
    "!has(object.spec.activeDeadlineSeconds)": _NO_DEADLINE,
    f"{_CONTAINERS}.all(one, !has(one.restartPolicyRules))": (
        "restartPolicyRules: this node restarts containers by their restartPolicy alone; set that"
    ),
    f"!({_LABEL.format('sidecar.istio.io/inject', 'true')})": _SIDECARS,
    "!object.spec.?setHostnameAsFQDN.orValue(false)": "setHostnameAsFQDN: hosts of this node have short names",
    "object.spec.?hostUsers.orValue(true) == true": (
        "hostUsers: only containers with runAsUser have a user namespace of their own on this node; leave it out"
    ),
}
_ALL_IMAGES = f"{_CONTAINERS}.map(one, one.image)"
_DEADLINE = "object.spec.?activeDeadlineSeconds.orValue(0)"
# Of the fields that Kubernetes lets an update of a Pod change. The order of containers cannot change.
_POD_UPDATES = {
    f"{_ALL_IMAGES} == {_ALL_IMAGES.replace('object', 'oldObject')}": (
        "image: this node does not replace the image of a running Pod; delete the Pod and create it again"
    ),
    f"{_DEADLINE} == {_DEADLINE.replace('object', 'oldObject')}": _NO_DEADLINE,
}
_WORKLOADS = (
    "WorkloadEntry, WorkloadGroup: this node carries no workloads of other machines; list them as endpoints of a "
    "ServiceEntry"
)
_NETWORK_POLICY = (
    "NetworkPolicy: this node enforces none; use an AuthorizationPolicy without targetRefs in a namespace of the mesh"
)
_TCP = "object.spec.?ports.orValue([]).all(port, port.?protocol.orValue('TCP') == 'TCP')"
_SERVICES = {
    f"object.spec.?clusterIP.orValue('') == 'None' || {_TCP}": (
        "Service: this node carries TCP; leave out ports of other protocols, or set clusterIP to None"
    ),
    "object.spec.?externalIPs.orValue([]).size() == 0": (
        "externalIPs: this node takes no other addresses; use a Service of type LoadBalancer"
    ),
    "object.spec.?loadBalancerSourceRanges.orValue([]).size() == 0": (
        "loadBalancerSourceRanges: addresses of this node are open to this machine, and to nothing else"
    ),
}
_HAS_TARGET = "has(object.spec) && (has(object.spec.targetRefs) || has(object.spec.targetRef))"
ZTUNNEL_ACCEPTED = "ZtunnelAccepted"
_NOT_CLAIMED = (
    f"!object.?status.?conditions.orValue([]).exists(row, row.type == '{ZTUNNEL_ACCEPTED}' && row.status == 'True')"
)
_STRICT = "has({0}.mode) && {0}.mode == 'STRICT'"
_SPEC = "object.spec"
_NOT_STRICT = (
    f"!has({_SPEC}) || !(has({_SPEC}.mtls) && {_STRICT.format(_SPEC + '.mtls')}) && !(has({_SPEC}.portLevelMtls) && "
    f"{_SPEC}.portLevelMtls.exists(port, {_STRICT.format(_SPEC + '.portLevelMtls[port]')}))"
)
_NOT_FOR_WORKLOADS = (
    "!(object.metadata.?labels.orValue({}).exists(name, name == 'istio.io/waypoint-for' && "
    "object.metadata.labels[name] in ['workload', 'all']))"
)


def policies() -> list[Object]:
    """Return the policies that refuse what this node does not do, and their bindings."""
    istio, workloads = "networking.istio.io", ["workloadentries", "workloadgroups"]
    return [
        *_refuse("waypoint-lab-ephemeral-containers", "", ["pods/ephemeralcontainers"], {"false": _DEBUG}),
        *_refuse("waypoint-lab-entries", istio, ["serviceentries"], {_CARRIED: _ENTRY}),
        *_refuse("waypoint-lab-workloads", istio, workloads, {"false": _WORKLOADS}),
        *_refuse("waypoint-lab-network-policies", "networking.k8s.io", ["networkpolicies"], {"false": _NETWORK_POLICY}),
        *_refuse(
            "waypoint-lab-injection",
            "",
            ["namespaces"],
            {f"!({_LABEL.format('istio-injection', 'enabled')})": _SIDECARS},
        ),
        *_refuse("waypoint-lab-services", "", ["services"], _SERVICES),
        *_refuse("waypoint-lab-pods", "", ["pods"], _PODS, ["CREATE"]),
        *_refuse("waypoint-lab-pod-updates", "", ["pods"], _POD_UPDATES, ["UPDATE"]),
    ]


def without_groups() -> list[Object]:
    """Return the policy that refuses Pods with groups where the machine has none to give, and its binding."""
    return _refuse("waypoint-lab-groups", "", ["pods"], {_OWN_GROUPS: _GROUPS}, ["CREATE"])


def without_layer_4(reason: str) -> list[Object]:
    """Return the policies for machines where nothing enforces policies of layer 4, and their bindings.

    The first refuses AuthorizationPolicies that no waypoint enforces, and PeerAuthentications with STRICT. The second
    keeps istiod from writing that earlier ones are enforced. The third refuses waypoints for workloads, which
    connections to Pods would bypass.
    """
    allowed = f"object.kind == 'AuthorizationPolicy' ? {_HAS_TARGET} : {_NOT_STRICT}"
    message = f"policies of layer 4 are refused, because nothing enforces them on this machine ({reason})"
    kinds = ["authorizationpolicies", "peerauthentications"]
    bypassed = (
        f"istio.io/waypoint-for: nothing brings connections to Pods to their waypoint on this machine ({reason}); use "
        "service"
    )
    return [
        *_refuse(LAYER_4, "security.istio.io", kinds, {allowed: message}),
        *_refuse(f"{LAYER_4}-status", "security.istio.io", ["authorizationpolicies/status"], {_NOT_CLAIMED: message}),
        *_refuse(f"{LAYER_4}-waypoints", "gateway.networking.k8s.io", ["gateways"], {_NOT_FOR_WORKLOADS: bypassed}),
    ]


def _refuse(
    name: str, group: str, resources: list[str], allowed: dict[str, str], operations: list[str] | None = None
) -> list[Object]:
    """Return a policy and its binding: it refuses what an expression of `allowed` is false for, with the message."""
    given = operations or ["CREATE", "UPDATE"]
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": given, "resources": resources}
    checks = [{"expression": expression, "message": message} for expression, message in allowed.items()]
    return [
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [rule]},
                "validations": checks,
            },
        },
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def for_every_object(webhooks: Object) -> Object:
    """Return Istio's webhooks of one revision as those of the default revision, for objects without a revision label.

    Source: chart `base` of Istio, defaultrevision-validatingwebhookconfiguration.yaml, which `istioctl install` adds.
    """
    made = {**webhooks, "metadata": {**webhooks["metadata"], "name": "istiod-default-validator"}}
    made["webhooks"] = [{**hook, "name": "validation.istio.io"} for hook in webhooks["webhooks"]]
    for hook in made["webhooks"]:
        hook.pop("objectSelector", None)
    return made
