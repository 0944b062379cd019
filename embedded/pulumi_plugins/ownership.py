"""Who owns which field of an object, as the official provider has it.

An object is created under one common name, and the first update hands its fields over to the resource's own manager, so
that server-side apply can take fields away again. Source: pulumi-kubernetes 4.32, provider/pkg/await/await.go.
"""

import secrets
from typing import Any

from embedded.pulumi_plugins.client import Client

Object = dict[str, Any]
CREATOR = "pulumi-kubernetes"
# (manager, operation) whose fields the resource's own manager takes over
FORMER = {
    ("kubectl", "Apply"),
    ("kubectl", "Update"),
    ("before-first-apply", "Update"),
    (CREATOR, "Update"),
    ("pulumi-kubernetes.exe", "Update"),
    ("pulumi-resource-kubernetes", "Update"),
}
_OURS = {name for name, operation in FORMER if name.startswith("pulumi-") and operation == "Update"}


def manager_of(inputs: Object, state: Object) -> str:
    """The field manager of a resource: the annotated one, the one it has, or a new one."""
    annotations = inputs.get("metadata", {}).get("annotations") or {}
    chosen = annotations.get("pulumi.com/patchFieldManager") or state.get("__fieldManager")
    return str(chosen or f"{CREATOR}-{secrets.token_hex(4)}")


def must_force(inputs: Object, live: Object | None, *, preview: bool) -> bool:
    """Whether fields of other managers are taken without asking."""
    if str((inputs["metadata"].get("annotations") or {}).get("pulumi.com/patchForce")).lower() == "true":
        return True
    if live is None:
        return preview  # the object that is to be replaced is still there
    entries = live["metadata"].get("managedFields") or []
    if not entries:
        return True  # from before server-side apply
    # A real update hands these over first, which a dry run cannot.
    return preview and any(entry["operation"] == "Update" and entry["manager"] in _OURS for entry in entries)


def _union(one: Object, other: Object) -> Object:
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _union(merged[key], value) if key in merged else value
    return merged


def handed_over(entries: list[Object], manager: str) -> list[Object] | None:
    """`managedFields` with all that FORMER managers have given to `manager`; None where nothing changes."""

    def is_former(entry: Object) -> bool:
        return not entry.get("subresource") and (entry["manager"], entry["operation"]) in FORMER

    former = [entry for entry in entries if is_former(entry)]
    if not former:
        return None
    own = next((e for e in entries if e["manager"] == manager and e["operation"] == "Apply"), None)
    base = own or {**former[0], "manager": manager, "operation": "Apply", "fieldsV1": {}}
    fields = base["fieldsV1"]
    for entry in former:
        fields = _union(fields, entry["fieldsV1"])
    rest = [entry for entry in entries if not is_former(entry) and entry is not own]
    return [*rest, {**base, "fieldsV1": fields}]


def take_over(client: Client, live: Object, manager: str) -> None:
    """Hands the fields of former managers to `manager`. Raises ApiError, also where somebody else was quicker."""
    entries = handed_over(live["metadata"].get("managedFields") or [], manager)
    if entries is None:
        return
    patch = [
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
    ]
    client.request("PATCH", client.path(live), patch, kind="application/json-patch+json")
