"""An offline stand-in for `pulumi-resource-kubernetes` 4.32: the part of it that programs of single resources need.

Server-side apply with a field manager per resource, previews by dry run, Patch resources, waits, replacement, import,
and refresh, with the same inputs, state and ids as the official provider. What it does not do (Helm, Kustomize, YAML
components, invokes, client-side apply) is an error that names the official plugin.
"""

import hashlib
import re
import secrets
from typing import Any

from google.protobuf import empty_pb2

from embedded.pulumi_plugins import awaiting, ownership
from embedded.pulumi_plugins.client import ApiError, Unreachable
from embedded.pulumi_plugins.connection import OFFICIAL, Connected, Object, Refused, flag, id_of
from embedded.pulumi_plugins.kinds import api_version, is_patch, kind_of, normalized, replaced, token_of
from embedded.pulumi_plugins.protocol import provider_pb2, serve
from embedded.pulumi_plugins.values import conceal, decode, differences, encode, has_unknown, project, sealed

AUTONAMED = "pulumi.com/autonamed"
EXISTS_HELP = "import it, choose another name, use the kind's Patch resource, or set upsertExistingObjects"
TAKE_OVER_TRIES = 5


class Provider(Connected):
    """The engine's provider service."""

    def Check(self, request: Any, context: Any) -> Any:
        """Fills in the name and the namespace; refuses what could never be applied."""
        news, olds = decode(request.news), decode(request.olds)
        failures = [provider_pb2.CheckFailure(reason=reason) for reason in self._impossible(request.urn, news)]
        meta = dict(news.get("metadata") or {})
        if not meta.get("name") and not failures:
            try:
                meta["name"] = self._name(request, olds.get("metadata") or {})
                meta["annotations"] = {**(meta.get("annotations") or {}), AUTONAMED: "true"}
            except Refused as error:
                failures.append(provider_pb2.CheckFailure(property="metadata.name", reason=str(error)))
        if not failures and not has_unknown([news["apiVersion"], news["kind"]]) and self._client:
            try:
                namespaced = self._client.kind(news["apiVersion"], news["kind"])[1]
                if namespaced and not meta.get("namespace"):
                    meta["namespace"] = self._client.namespace
            except (ApiError, Unreachable):
                pass  # a kind that this same update will define
        news["metadata"] = meta
        if not has_unknown(news):
            news = normalized(news)
        return provider_pb2.CheckResponse(inputs=encode(conceal(news, sealed(request.news))), failures=failures)

    def _impossible(self, urn: str, news: Object) -> list[str]:
        found = []
        if token_of(urn).split(":")[1].startswith(("helm.sh", "kustomize", "yaml")):
            return [f"{kind_of(urn)}: {OFFICIAL}"]
        found += [f"{field} is missing" for field in ("apiVersion", "kind") if not news.get(field)]
        meta = news.get("metadata") or {}
        if not meta.get("name") and is_patch(urn):
            found.append("patch resources require the `.metadata.name` field to be set")
        elif not meta.get("name") and meta.get("generateName"):
            found.append("the `.metadata.generateName` field is not supported in Server-Side Apply mode")
        try:
            awaiting.checks(self._client, news)  # type: ignore[arg-type]
        except awaiting.BadWait as error:
            found.append(str(error))
        return found

    def _name(self, request: Any, old: Object) -> str:
        """The name that the object has, the one that the stack's own naming proposes, or one that is made up."""
        if old.get("name") and flag((old.get("annotations") or {}).get(AUTONAMED)):
            return str(old["name"])
        naming = request.autonaming if request.HasField("autonaming") else None
        if naming and naming.mode == naming.Mode.Value("DISABLE"):
            raise Refused("autonaming is disabled for this stack: give the object a name")
        if naming and naming.proposed_name:
            return str(naming.proposed_name)
        # With the engine's seed, so that a preview shows the name that the update will take.
        seed = request.randomSeed or secrets.token_bytes(16)
        return f"{request.urn.split('::')[-1]}-{hashlib.sha256(seed).hexdigest()[:8]}".lower()

    def Diff(self, request: Any, context: Any) -> Any:
        """Names each field that changes, and those that need a new object."""
        news = decode(request.news)
        olds = decode(request.old_inputs) or decode(request.olds).get("__inputs") or {}
        found = differences(self._body(olds), self._body(news))
        kind = str(news.get("kind"))
        mutable = flag(self._config.get(f"enable{kind}Mutable")) and not news.get("immutable")
        in_place = is_patch(request.urn) or (kind in ("ConfigMap", "Secret") and mutable)
        replaces = replaced(kind, found, in_place=in_place)
        kinds = provider_pb2.PropertyDiff
        detail = {}
        for path, change in found.items():
            name = change.upper() + ("_REPLACE" if path in replaces else "")
            detail[path] = kinds(kind=kinds.Kind.Value(name), inputDiff=change == "delete")
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
        """Creates an object, or applies a Patch, and waits for it; a preview is a dry run on the server."""
        inputs, given = decode(request.properties), sealed(request.properties)
        manager = ownership.manager_of(inputs, {})
        patch = is_patch(request.urn)
        if request.preview and (patch or has_unknown(inputs)):
            return provider_pb2.CreateResponse(properties=request.properties)
        try:
            live = self._make(inputs, manager, patch=patch, preview=request.preview)
        except (ApiError, Unreachable, Refused) as error:
            # In a preview its namespace or kind may be part of this very update, and what it replaces is still there.
            if request.preview and isinstance(error, ApiError) and error.status in (403, 404, 409):
                return provider_pb2.CreateResponse(properties=request.properties)
            self._abort(context, error)
        if request.preview:
            live.pop("status", None)  # known only once it is real
            return provider_pb2.CreateResponse(properties=self._state(live, inputs, given, {}, manager))
        live = self._wait(request, context, inputs, given, {}, live, manager)
        return provider_pb2.CreateResponse(id=id_of(live), properties=self._state(live, inputs, given, {}, manager))

    def _make(self, inputs: Object, manager: str, *, patch: bool, preview: bool) -> Object:
        client, body = self._cluster(), self._body(inputs)
        if patch or flag(self._config.get("upsertExistingObjects")):
            return client.apply(
                body, manager, force=ownership.must_force(inputs, None, preview=preview), dry_run=preview
            )
        try:
            return client.create(body, ownership.CREATOR, dry_run=preview)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                error.message += f"; {EXISTS_HELP}"
            raise

    def _wait(
        self, request: Any, context: Any, inputs: Object, given: Object, olds: Object, live: Object, manager: str
    ) -> Object:
        seconds = awaiting.seconds_for(inputs, request.timeout)
        tell = self._tell(request.urn)
        try:
            return awaiting.until(self._cluster(), inputs, live, seconds, self._cancelled, tell)
        except awaiting.WaitFailed as error:
            state = self._state(error.live, inputs, given, olds, manager)
            self._half_done(context, state, conceal(inputs, given), error.live, str(error))
        except awaiting.BadWait as error:
            self._abort(context, error)
        return live

    def Update(self, request: Any, context: Any) -> Any:
        """Applies the new inputs with the resource's own field manager: fields it no longer names are given up."""
        inputs, given, olds = decode(request.news), sealed(request.news), decode(request.olds)
        manager = ownership.manager_of(inputs, olds)
        if request.preview and has_unknown(inputs):
            return provider_pb2.UpdateResponse(properties=request.news)
        try:
            live = self._change(request, inputs, manager)
        except (ApiError, Unreachable, Refused) as error:
            if request.preview and isinstance(error, ApiError) and error.status in (403, 404):
                return provider_pb2.UpdateResponse(properties=request.news)
            self._abort(context, error)
        if not request.preview:
            live = self._wait(request, context, inputs, given, olds, live, manager)
            former = olds.get("__fieldManager", manager)
            if former != manager:  # another name by annotation: the old one gives all up
                self._cluster().apply({**_identity(live), "metadata": _place(live)}, former)
        return provider_pb2.UpdateResponse(properties=self._state(live, inputs, given, olds, manager))

    def _change(self, request: Any, inputs: Object, manager: str) -> Object:
        before: Object | None = None
        client, body = self._cluster(), self._body(inputs)
        for left in reversed(range(TAKE_OVER_TRIES)):
            before = client.get(body)
            if before is None:
                raise Refused(f"{request.id} is gone from the cluster; run `pulumi refresh`")
            if request.preview or is_patch(request.urn):
                break
            try:
                ownership.take_over(client, before, manager)
                break
            except ApiError as error:
                if error.status != 409 or not left:  # a controller wrote its status in between
                    raise
        force = ownership.must_force(inputs, before, preview=request.preview)
        return client.apply(body, manager, force=force, dry_run=request.preview)

    def Read(self, request: Any, context: Any) -> Any:
        """The live object for refresh, import and `get`; an empty id where it is gone."""
        olds, inputs = decode(request.properties), decode(request.inputs)
        kind = kind_of(request.urn)
        old = inputs or olds.get("__inputs") or olds
        namespace, _, name = request.id.rpartition("/")
        item = {
            "apiVersion": old.get("apiVersion") or api_version(token_of(request.urn)),
            "kind": old.get("kind") or kind.removesuffix("Patch" if is_patch(request.urn) else ""),
            "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        }
        try:
            live = self._cluster().get(item)
        except (ApiError, Unreachable, Refused) as error:
            self._abort(context, error)
        if live is None:
            return provider_pb2.ReadResponse(id="")
        manager = ownership.manager_of(inputs, olds)
        expected = olds.get("__inputs") or inputs
        seen = project(live, expected) if expected else _as_inputs(live)
        given = sealed(request.inputs)
        state = self._state(live, seen, given, olds, manager)
        if expected and (problems := awaiting.problems(self._cluster(), expected, live)):
            self._half_done(context, state, conceal(seen, given), live, f"{request.id}: {'; '.join(problems)}")
        return provider_pb2.ReadResponse(id=request.id, properties=state, inputs=encode(conceal(seen, given)))

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


def _identity(item: Object) -> Object:
    return {key: item[key] for key in ("apiVersion", "kind")}


def _place(item: Object) -> Object:
    return {key: item["metadata"][key] for key in ("name", "namespace") if key in item["metadata"]}


def _as_inputs(live: Object) -> Object:
    """Inputs of an object that was imported or got: all that the server did not write itself."""
    found = {key: value for key, value in live.items() if key != "status"}
    hidden = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")
    found["metadata"] = {key: value for key, value in live["metadata"].items() if key not in hidden}
    return found


if __name__ == "__main__":
    serve(Provider)
