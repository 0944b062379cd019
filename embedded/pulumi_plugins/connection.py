"""The provider's connection: configuration, the cluster, what it tells the engine, and what it refuses."""

from typing import Any

import grpc
from google.protobuf import any_pb2

from embedded.pulumi_plugins.base import Base
from embedded.pulumi_plugins.client import ApiError, Client, KubeconfigError, Unreachable
from embedded.pulumi_plugins.protocol import provider_pb2, status_pb2
from embedded.pulumi_plugins.values import UNKNOWN, conceal, decode, differences, encode

Object = dict[str, Any]
VERSION = "4.32.0"
OFFICIAL = "the offline Kubernetes provider does not support it; use the official pulumi-kubernetes plugin"
CONFLICT_HELP = "Server-Side Apply field conflict detected. Another manager owns the field; set the annotation "
CONFLICT_HELP += 'pulumi.com/patchForce: "true" to take it over.\n'
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


def id_of(item: Object) -> str:
    """`namespace/name`, or `name` for what is cluster-scoped."""
    meta = item["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def flag(text: object) -> bool:
    """A configuration value as a truth value."""
    return str(text).lower() == "true"


class Connected(Base):
    """The part of the provider that is not about single resources."""

    name, version, official = "kubernetes", VERSION, OFFICIAL

    def __init__(self, engine: str) -> None:
        """`engine` is where to log."""
        super().__init__(engine)
        self._client: Client | None = None
        self._problem = ""
        self._config: Object = {}

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
            acceptSecrets=True, supportsPreview=True, acceptResources=False, acceptOutputs=False
        )

    # Helpers.

    def _cluster(self) -> Client:
        if self._client is None:
            raise Refused(f"configured Kubernetes cluster is unreachable: {self._problem or 'not configured'}")
        return self._client

    def _tell(self, urn: str) -> Any:
        return lambda text: self._log(urn, text)

    def _body(self, inputs: Object) -> Object:
        return {key: value for key, value in inputs.items() if not key.startswith("__")}

    def _state(self, live: Object, inputs: Object, given: Object, olds: Object, manager: str) -> Any:
        """What the engine keeps: the live object, and beside it the inputs; secrets of `given` stay secret in both."""
        state = conceal(live, given)
        state["__inputs"] = conceal(inputs, given)
        state["__initialApiVersion"] = olds.get("__initialApiVersion") or inputs.get("apiVersion")
        state["__fieldManager"] = manager
        return encode(state)

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
