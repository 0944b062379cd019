"""Objects of the stack alone: one that exists already and is another owner's is refused before it would be changed."""

from typing import Any

import pulumi

from components import KubernetesObject
from components._internal import gateway_objects, owners
from components._internal.waits import Access

LIMIT_SECONDS = 60.0


def owned(
    name: str, document: dict[str, Any], cluster: Access, options: pulumi.ResourceOptions, fix: str
) -> KubernetesObject:
    """Register an object that names its stack.

    The provider would take over one of its name, and `pulumi destroy` would delete it.

    Args:
        name: Pulumi name.
        document: The object.
        cluster: Its cluster, which is asked before the creation.
        options: Options of the resource.
        fix: What to do if another owner has it, for the error.
    """
    meta = document["metadata"]
    notes = meta.get("annotations") or {}
    untaken = owners.untaken_hook(
        f"{name}-{document['kind'].lower()}-untaken", cluster, LIMIT_SECONDS, f"{owners.EXISTS}; {fix}"
    )
    more = pulumi.ResourceOptions(
        hooks=pulumi.ResourceHookBinding(before_create=[untaken]),
        # Of these the annotation alone is no update: it would restart a Gateway's Pods, or measure a canary's gate.
        ignore_changes=gateway_objects.KEPT if document["kind"] in ("Gateway", "ConfigMap") else None,
    )
    return KubernetesObject(
        name,
        {**document, "metadata": {**meta, "annotations": {**notes, **owners.annotation()}}},
        pulumi.ResourceOptions.merge(more, options),
    )
