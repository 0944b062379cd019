"""What kinds differ in, as the official provider has it: Patch resources, and fields that need a new object.

Source: pulumi-kubernetes 4.32, provider/pkg/provider/diff.go.
"""

import base64
import re
from collections.abc import Iterable
from typing import Any

_SELECTOR = r"spec\.selector\b"
_POD_KEEPS = "containers|initContainers|activeDeadlineSeconds|tolerations|ephemeralContainers"
_VOLUME_KEEPS = "capacity|accessModes|claimRef|persistentVolumeReclaimPolicy|storageClassName|mountOptions|volumeMode"
# kind: fields that cannot change in place
IMMUTABLE: dict[str, tuple[str, ...]] = {
    "ClusterRoleBinding": (r"roleRef\b",),
    "ConfigMap": (r"data\b", r"binaryData\b"),
    "DaemonSet": (_SELECTOR,),
    "Deployment": (_SELECTOR,),
    "Job": (r"spec\.(completions|parallelism|selector|template)\b",),
    "PersistentVolume": (rf"spec\.(?!({_VOLUME_KEEPS})\b)",),
    "PersistentVolumeClaim": (r"spec\.(accessModes|selector|storageClassName|volumeName)\b",),
    "Pod": (rf"spec\.(?!({_POD_KEEPS})\b)", r"spec\.(initC|c)ontainers\[\d+\]\."),
    "ResourceQuota": (r"spec\.scopes\b",),
    "RoleBinding": (r"roleRef\b",),
    "Secret": (r"type\b", r"stringData\b", r"data\b"),
    "Service": (r"spec\.clusterIP\b",),
    "StatefulSet": (r"spec\.(podManagementPolicy|revisionHistoryLimit|selector|serviceName|volumeClaimTemplates)\b",),
    "StorageClass": (r"(parameters|provisioner)\b",),
}
PLACE = (r"metadata\.name$", r"metadata\.namespace$")


def token_of(urn: str) -> str:
    """The type of a resource, without those of its parents: `kubernetes:core/v1:Service`."""
    return urn.split("::")[2].split("$")[-1]


def kind_of(urn: str) -> str:
    """The type's last part: `Service` of `kubernetes:core/v1:Service`."""
    return token_of(urn).rsplit(":", 1)[-1]


def is_patch(urn: str) -> bool:
    """True for resources that touch only some fields of an object they do not own."""
    return kind_of(urn).endswith("Patch")


def replaced(kind: str, paths: Iterable[str], *, in_place: bool) -> list[str]:
    """Those of the changed `paths` that need a new object. `in_place`: all but the object's place can be changed."""
    rules = PLACE if in_place else PLACE + IMMUTABLE.get(kind, ())
    return [path for path in paths if any(re.match(rule, path) for rule in rules)]


def api_version(token: str) -> str:
    """The API version in a type token; the short groups of the SDK get their full names."""
    version = token.split(":")[1].removeprefix("core/")
    group, _, rest = version.partition("/")
    short = ("networking", "rbac", "storage", "discovery", "apiextensions", "coordination", "admissionregistration")
    full = {"rbac": "rbac.authorization.k8s.io"}.get(group, f"{group}.k8s.io")
    return f"{full}/{rest}" if group in short else version


def normalized(inputs: dict[str, Any]) -> dict[str, Any]:
    """`inputs` in the form that the server gives back: the plain texts of a Secret are written into its data.

    Source: pulumi-kubernetes 4.32, provider/pkg/clients/unstructured.go.
    """
    if (inputs.get("apiVersion"), inputs.get("kind")) != ("v1", "Secret") or not inputs.get("stringData"):
        return inputs
    coded = {key: base64.b64encode(str(value).encode()).decode() for key, value in inputs["stringData"].items()}
    rest = {key: value for key, value in inputs.items() if key != "stringData"}
    return {**rest, "data": {**(inputs.get("data") or {}), **coded}}
