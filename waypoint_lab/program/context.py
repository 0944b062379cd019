"""State that the stage builders share: the configuration, the provider, the dependencies and the backends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pulumi
import pulumi_kubernetes as kubernetes

from components import SKIP_AWAIT
from components._internal.waits import Access
from waypoint_lab.config.models import KindTarget
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.program.bookinfo import Bookinfo
from waypoint_lab.program.owned import owned
from waypoint_lab.program.preflight import Application


@dataclass(frozen=True)
class GateCheck:
    """The gate of the canary: the record of the values that a pass is valid for, and a check that raises if it fails.

    `check` is None for an update that is not measured.
    """

    record: Mapping[str, Any]
    check: Callable[[], None] | None


def arguments(settings: Any) -> Any:
    """Return settings as arguments of a component that has the same names; without those that are not set."""
    if isinstance(settings, msgspec.Struct):
        settings = msgspec.structs.asdict(settings)
    if isinstance(settings, dict):
        return {name: arguments(value) for name, value in settings.items() if value not in (None, "")}
    return settings


def _check_default_provider() -> None:
    """Raise RunError if the stack's config gives the default provider another cluster than that of the environment.

    Everything but the provider asks the cluster of the environment.
    Source: https://www.pulumi.com/registry/packages/kubernetes/installation-configuration/
    """
    config = pulumi.Config("kubernetes")
    for name in ("kubeconfig", "context", "cluster"):
        if config.get_secret(name) is not None:
            raise pulumi.RunError(
                f"kubernetes:{name} is set: objects could go to another cluster than that of waypoint-lab:target, "
                f"which is measured; remove it by pulumi config rm kubernetes:{name}, and choose the cluster by "
                f"waypoint-lab:target"
            )


class Stack:
    """State that the stage builders share."""

    def __init__(
        self,
        config: LabConfig,
        expired: frozenset[str],
        gate: GateCheck | None,
        application: Application | None = None,
    ) -> None:
        """Register the provider, and bookinfo if the configuration installs it."""
        self.config = config
        self.cluster = Access(config.target.kubeconfig, config.target.context)
        self.expired = expired
        self.gate = gate
        # As the API server completes it, so that a Service that appears later changes nothing.
        default = {"name": "http", "port": config.app.port, "targetPort": config.app.port, "protocol": "TCP"}
        self.ports = [*application.ports] if application and application.ports else [default]
        self.policies = application.policies if application else ()
        self.after: list[pulumi.Resource] = []
        provider = self._provider()
        self._providers: list[pulumi.ProviderResource] | None = [provider] if provider else None
        if config.installs_bookinfo:
            self.after.append(Bookinfo("bookinfo", self.cluster, self.options()))
        self._versions: list[pulumi.Resource] = []

    def _provider(self) -> kubernetes.Provider | None:
        """Return the provider of the target; None for the cluster of the environment."""
        target = self.config.target
        if isinstance(target, KindTarget):
            # Only stacks on kind pay for this import.
            from waypoint_lab.program.kind_cluster import KindCluster

            return kubernetes.Provider("cluster", kubeconfig=KindCluster("kind", target).kubeconfig)
        if not target.kubeconfig and not target.context:
            _check_default_provider()
            return None
        return kubernetes.Provider("cluster", kubeconfig=target.kubeconfig or None, context=target.context or None)

    def options(self, *more: pulumi.Resource) -> pulumi.ResourceOptions:
        """Return the options of a resource that depends on `after` and on `more`."""
        return pulumi.ResourceOptions(providers=self._providers, depends_on=[*self.after, *more])

    def versions(self) -> list[pulumi.Resource]:
        """Register the backends with a selector once, and return them; the application's own Service is not changed."""
        if not self._versions:
            app, copies = self.config.app, self._policies()
            for role, backend in app.backends.items():
                if not backend.selector:
                    continue
                name = backend.service
                service = owned(
                    name,
                    {
                        "apiVersion": "v1",
                        "kind": "Service",
                        "metadata": {
                            "name": name,
                            "namespace": app.namespace,
                            "labels": app.common_labels,
                            "annotations": SKIP_AWAIT,
                        },
                        "spec": {"selector": backend.selector, "ports": self.ports},
                    },
                    self.cluster,
                    self.options(*copies),
                    f"remove the selector of waypoint-lab:app.backends.{role} to use it as it is, or set another "
                    f"service there",
                )
                self._versions.append(service)
        return self._versions

    def _policies(self) -> list[pulumi.Resource]:
        """Register the copies of policies; a Service is created after them, and deleted before them."""
        return [
            owned(
                f"{item['metadata']['name']}-{item['kind'].lower()}",
                item,
                self.cluster,
                self.options(),
                "delete it, or leave the Service to its owner",
            )
            for item in self.policies
        ]
