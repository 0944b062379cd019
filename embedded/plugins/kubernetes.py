"""An offline stand-in for `pulumi-resource-kubernetes` 4.32: the part of it that programs of single resources need.

Server-side apply with a field manager per resource, previews by dry run, Patch resources, waits, replacement, import,
and refresh, with the same inputs, state and ids as the official provider. What it does not do (Helm, Kustomize, YAML
components, invokes, client-side apply) is an error that names the official plugin.
"""

import os
import re
import secrets
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import any_pb2, empty_pb2

from embedded.plugins import awaiting
from embedded.plugins.client import ApiError, Client, KubeconfigError, Unreachable
from embedded.plugins.protocol import (
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)
from embedded.plugins.values import UNKNOWN, decode, differences, encode, has_unknown, project

Object = dict[str, Any]
VERSION = "4.32.0"
OFFICIAL = "the offline Kubernetes provider does not support it; use the official pulumi-kubernetes plugin"
AUTONAMED = "pulumi.com/autonamed"
CONFLICT_HELP = "Server-Side Apply field conflict detected. Another manager owns the field; set the annotation "
CONFLICT_HELP += 'pulumi.com/patchForce: "true" to take it over.\n'
# Changing these makes a new object: the API server would refuse them, or the official provider treats them so.
IMMUTABLE: dict[str, tuple[str, ...]] = {
    "ConfigMap": (r"data\b", r"binaryData\b"),
    "Secret": (r"type\b", r"stringData\b", r"data\b"),
    "Deployment": (r"spec\.selector\b",),
    "DaemonSet": (r"spec\.selector\b",),
    "StatefulSet": (r"spec\.(selector|serviceName|volumeClaimTemplates|podManagementPolicy)\b",),
    "Job": (r"spec\.(selector|template|completions)\b",),
    "Pod": (r"spec\b(?!\.(containers\[\d+\]\.image|activeDeadlineSeconds|tolerations))",),
    "Service": (r"spec\.clusterIP\b",),
    "PersistentVolumeClaim": (r"spec\b(?!\.resources)",),
    "ClusterRoleBinding": (r"roleRef\b",),
    "RoleBinding": (r"roleRef\b",),
    "StorageClass": (r"(parameters|provisioner)\b",),
}
ALWAYS_IMMUTABLE = (r"apiVersion$", r"kind$", r"metadata\.name$", r"metadata\.namespace$")
# Known configuration that changes nothing here, because the program's single resources do not meet it.
KNOWN_CONFIG = {"kubeconfig", "context", "cluster", "namespace", "version", "suppressDeprecationWarnings"}
KNOWN_CONFIG |= {
    "enableServerSideApply",
    "suppressHelmHookWarnings",
    "deleteUnreachable",
    "strictMode",
    "pluginDownloadURL",
}
KNOWN_CONFIG |= {"enableConfigMapMutable", "enableSecretMutable", "skipUpdateUnreachable", "upsertExistingObjects"}


class Refused(Exception):
    """What the user asked for cannot be done; one line."""


def kind_of(urn: str) -> str:
    """The type's last part: `Service` of `kubernetes:core/v1:Service`."""
    return urn.split("::")[2].split("$")[-1].rsplit(":", 1)[-1]


def is_patch(urn: str) -> bool:
    """True for resources that touch only some fields of an object they do not own."""
    return kind_of(urn).endswith("Patch")


def id_of(item: Object) -> str:
    """`namespace/name`, or `name` for what is cluster-scoped."""
    meta = item["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def flag(text: object) -> bool:
    """A configuration value as a truth value."""
    return str(text).lower() == "true"


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The engine's provider service."""

    def __init__(self, engine: str) -> None:
        """`engine` is where to log."""
        self._client: Client | None = None
        self._problem = ""
        self._config: Object = {}
        self._cancelled = threading.Event()
        self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(engine)) if engine else None

    # What the engine asks first.

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=False, accept_resources=False)

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: D102
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.GetSchemaResponse(schema=f'{{"name":"kubernetes","version":"{VERSION}"}}')

    def CheckConfig(self, request: Any, context: Any) -> Any:
        """Refuses what is unknown or not supported, before anything is changed."""
        news = decode(request.news)
        failures = []
        for key in news:
            if key not in KNOWN_CONFIG:
                failures.append(provider_pb2.CheckFailure(property=key, reason=f"{key}: {OFFICIAL}"))
        if str(news.get("enableServerSideApply", "true")).lower() == "false":
            reason = f"enableServerSideApply=false: {OFFICIAL}"
            failures.append(provider_pb2.CheckFailure(property="enableServerSideApply", reason=reason))
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        """Another cluster means other objects: replace. The same cluster told otherwise means an update."""
        found = differences(decode(request.old_inputs) or decode(request.olds), decode(request.news))
        some = provider_pb2.DiffResponse.DIFF_SOME if found else provider_pb2.DiffResponse.DIFF_NONE
        replaces = [key for key in found if key in ("context", "cluster")]
        return provider_pb2.DiffResponse(changes=some, diffs=sorted(found), replaces=replaces)

    def Configure(self, request: Any, context: Any) -> Any:
        """Reads the kubeconfig; a problem is told by the first request that needs the cluster."""
        self._config = {key: value for key, value in decode(request.args).items() if value != UNKNOWN}
        try:
            text = self._config.get("kubeconfig") or None
            self._client = Client(text, self._config.get("context"), self._config.get("cluster"))
            self._client.namespace = self._config.get("namespace") or self._client.namespace
        except KubeconfigError as error:
            self._problem = str(error)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=False, supportsPreview=True, acceptResources=False, acceptOutputs=False
        )

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: D102
        self._cancelled.set()
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: D102
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.tok}: {OFFICIAL}")

    def Construct(self, request: Any, context: Any) -> Any:  # noqa: D102
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.type}: {OFFICIAL}")

    def Call(self, request: Any, context: Any) -> Any:  # noqa: D102
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.tok}: {OFFICIAL}")

    # Helpers.

    def _cluster(self) -> Client:
        if self._client is None:
            raise Refused(f"configured Kubernetes cluster is unreachable: {self._problem or 'not configured'}")
        return self._client

    def _tell(self, urn: str) -> Any:
        def tell(text: str) -> None:
            if self._engine:
                line = engine_pb2.LogRequest(severity=engine_pb2.INFO, message=text, urn=urn, ephemeral=True)
                self._engine.Log(line, timeout=5)

        return tell

    def _body(self, inputs: Object) -> Object:
        return {key: value for key, value in inputs.items() if not key.startswith("__")}

    def _force(self, inputs: Object) -> bool:
        return flag(awaiting.annotations(inputs).get("pulumi.com/patchForce"))

    def _state(self, live: Object, inputs: Object, olds: Object, manager: str) -> Any:
        version = olds.get("__initialApiVersion") or inputs.get("apiVersion")
        return encode({**live, "__inputs": inputs, "__initialApiVersion": version, "__fieldManager": manager})

    def _abort(self, context: Any, error: Exception) -> None:
        if isinstance(error, ApiError) and error.status == 409 and "conflict" in error.message.lower():
            context.abort(grpc.StatusCode.ABORTED, CONFLICT_HELP + error.message)
        if isinstance(error, Unreachable):
            context.abort(grpc.StatusCode.UNAVAILABLE, f"configured Kubernetes cluster is unreachable: {error}")
        context.abort(grpc.StatusCode.UNKNOWN, str(error))

    def _half_done(self, context: Any, state: Any, inputs: Object, live: Object, reason: str) -> None:
        """The object is there but not as it should be: it goes into the state, and the update fails."""
        failed = provider_pb2.ErrorResourceInitFailed(
            id=id_of(live), properties=state, reasons=[reason], inputs=encode(inputs)
        )
        packed = any_pb2.Any()
        packed.Pack(failed)
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=reason, details=[packed])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.UNKNOWN, reason)

    # Resources.

    def Check(self, request: Any, context: Any) -> Any:
        """Fills in the name and the namespace; refuses what could never be applied."""
        news, olds = decode(request.news), decode(request.olds)
        kind, failures = kind_of(request.urn), []
        if request.urn.split("::")[2].split("$")[-1].split(":")[1].startswith(("helm.sh", "kustomize", "yaml")):
            failures.append(provider_pb2.CheckFailure(reason=f"{kind}: {OFFICIAL}"))
        for field in ("apiVersion", "kind"):
            if not news.get(field):
                failures.append(provider_pb2.CheckFailure(property=field, reason=f"{field} is missing"))
        meta = dict(news.get("metadata") or {})
        old_meta = olds.get("metadata") or {}
        if not meta.get("name") and not meta.get("generateName"):
            if is_patch(request.urn):
                failures.append(
                    provider_pb2.CheckFailure(
                        property="metadata.name", reason="a Patch resource needs the object's name"
                    )
                )
            elif old_meta.get("name") and AUTONAMED in (old_meta.get("annotations") or {}):
                meta["name"] = old_meta["name"]
                meta["annotations"] = {**(meta.get("annotations") or {}), AUTONAMED: "true"}
            else:
                meta["name"] = f"{request.urn.split('::')[-1]}-{secrets.token_hex(4)}".lower()
                meta["annotations"] = {**(meta.get("annotations") or {}), AUTONAMED: "true"}
        try:
            awaiting.checks(self._client, news)  # type: ignore[arg-type]
        except awaiting.BadWait as error:
            failures.append(provider_pb2.CheckFailure(property="metadata.annotations", reason=str(error)))
        if not failures and not has_unknown([news["apiVersion"], news["kind"]]) and self._client:
            try:
                namespaced = self._client.kind(news["apiVersion"], news["kind"])[1]
                if namespaced and not meta.get("namespace"):
                    meta["namespace"] = self._client.namespace
            except (ApiError, Unreachable):
                pass  # a kind that this same update will define
        news["metadata"] = meta
        return provider_pb2.CheckResponse(inputs=encode(news), failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        """Names each field that changes, and those that need a new object."""
        news = decode(request.news)
        olds = decode(request.old_inputs) or decode(request.olds).get("__inputs") or {}
        found = differences(self._body(olds), self._body(news))
        rules = [*ALWAYS_IMMUTABLE]
        kind = str(news.get("kind"))
        mutable = kind in ("ConfigMap", "Secret") and flag(self._config.get(f"enable{kind}Mutable"))
        if not is_patch(request.urn) and not mutable:
            rules += IMMUTABLE.get(kind, ())
        replaces = [path for path in found if any(re.match(rule, path) for rule in rules)]
        if all(path == "apiVersion" for path in replaces):
            replaces = []  # another version of the same object
        kinds = provider_pb2.PropertyDiff
        detail = {}
        for path, change in found.items():
            name = change.upper() + ("_REPLACE" if path in replaces else "")
            detail[path] = kinds(kind=kinds.Kind.Value(name), inputDiff=True)
        some = provider_pb2.DiffResponse.DIFF_SOME if found else provider_pb2.DiffResponse.DIFF_NONE
        same_place = all(
            (olds.get("metadata") or {}).get(key) == (news.get("metadata") or {}).get(key)
            for key in ("name", "namespace")
        )
        return provider_pb2.DiffResponse(
            changes=some,
            diffs=sorted({re.split(r"[.\[]", path)[0] for path in found}),
            replaces=replaces,
            detailedDiff=detail,
            hasDetailedDiff=True,
            deleteBeforeReplace=bool(replaces) and same_place,
        )

    def Create(self, request: Any, context: Any) -> Any:
        """Applies a new object and waits for it; a preview is a dry run on the server."""
        inputs = decode(request.properties)
        manager = f"pulumi-kubernetes-{secrets.token_hex(4)}"
        try:
            if request.preview:
                return provider_pb2.CreateResponse(id="", properties=self._dry_run(inputs, {}, manager))
            client, body = self._cluster(), self._body(inputs)
            self._check_existing(client, body, request.urn)
            live = client.apply(body, manager, force=self._force(inputs))
        except (ApiError, Unreachable, Refused) as error:
            self._abort(context, error)
        live = self._wait(request, context, inputs, {}, live, manager)
        return provider_pb2.CreateResponse(id=id_of(live), properties=self._state(live, inputs, {}, manager))

    def _check_existing(self, client: Client, body: Object, urn: str) -> None:
        exists = client.get(body) is not None
        name = f"{body['kind']} {body['metadata'].get('namespace', '')}/{body['metadata']['name']}"
        if is_patch(urn) and not exists:
            raise Refused(f"{name} does not exist, and a Patch resource only changes what is there")
        if exists and not is_patch(urn) and not flag(self._config.get("upsertExistingObjects")):
            raise Refused(f"{name} already exists; import it, choose another name, or use the kind's Patch resource")

    def _dry_run(self, inputs: Object, olds: Object, manager: str) -> Any:
        """What the server would make of it; the inputs alone where it cannot know yet."""
        if has_unknown(inputs):
            return encode(inputs)
        body = self._body(inputs)
        try:
            live = self._cluster().apply(body, manager, force=self._force(inputs), dry_run=True)
        except ApiError as error:
            # Its namespace or its kind may be part of this very update.
            if error.status == 404:
                return encode(inputs)
            raise
        return self._state(live, inputs, olds, manager)

    def _wait(self, request: Any, context: Any, inputs: Object, olds: Object, live: Object, manager: str) -> Object:
        seconds = awaiting.seconds_for(inputs, request.timeout)
        tell = self._tell(request.urn)
        try:
            return awaiting.until(self._cluster(), inputs, live, seconds, self._cancelled, tell)
        except awaiting.WaitFailed as error:
            state = self._state(error.live, inputs, olds, manager)
            self._half_done(context, state, inputs, error.live, str(error))
        except awaiting.BadWait as error:
            self._abort(context, error)
        return live

    def Update(self, request: Any, context: Any) -> Any:
        """Applies the new inputs with the resource's own field manager: fields it no longer names are given up."""
        inputs, olds = decode(request.news), decode(request.olds)
        manager = olds.get("__fieldManager") or f"pulumi-kubernetes-{secrets.token_hex(4)}"
        try:
            if request.preview:
                return provider_pb2.UpdateResponse(properties=self._dry_run(inputs, olds, manager))
            live = self._cluster().apply(self._body(inputs), manager, force=self._force(inputs))
        except (ApiError, Unreachable, Refused) as error:
            self._abort(context, error)
        live = self._wait(request, context, inputs, olds, live, manager)
        return provider_pb2.UpdateResponse(properties=self._state(live, inputs, olds, manager))

    def Read(self, request: Any, context: Any) -> Any:
        """The live object for refresh, import and `get`; an empty id where it is gone."""
        olds, inputs = decode(request.properties), decode(request.inputs)
        kind, token = kind_of(request.urn), request.urn.split("::")[2].split("$")[-1]
        old = inputs or olds.get("__inputs") or olds
        namespace, _, name = request.id.rpartition("/")
        version = old.get("apiVersion") or token.split(":")[1].removeprefix("core/")
        version = f"{version.split('/')[0]}.k8s.io/{version.split('/')[1]}" if _short(version) else version
        item = {
            "apiVersion": version,
            "kind": old.get("kind") or kind.removesuffix("Patch" if is_patch(request.urn) else ""),
            "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        }
        try:
            live = self._cluster().get(item)
        except (ApiError, Unreachable, Refused) as error:
            self._abort(context, error)
        if live is None:
            return provider_pb2.ReadResponse(id="")
        manager = olds.get("__fieldManager") or f"pulumi-kubernetes-{secrets.token_hex(4)}"
        given = olds.get("__inputs") or inputs
        seen = project(live, given) if given else _as_inputs(live)
        return provider_pb2.ReadResponse(
            id=id_of(live), properties=self._state(live, seen, olds, manager), inputs=encode(seen)
        )

    def Delete(self, request: Any, context: Any) -> Any:
        """Deletes and waits until it is gone; a Patch gives its fields up instead."""
        olds = decode(request.properties)
        inputs = decode(request.old_inputs) or olds.get("__inputs") or olds
        body = {key: inputs[key] for key in ("apiVersion", "kind")}
        namespace, _, name = request.id.rpartition("/")
        body["metadata"] = {"name": name, **({"namespace": namespace} if namespace else {})}
        try:
            client = self._cluster()
            live = client.get(body)
            if live is None:
                return empty_pb2.Empty()
            if is_patch(request.urn):
                client.apply(body, olds.get("__fieldManager", "pulumi-kubernetes"))
                return empty_pb2.Empty()
            policy = awaiting.annotations(inputs).get("pulumi.com/deletionPropagationPolicy", "foreground")
            options = {"propagationPolicy": policy.capitalize(), "preconditions": {"uid": live["metadata"]["uid"]}}
            client.request("DELETE", client.path(body), options)
            if not flag(awaiting.annotations(inputs).get("pulumi.com/skipAwait")):
                seconds = request.timeout or awaiting.OTHER_SECONDS
                awaiting.gone(client, live, seconds, self._cancelled, self._tell(request.urn))
        except ApiError as error:
            if error.status != 404:
                self._abort(context, error)
        except (Unreachable, Refused, awaiting.WaitFailed) as error:
            self._abort(context, error)
        return empty_pb2.Empty()


def _short(version: str) -> bool:
    """True for a type token's short form of an API group, such as `networking/v1`."""
    group = version.split("/")[0] if "/" in version else ""
    return group in ("networking", "rbac", "storage", "discovery", "policy.networking", "apiextensions", "coordination")


def _as_inputs(live: Object) -> Object:
    """Inputs of an object that was imported or got: all that the server did not write itself."""
    found = {key: value for key, value in live.items() if key != "status"}
    hidden = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")
    found["metadata"] = {key: value for key, value in live["metadata"].items() if key not in hidden}
    return found


def main() -> None:
    """Serves on a free port of 127.0.0.1, printed on the first line, until a signal."""
    server = grpc.server(ThreadPoolExecutor(64), options=[("grpc.max_receive_message_length", 400 * 2**20)])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(next(iter(sys.argv[1:]), "")), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
    server.stop(0.1)
    sys.stdout.flush()
    os._exit(0)  # grpc's threads would keep the interpreter for another second


if __name__ == "__main__":
    main()
