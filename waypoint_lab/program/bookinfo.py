"""Bookinfo, for clusters without an application."""

from pathlib import Path

import pulumi
import yaml

from components import KubernetesObject

FILE = Path(__file__).parents[2] / "embedded" / "bookinfo" / "bookinfo.yaml"


class Bookinfo(pulumi.ComponentResource):
    """Every object of the embedded cluster's bookinfo, Namespaces first."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        """Register the objects."""
        documents = [item for item in yaml.safe_load_all(FILE.read_text()) if item]
        super().__init__("waypoint-lab:index:Bookinfo", name, {}, opts)
        namespaces: list[pulumi.Resource] = []
        for namespaced in (False, True):
            for document in documents:
                if (document["kind"] != "Namespace") is namespaced:
                    key = "-".join((name, document["kind"], document["metadata"].get("namespace", ""))).lower()
                    resource = KubernetesObject(
                        f"{key}-{document['metadata']['name']}".replace("--", "-"),
                        document,
                        pulumi.ResourceOptions(parent=self, depends_on=namespaces if namespaced else None),
                    )
                    if not namespaced:
                        namespaces.append(resource)
        self.register_outputs({})
