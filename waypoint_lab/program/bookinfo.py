"""Bookinfo, for clusters without an application."""

from pathlib import Path

import pulumi
import yaml

from components import KubernetesObject
from components._internal.waits import Access
from waypoint_lab.program.owned import owned

FILE = Path(__file__).parents[2] / "embedded" / "bookinfo" / "bookinfo.yaml"
FIX = "set waypoint-lab:app.deployBookinfo to false to use the bookinfo that is there, or delete it"


class Bookinfo(pulumi.ComponentResource):
    """Every object of the embedded cluster's bookinfo, Namespaces first."""

    def __init__(self, name: str, cluster: Access, opts: pulumi.ResourceOptions | None = None) -> None:
        """Register the objects; a Namespace that is another owner's is refused before anything in it is changed."""
        documents = [item for item in yaml.safe_load_all(FILE.read_text()) if item]
        super().__init__("waypoint-lab:index:Bookinfo", name, {}, opts)
        namespaces: dict[str, pulumi.Resource] = {}
        for namespaced in (False, True):
            for document in documents:
                if (document["kind"] != "Namespace") is namespaced:
                    space = document["metadata"].get("namespace", "")
                    key = "-".join((name, document["kind"], space)).lower()
                    full = f"{key}-{document['metadata']['name']}".replace("--", "-")
                    options = pulumi.ResourceOptions(
                        parent=self, depends_on=[*namespaces.values()] if namespaced else None
                    )
                    if space in namespaces:
                        KubernetesObject(full, document, options)
                        continue
                    # Not in a Namespace of bookinfo, so that another owner can have it.
                    resource = owned(full, document, cluster, options, FIX)
                    if not namespaced:
                        namespaces[document["metadata"]["name"]] = resource
        self.register_outputs({})
