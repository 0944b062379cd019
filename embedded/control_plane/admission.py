"""Admission rules of the embedded cluster: what it cannot do is refused at once."""

from typing import Any

Object = dict[str, Any]
_API = "admissionregistration.k8s.io/v1"
_NAME = "waypoint-lab-ephemeral-containers"
_MESSAGE = "kubectl debug: Pods of this node are processes and take no ephemeral containers; use kubectl exec"


def policies() -> list[Object]:
    """Return the policy that refuses ephemeral containers, and its binding."""
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["pods/ephemeralcontainers"],
    }
    return [
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": _NAME},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": "false", "message": _MESSAGE}],
            },
        },
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": _NAME},
            "spec": {"policyName": _NAME, "validationActions": ["Deny"]},
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
