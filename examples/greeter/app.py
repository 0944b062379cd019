"""The application: Services and Deployments without settings of the mesh."""

from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

NAMESPACE = "greetings"
PORT = 8080
IMAGE = "docker.io/library/python:3.13-slim"
SERVER = Path(__file__).with_name("server.py").read_text()


def namespace() -> kubernetes.core.v1.Namespace:
    """Register a namespace in the ambient mesh."""
    return kubernetes.core.v1.Namespace(
        NAMESPACE,
        metadata={"name": NAMESPACE, "labels": {"istio.io/dataplane-mode": "ambient"}},
    )


def service(name: str, selector: dict[str, str], after: list[pulumi.Resource]) -> pulumi.Resource:
    """Register a Service for the Pods with the labels `selector`."""
    return kubernetes.core.v1.Service(
        name,
        metadata={"name": name, "namespace": NAMESPACE},
        spec={"selector": selector, "ports": [{"name": "http", "port": PORT}]},
        opts=pulumi.ResourceOptions(depends_on=after),
    )


def workload(
    name: str, labels: dict[str, str], command: list[str], answer: str, after: list[pulumi.Resource]
) -> pulumi.Resource:
    """Register a Deployment of one Pod that runs `command`; with an `answer` it is ready once its port is open."""
    container: dict[str, object] = {"name": name, "image": IMAGE, "command": command}
    if answer:
        container["env"] = [{"name": "ANSWER", "value": answer}]
        container["readinessProbe"] = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
    return kubernetes.apps.v1.Deployment(
        name,
        metadata={"name": name, "namespace": NAMESPACE},
        spec={
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 2, "containers": [container]},
            },
        },
        opts=pulumi.ResourceOptions(depends_on=after),
    )


def build() -> list[pulumi.Resource]:
    """Register `greeter` in two versions with a Service each, `clock`, and a client that only sleeps."""
    made: list[pulumi.Resource] = [namespace()]
    run = ["python3", "-c", SERVER]
    pods = [
        workload("greeter-v1", {"app": "greeter", "version": "v1"}, run, "good day", made),
        workload("greeter-v2", {"app": "greeter", "version": "v2"}, run, "hi there", made),
        workload("clock", {"app": "clock"}, run, "half past nine", made),
        workload("client", {"app": "client"}, ["sleep", "infinity"], "", made),
    ]
    services = [
        service("greeter", {"app": "greeter"}, pods),
        service("greeter-v1", {"app": "greeter", "version": "v1"}, pods),
        service("greeter-v2", {"app": "greeter", "version": "v2"}, pods),
        service("clock", {"app": "clock"}, pods),
    ]
    return [*made, *pods, *services]
