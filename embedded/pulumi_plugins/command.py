"""Provider `command` for `local.Command`, with the inputs, state and replacement of pulumi-command 1.2.

It does not do remote commands, copying, assets and `local.run`; these are errors that name the official plugin.
"""

import contextlib
import secrets
import sys
import threading
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import empty_pb2

from embedded.pulumi_plugins.command_process import DRAIN_SECONDS, STOP_SECONDS, CommandFailed, run
from embedded.pulumi_plugins.protocol import (
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    serve,
)
from embedded.pulumi_plugins.values import UNKNOWN, decode, differences, encode, sealed

Object = dict[str, Any]
VERSION = "1.2.1"
TOKEN = "command:local:Command"
OFFICIAL = "the Command provider of this project does not support it; use the official pulumi-command plugin"
TEXTS = ("create", "update", "delete", "stdin", "dir")
LOGGING = ("stdout", "stderr", "stdoutAndStderr", "none")
LOG_SECONDS = 5.0
KNOWN = {*TEXTS, "triggers", "interpreter", "environment", "logging", "addPreviousOutputInEnv"}


def problems(inputs: Object) -> list[tuple[str, str]]:
    """Return a property and a reason for each input that is not supported."""
    found = [(key, f"{key}: {OFFICIAL}") for key in inputs if key not in KNOWN]
    for key in TEXTS:
        if key in inputs and not isinstance(inputs[key], str):
            found.append((key, f"{key} must be a string"))
    environment = inputs.get("environment", {})
    if environment != UNKNOWN and not (isinstance(environment, dict) and _strings(environment.values())):
        found.append(("environment", "environment must be a map of strings"))
    interpreter = inputs.get("interpreter", [])
    if interpreter != UNKNOWN and not (isinstance(interpreter, list) and _strings(interpreter)):
        found.append(("interpreter", "interpreter must be a list of strings"))
    if inputs.get("logging", "none") not in (*LOGGING, UNKNOWN):
        found.append(("logging", f"logging must be one of {', '.join(LOGGING)}"))
    return found


def _strings(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Provider service of the engine; the methods are those of its protocol."""

    def __init__(self, engine: str) -> None:
        """Connect to the engine at the address `engine`, which takes log lines."""
        self._cancelled = threading.Event()
        self._running = 0
        self._changed = threading.Condition()  # of `_running`
        self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(engine)) if engine else None

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, accept_resources=False)

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: D102
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.GetSchemaResponse(schema=f'{{"name":"command","version":"{VERSION}"}}')

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: D102
        self._cancelled.set()
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: D102
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.tok}: {OFFICIAL}")

    Call = Invoke

    def Construct(self, request: Any, context: Any) -> Any:  # noqa: D102
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.type}: {OFFICIAL}")

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:
        """Reject unknown resources and properties."""
        token = request.urn.split("::")[2].split("$")[-1]
        if token != TOKEN:
            failures = [provider_pb2.CheckFailure(reason=f"{token}: {OFFICIAL}")]
        else:
            found = problems(decode(request.news))
            failures = [provider_pb2.CheckFailure(property=key, reason=reason) for key, reason in found]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        """Return an update for a changed input, and a replacement for a changed trigger."""
        found = differences(decode(request.old_inputs), decode(request.news))
        kinds = provider_pb2.PropertyDiff
        replaces = [path for path in found if path.split("[")[0].split(".")[0] == "triggers"]
        detail = {
            path: kinds(kind=kinds.Kind.Value(change.upper() + ("_REPLACE" if path in replaces else "")))
            for path, change in found.items()
        }
        some = provider_pb2.DiffResponse.DIFF_SOME if found else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=some, replaces=replaces, detailedDiff=detail, hasDetailedDiff=True)

    def Create(self, request: Any, context: Any) -> Any:
        """Run `create`. If it fails, the resource does not exist, and `delete` does not run."""
        inputs = decode(request.properties)
        name = request.urn.split("::")[-1]
        answer = provider_pb2.CreateResponse(id=f"{name}{secrets.token_hex(4)}")
        out = self._run(request, context, inputs, inputs.get("create"), {})
        answer.properties.CopyFrom(encode(sealed(request.properties) | out))
        return answer

    def Update(self, request: Any, context: Any) -> Any:
        """Run `update`, or `create` again if there is no `update`."""
        inputs, before = decode(request.news), decode(request.olds)
        out = self._run(request, context, inputs, inputs.get("update", inputs.get("create")), before)
        return provider_pb2.UpdateResponse(properties=encode(sealed(request.news) | out))

    def Read(self, request: Any, context: Any) -> Any:
        """Return the state as it is, because a command has no live state."""
        return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)

    def Delete(self, request: Any, context: Any) -> Any:
        """Run `delete` with the inputs of the last update."""
        state = decode(request.properties)
        self._run(request, context, state, state.get("delete"), state)
        return empty_pb2.Empty()

    def _run(self, request: Any, context: Any, inputs: Object, command: str | None, before: Object) -> Object:
        """Run the command and return its outputs; in a preview they are unknown."""
        if getattr(request, "preview", False):
            return {"stdout": UNKNOWN, "stderr": UNKNOWN}
        known = {key: str(before.get(key, "")) for key in ("stdout", "stderr")}
        if command is None:
            return known
        logged = inputs.get("logging", "stdoutAndStderr")
        with self._changed:
            if self._cancelled.is_set():  # `end` waits for no command that starts from now on
                context.abort(grpc.StatusCode.CANCELLED, f"cancelled: not running {command!r}")
            self._running += 1
        try:
            texts = run(command, inputs, known, request.timeout, self._cancelled, self._logger(request.urn, logged))
        except CommandFailed as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()
        return dict(zip(known, texts, strict=True))

    def end(self) -> None:
        """Stop the commands that still run, and wait until they have ended."""
        with self._changed:
            self._cancelled.set()
            self._changed.wait_for(lambda: not self._running, STOP_SECONDS + DRAIN_SECONDS + 1)

    def _logger(self, urn: str, logged: str) -> Any:
        def log(stream: str, line: str) -> None:
            if self._engine and logged in (stream, "stdoutAndStderr"):
                request = engine_pb2.LogRequest(severity=engine_pb2.INFO, message=line, urn=urn, ephemeral=True)
                with contextlib.suppress(grpc.RpcError):  # a line that is lost must not end the command
                    self._engine.Log(request, timeout=LOG_SECONDS)

        return log


if __name__ == "__main__":
    provider = Provider(next(iter(sys.argv[1:]), ""))
    serve(lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server), provider.end)
