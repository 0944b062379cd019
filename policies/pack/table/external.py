"""Policies that report the results of other tools."""

from ..policy import CLUSTER, EnforcementLevel, Policy, Requirement, texts_schema
from ..rules import tools

ROWS: tuple[Policy, ...] = (
    Policy(
        "istio-analysis",
        "Istio's analyzers report nothing about the stack (needs istioctl on PATH)",
        "see istioctl analyze",
        "It gets the resources of stack and cluster as files; codes about resources that it does not get are "
        "suppressed. Without istioctl on PATH nothing is reported.",
        tools.istio_analysis,
        requires=frozenset({Requirement.CLUSTER, Requirement.ISTIOCTL}),
        parameters={
            "minimumLevel": {
                "type": "string",
                "enum": list(tools.LEVELS),
                "default": "Error",  # some warnings are a matter of taste: each DENY by method is one
                "description": "the least severe messages that count",
            },
            "suppress": texts_schema(list(tools.SUPPRESSED), "codes that do not count; * and ? are wildcards"),
        },
    ),
    Policy(
        "cluster-readable",
        "The cluster and the state of the stack can be read",
        "make the cluster and the state readable; policies that need the cluster checked the stack alone",
        "Policies compare with the cluster. Make it mandatory where that must not be left out.",
        tools.cluster_readable,
        level=EnforcementLevel.ADVISORY,
        requires=CLUSTER,
    ),
)
