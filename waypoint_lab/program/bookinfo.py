"""Bookinfo, for clusters without an application."""

from pathlib import Path
from typing import NotRequired, TypedDict

import pulumi
import yaml

from components import KubernetesObject

DEFAULT_FILE = Path(__file__).parents[2] / "embedded" / "bookinfo" / "bookinfo.yaml"


class BookinfoArgs(TypedDict):
    """Arguments of `Bookinfo`."""

    file: NotRequired[str]
    """A YAML file of Kubernetes objects; the project's own unless given."""


class Bookinfo(pulumi.ComponentResource):
    """Every object of one YAML file, Namespaces first. Raises RunError where the file cannot be read."""

    namespaces: pulumi.Output[list[str]]
    """The namespaces it created."""

    def __init__(self, name: str, args: BookinfoArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Register the objects."""
        path = args.get("file") or str(DEFAULT_FILE)
        try:
            documents = [item for item in yaml.safe_load_all(Path(path).read_text()) if item]
        except (OSError, yaml.YAMLError) as error:
            first = str(error).splitlines()[0]
            raise pulumi.RunError(f"Bookinfo: file is {path}: it must be a readable YAML file ({first})") from None
        super().__init__("waypoint-lab:index:Bookinfo", name, {**args}, opts)
        made: list[str] = []
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
                        made.append(document["metadata"]["name"])
        self.namespaces = pulumi.Output.from_input(made)
        self.register_outputs({"namespaces": self.namespaces})
