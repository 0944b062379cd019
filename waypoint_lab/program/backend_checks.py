"""Checks of the application's Service and of its backends before the first resource is registered."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from waypoint_lab import kubectl
from waypoint_lab.config.app_models import BackendSettings
from waypoint_lab.config.settings import SKIP_GATE, LabConfig
from waypoint_lab.errors import ConfigError
from waypoint_lab.kubectl import Object
from waypoint_lab.program import backend_policies

ServicePort = dict[str, Any]
COPIED = ("name", "port", "targetPort", "protocol", "appProtocol")
# Source: https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
NOT_HTTP = ("https", "mongo", "mysql", "redis", "tcp", "tls", "udp")


class Application(NamedTuple):
    """The application as the cluster has it: ports of its Service, and copies of its policies for the backends.

    There are no ports where the stack installs it.
    """

    ports: Sequence[ServicePort]
    policies: Sequence[Object] = ()


def application(config: LabConfig) -> Application:
    """Return the application, once its backends are checked.

    Raises:
        ConfigError: As `service_ports`, or its policies cannot be read.
        KubectlError: As `service_ports`.
    """
    if config.installs_bookinfo:
        return Application([], backend_policies.copies(config))
    with ThreadPoolExecutor(1) as pool:
        policies = pool.submit(backend_policies.copies, config)
        if config.waypoint.namespace and not os.environ.get(SKIP_GATE):
            _check_namespace(config)
        return Application(service_ports(config), policies.result())


def _check_namespace(config: LabConfig) -> None:
    name = config.waypoint.namespace
    if not kubectl.get(config.target, "namespace", name):
        raise ConfigError(
            f"waypoint-lab:waypoint.namespace: there is no namespace {name}; create it: kubectl create namespace {name}"
        )


@kubectl.readable("Services and Pods of the application")
def service_ports(config: LabConfig) -> list[ServicePort]:
    """Return the ports of the application's Service as the backends copy them, once the backends are checked.

    A rollback checks no backend: it must not be refused because the canary is gone.

    Raises:
        ConfigError: A Service or a port does not exist, a port is not HTTP, or a selector matches no Pod.
        KubectlError: A Service or the Pods cannot be read.
    """
    found = _ports(config, config.app.service, "app: there is no Service {}; set app.namespace and app.service")
    if not os.environ.get(SKIP_GATE):
        _check_backends(config)
    return [{field: port[field] for field in COPIED if field in port} for port in found]


def _check_backends(config: LabConfig) -> None:
    app = config.app
    for role, backend in app.backends.items():
        if not backend.selector:
            missing = f"app.backends.{role}.service: there is no Service {{}}; create it, or set a selector"
            _ports(config, backend.service, missing)
    selecting = [(role, backend) for role, backend in used_backends(config).items() if backend.selector]
    pods = _pods(config) if selecting else []
    for role, backend in selecting:
        if not any(backend.selector.items() <= labels.items() for labels in pods):
            labels = ",".join(f"{key}={value}" for key, value in backend.selector.items())
            raise ConfigError(
                f"waypoint-lab:app.backends.{role}.selector: no Pod in {app.namespace} has the labels {labels}; "
                f"fix the selector, or deploy the {role} first"
            )


def used_backends(config: LabConfig) -> dict[str, BackendSettings]:
    """Return the backends that the declared routes send requests to, by role."""
    stages, canary = config.stages, config.canary
    chosen = bool(canary.weight or canary.cohort or canary.mirror_percent)
    used = {
        "baseline": stages.premium or (stages.canary and canary.weight < 100),
        "canary": stages.canary and chosen,
        **dict.fromkeys(config.backend_cohorts, True),
    }
    return {role: backend for role, backend in config.app.backends.items() if used.get(role)}


def _pods(config: LabConfig) -> Sequence[dict[str, str]]:
    """Return the labels of the Pods in the application's namespace."""
    pods = kubectl.items(config.target, "pods", "--namespace", config.app.namespace)
    return [pod.get("metadata", {}).get("labels") or {} for pod in pods]


def _ports(config: LabConfig, service: str, missing: str) -> list[ServicePort]:
    """Return the ports of a Service that has the application's; `missing` is the error where there is no Service."""
    app, where = config.app, f"{config.app.namespace}/{service}"
    found = kubectl.get(config.target, "service", service, "--namespace", app.namespace)
    if not found:
        raise ConfigError(f"waypoint-lab:{missing.format(where)}")
    ports: list[ServicePort] = (found.get("spec") or {}).get("ports") or []
    for port in ports:
        if port["port"] == app.port:
            protocol = port.get("appProtocol") or port.get("name", "").split("-")[0]
            if protocol in NOT_HTTP:
                raise ConfigError(
                    f"waypoint-lab:app.port: port {app.port} of Service {where} is {protocol}, which is not HTTP; "
                    f"set another port, or the port's appProtocol to http"
                )
            return ports
    known = ", ".join(str(port["port"]) for port in ports) or "none"
    raise ConfigError(f"waypoint-lab:app.port: Service {where} has no port {app.port}; its ports are {known}")
