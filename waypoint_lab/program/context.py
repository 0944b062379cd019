"""What the stages share while they are built."""

import pulumi
import pulumi_kubernetes as kubernetes

from components._internal import objects
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.program.bookinfo import Bookinfo
from waypoint_lab.program.kind_cluster import KindCluster, KindClusterArgs
from waypoint_lab.stages import fault_expiry

# role -> label `version` of the Pods behind it
VERSIONS = {"baseline": "v1", "premium": "v2", "stable": "v3"}


class Stack:
    """What the stages share while they are built."""

    def __init__(self, config: LabConfig, record: fault_expiry.Record) -> None:
        """Registers the provider, and the application where the config asks for it."""
        self.config = config
        self.record = record
        self.after: list[pulumi.Resource] = []
        provider = self._provider()
        self._providers: list[pulumi.ProviderResource] | None = [provider] if provider else None
        if config.deploy_bookinfo:
            self.after.append(Bookinfo("bookinfo", {}, self.options()))
        self._versions: list[pulumi.Resource] = []

    def _provider(self) -> kubernetes.Provider | None:
        """The cluster's own provider; none where the environment's cluster is meant."""
        config = self.config
        if config.target == "kind":
            args: KindClusterArgs = {
                "cluster_name": config.kind_name,
                "kubeconfig": config.kubeconfig,
                "istio_hub": config.istio_hub,
                "istio_tag": config.istio_tag,
            }
            if config.kind_config:
                args["config"] = config.kind_config
            cluster = KindCluster("kind", args)
            return kubernetes.Provider("cluster", kubeconfig=cluster.kubeconfig)
        if not config.kubeconfig and not config.context:
            return None
        return kubernetes.Provider("cluster", kubeconfig=config.kubeconfig or None, context=config.context or None)

    def options(self, *more: pulumi.Resource) -> pulumi.ResourceOptions:
        """Options of a resource that comes after what is there already, and after `more`."""
        return pulumi.ResourceOptions(providers=self._providers, depends_on=[*self.after, *more])

    def versions(self) -> list[pulumi.Resource]:
        """The Services of single versions, made once; the user's own Service keeps its selector."""
        if not self._versions:
            config = self.config
            for role, version in VERSIONS.items():
                name = f"{config.service}-{role}"
                labels = {"app": config.service, "version": version}
                service = objects.KubernetesObject(
                    name,
                    {
                        "apiVersion": "v1",
                        "kind": "Service",
                        "metadata": {
                            "name": name,
                            "namespace": config.namespace,
                            "labels": {"app": config.service},
                            "annotations": objects.SERVICE_READY,
                        },
                        "spec": {"selector": labels, "ports": [{"name": "http", "port": config.port}]},
                    },
                    pulumi.ResourceOptions(
                        provider=self._providers[0] if self._providers else None, depends_on=self.after
                    ),
                )
                self._versions.append(service)
        return self._versions
