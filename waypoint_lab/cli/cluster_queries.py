"""Queries for the checks of a cluster. They change nothing."""

import json
from concurrent.futures import ThreadPoolExecutor

from waypoint_lab import kubectl
from waypoint_lab.cli import cluster_checks
from waypoint_lab.cli.cluster_checks import Check, State
from waypoint_lab.config.app_models import PodClient
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError
from waypoint_lab.kubectl import Object

SECONDS = 20
BUNDLE = r"{.metadata.annotations.gateway\.networking\.k8s\.io/bundle-version}"
Need = tuple[str, str, tuple[str, ...]]
# (group, resource, verbs) that the stages need in the Service's namespace
NEEDED: list[Need] = [
    ("gateway.networking.k8s.io", "gateways", ("create", "patch", "delete", "list")),
    ("gateway.networking.k8s.io", "httproutes", ("create", "patch", "delete")),
    ("networking.istio.io", "virtualservices", ("create", "patch", "delete")),
    ("security.istio.io", "authorizationpolicies", ("create", "patch", "delete", "list")),
    ("security.istio.io", "requestauthentications", ("list",)),
    ("telemetry.istio.io", "telemetries", ("create", "patch", "delete")),
    ("", "services", ("create", "patch", "delete", "list")),
    ("", "configmaps", ("create", "patch", "delete")),
    ("apps", "deployments", ("create", "patch", "delete", "list")),
    ("", "namespaces", ("patch",)),
]
# Needed for a migration as well: read the config of Envoy, and end the waypoint that was drained.
MIGRATION_NEEDS: list[Need] = [
    ("", "pods", ("get", "list")),
    ("", "pods/exec", ("create",)),
    ("apps", "deployments/scale", ("patch",)),
]
# Needed for parameters of a waypoint's Pods as well.
PARAMETER_NEEDS: list[Need] = [
    ("", "configmaps", ("get",)),
    ("autoscaling", "horizontalpodautoscalers", ("list", "delete")),
    ("policy", "poddisruptionbudgets", ("list", "delete")),
]
# Needed in the client's namespace: a probe Pod, or the exec into a workload. kubectl reads the Pod before an exec.
EXEC_NEEDS: list[Need] = [("", "pods", ("get",)), ("", "pods/exec", ("create",))]
POD_NEEDS: list[Need] = [("batch", "jobs", ("create", "delete")), ("", "pods", ("list",)), *EXEC_NEEDS]
# Needed for a fault that expires: the Job that ends it, and its identity.
_CHANGES = ("create", "patch", "delete")
EXPIRY_NEEDS: list[Need] = [
    ("batch", "jobs", _CHANGES),
    ("", "serviceaccounts", _CHANGES),
    ("rbac.authorization.k8s.io", "roles", _CHANGES),
    ("rbac.authorization.k8s.io", "rolebindings", _CHANGES),
]
# Needed by istiod for a waypoint and its routes. Source: Istio, manifests/charts/istio-control, clusterrole.yaml
ISTIOD_NEEDS: list[Need] = [
    ("apps", "deployments", ("create", "patch")),
    ("", "services", ("create", "patch")),
    ("", "serviceaccounts", ("create", "patch")),
    ("gateway.networking.k8s.io", "httproutes/status", ("patch",)),
]
ISTIOD_PARAMETER_NEEDS: list[Need] = [
    ("", "configmaps", ("list",)),
    ("autoscaling", "horizontalpodautoscalers", ("create", "patch")),
    ("policy", "poddisruptionbudgets", ("create", "patch")),
]


def _documents(text: str) -> list[Object]:
    """Parse JSON documents that follow each other, as kubectl prints objects that it created."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        item, at = decoder.raw_decode(text, at)
        found.append(item)
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


def _crds(config: LabConfig) -> list[Check]:
    row = f"{{range .items[*]}}{{.metadata.name}}={BUNDLE}{{'\\n'}}{{end}}".replace("'", '"')
    text = kubectl.run(
        config.target, "get", "crd", *cluster_checks.CRDS, "--ignore-not-found", "--output", f"jsonpath={row}"
    )
    return cluster_checks.gateway_api(dict(line.split("=", 1) for line in text.splitlines() if line))


def _mesh(config: LabConfig) -> list[Check]:
    classes = kubectl.items(config.target, "gatewayclasses.gateway.networking.k8s.io", "istio-waypoint")
    what = ("deployments,daemonsets", "--all-namespaces", "--selector", "app in (istiod, ztunnel)")
    parts = kubectl.items(config.target, *what)
    wanted = cluster_checks.CANARY if config.waypoint.canary else cluster_checks.ISTIO
    return cluster_checks.ambient(classes, parts, wanted, config.waypoint.revision)


def _namespaces(config: LabConfig) -> list[Check]:
    names = dict.fromkeys((*config.namespaces, config.client.namespace))
    there = {item["metadata"]["name"]: item for item in kubectl.items(config.target, "namespaces", *names)}
    return cluster_checks.enrolled(config, there)


def _service(config: LabConfig) -> list[Check]:
    there = kubectl.items(config.target, "services", config.app.service, "--namespace", config.app.namespace)
    return [cluster_checks.service(config, next(iter(there), None))]


def _client(config: LabConfig) -> list[Check]:
    client = config.client
    if isinstance(client, PodClient):
        what, arguments = f"ServiceAccount {client.namespace}/{client.service_account}", ("sa", client.service_account)
        fix = "set waypoint-lab:app.client.serviceAccount"
    else:
        what, fix = f"client {client.namespace}/{client.workload}", "set waypoint-lab:app.client"
        kind, slash, name = client.workload.partition("/")
        arguments = (kind, name) if slash else ("pod", kind)
    there = kubectl.items(config.target, *arguments, "--namespace", client.namespace)
    return [Check(what, State.OK, "there") if there else Check(what, State.MISSING, "does not exist", fix)]


def _review(namespace: str, user: str, group: str, resource: str, verb: str) -> Object:
    plain, _, sub = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": plain, "namespace": namespace}
    if sub:
        asked["subresource"] = sub
    if resource == "namespaces":
        asked["name"] = namespace
    kind, more = ("SubjectAccessReview", {"user": user}) if user else ("SelfSubjectAccessReview", {})
    return {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": {"resourceAttributes": asked, **more}}


def _allowed(namespace: str, needs: list[Need], user: str = "") -> list[Object]:
    """Return the questions if a user may do something in a namespace; without a name, the user of kubectl."""
    return [_review(namespace, user, group, kind, verb) for group, kind, verbs in needs for verb in verbs]


def _reviewed(config: LabConfig, user: str, questions: list[Object]) -> list[Check]:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": questions})
    try:
        answer = _documents(kubectl.run(config.target, "create", "--filename=-", "--output=json", stdin=text))
    except KubectlError as error:
        whose = "istiod's permissions" if user else "your permissions"
        return [Check(whose, State.UNKNOWN, f"cannot be asked for ({error})")]
    return cluster_checks.permissions(answer)


def _permissions(config: LabConfig) -> list[Check]:
    needs = [*NEEDED, *(MIGRATION_NEEDS if config.waypoint.canary else [])]
    needs += PARAMETER_NEEDS if config.waypoint.parameters else []
    needs += EXPIRY_NEEDS if config.faulty and config.fault.duration_seconds else []
    client = POD_NEEDS if isinstance(config.client, PodClient) else EXEC_NEEDS
    asked = [question for space in config.namespaces for question in _allowed(space, needs)]
    return _reviewed(config, "", asked + _allowed(config.client.namespace, client))


def _istiod(config: LabConfig) -> list[Check]:
    canary = config.waypoint.canary
    revisions = [config.waypoint.revision, *([canary.revision] if canary else [])]
    return [*dict.fromkeys(check for revision in dict.fromkeys(revisions) for check in _istiod_of(config, revision))]


def _istiod_of(config: LabConfig, revision: str) -> list[Check]:
    """Check the accounts of a revision's istiod.

    Without a revision the default counts; where there is none, one istiod that has the permissions is enough.
    """
    labels = f"app=istiod,istio.io/rev={revision}" if revision else "app=istiod"
    found = kubectl.items(config.target, "deployments", "--all-namespaces", "--selector", labels)
    found = [item for item in found if cluster_checks.rev_of(item) == "default"] or found
    users = [
        f"system:serviceaccount:{item['metadata']['namespace']}:"
        f"{item['spec']['template']['spec'].get('serviceAccountName') or 'default'}"
        for item in found
    ]
    if not users:
        return [Check("istiod's permissions", State.UNKNOWN, f"cannot be asked for (no Deployment has {labels})")]
    needs = [*ISTIOD_NEEDS, *(ISTIOD_PARAMETER_NEEDS if config.waypoint.parameters else [])]
    answers = []
    for user in dict.fromkeys(users):
        asked = [question for space in config.namespaces for question in _allowed(space, needs, user)]
        answers.append(_reviewed(config, user, asked))
    return next((one for one in answers if all(check.state is State.OK for check in one)), answers[0])


def _metrics(config: LabConfig) -> list[Check]:
    what, scaler = "metrics of CPU", config.waypoint.autoscaling
    if scaler is None:
        return []
    try:
        kubectl.run(config.target, "get", "--raw=/apis/metrics.k8s.io/v1beta1", limit_seconds=SECONDS)
    except KubectlError:
        found = f"there are none, so the autoscaler keeps {scaler.min} replicas"
        return [Check(what, State.UNKNOWN, found, "install metrics-server")]
    return [Check(what, State.OK, "there")]


def examine(config: LabConfig) -> list[Check]:
    """Check everything that `config` needs of its cluster; only the API server if that does not answer."""
    context = config.target.context or "the current context"
    try:
        with kubectl.readable("version"):
            answer = json.loads(kubectl.run(config.target, "version", "--output=json", limit_seconds=SECONDS))
            version = answer["serverVersion"]["gitVersion"]
    except KubectlError as error:
        fix = "set waypoint-lab:target.kubeconfig and target.context, or KUBECONFIG"
        return [Check("API server", State.MISSING, f"{context} cannot be used: {error}", fix)]
    checks = {"CRDs": _crds, "Istio": _mesh, "your permissions": _permissions, "istiod's permissions": _istiod}
    checks["metrics of CPU"] = _metrics
    if not config.installs_bookinfo:  # otherwise the stack creates them
        checks |= {"namespaces": _namespaces, "Service": _service, "client": _client}
    found = [Check("API server", State.OK, f"{context}, Kubernetes {version}")]
    with ThreadPoolExecutor(len(checks)) as pool:
        for what, answer in [(what, pool.submit(check, config)) for what, check in checks.items()]:
            try:
                with kubectl.readable(what):
                    found += answer.result()
            except KubectlError as error:
                # A forbidden object may still exist; an API that does not answer cannot be used.
                state = State.UNKNOWN if "forbidden" in str(error) else State.MISSING
                found.append(Check(what, state, f"cannot be asked for ({error})"))
    return found


def missing(config: LabConfig) -> list[str]:
    """Return one line for each thing that the cluster lacks, with its fix."""
    return [f"{item.what}: {item.found}; fix: {item.fix}" for item in examine(config) if item.state is State.MISSING]
