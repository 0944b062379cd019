"""An offline stand-in for `pulumi-resource-command` 1.2: `local.Command`, as the official provider runs it.

Same inputs, state, replacement by triggers, and errors with the command's own output. What it does not do (remote
commands, copying, assets, `local.run`) is an error that names the official plugin.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import threading
import time
from typing import Any

import grpc
from google.protobuf import empty_pb2

from embedded.pulumi_plugins.base import Base
from embedded.pulumi_plugins.protocol import provider_pb2, serve
from embedded.pulumi_plugins.values import UNKNOWN, decode, differences, encode, sealed

Object = dict[str, Any]
VERSION = "1.2.1"
TOKEN = "command:local:Command"
OFFICIAL = "the offline Command provider does not support it; use the official pulumi-command plugin"
TEXTS = ("create", "update", "delete", "stdin", "dir")
LOGGING = ("stdout", "stderr", "stdoutAndStderr", "none")
KNOWN = {*TEXTS, "triggers", "interpreter", "environment", "logging", "addPreviousOutputInEnv"}
SHELL = ["/bin/sh", "-c"]
POLL_SECONDS = 0.05
STOP_SECONDS = 10.0  # a tool that is told to end may clean up for so long


class CommandFailed(Exception):
    """The command ended with an error, was stopped, or could not be started; says what it printed."""


def problems(inputs: Object) -> list[tuple[str, str]]:
    """`(property, reason)` for what cannot be run."""
    found = [(key, f"{key}: {OFFICIAL}") for key in inputs if key not in KNOWN]
    for key in TEXTS:
        if key in inputs and not isinstance(inputs[key], str):
            found.append((key, f"{key} must be a string"))
    if not isinstance(inputs.get("environment", {}), dict):
        found.append(("environment", "environment must be a map of strings"))
    if inputs.get("logging", "none") not in (*LOGGING, UNKNOWN):
        found.append(("logging", f"logging must be one of {', '.join(LOGGING)}"))
    return found


class Provider(Base):
    """The engine's provider service."""

    name, version, official = "command", VERSION, OFFICIAL

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    def Check(self, request: Any, context: Any) -> Any:
        """Refuses what is unknown or not supported."""
        token = request.urn.split("::")[2].split("$")[-1]
        if token != TOKEN:
            failures = [provider_pb2.CheckFailure(reason=f"{token}: {OFFICIAL}")]
        else:
            found = problems(decode(request.news))
            failures = [provider_pb2.CheckFailure(property=key, reason=reason) for key, reason in found]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:
        """Any input that changes is an update; a trigger that changes is a replacement."""
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
        """Runs `create`. Where it fails the resource does not exist, and `delete` is not run."""
        inputs = decode(request.properties)
        name = request.urn.split("::")[-1]
        answer = provider_pb2.CreateResponse(id=f"{name}{secrets.token_hex(4)}")
        out = self._run(request, context, inputs, inputs.get("create"), {})
        answer.properties.CopyFrom(self._state(sealed(request.properties), out))
        return answer

    def Update(self, request: Any, context: Any) -> Any:
        """Runs `update`, or `create` again where there is none."""
        inputs, before = decode(request.news), decode(request.olds)
        out = self._run(request, context, inputs, inputs.get("update", inputs.get("create")), before)
        return provider_pb2.UpdateResponse(properties=self._state(sealed(request.news), out))

    def Read(self, request: Any, context: Any) -> Any:
        """A command has nothing to look at: the state is as it was."""
        return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)

    def Delete(self, request: Any, context: Any) -> Any:
        """Runs `delete` with the inputs of the last update."""
        state = decode(request.properties)
        self._run(request, context, state, state.get("delete"), state)
        return empty_pb2.Empty()

    def _state(self, inputs: Object, out: Object) -> Any:
        return encode({**inputs, **out})

    def _run(self, request: Any, context: Any, inputs: Object, command: str | None, before: Object) -> Object:
        """The command's outputs; a preview runs nothing, and does not know them."""
        if getattr(request, "preview", False):
            return {"stdout": UNKNOWN, "stderr": UNKNOWN}
        known = {key: str(before.get(key, "")) for key in ("stdout", "stderr")}
        if command is None:
            return known
        logged = inputs.get("logging", "stdoutAndStderr")
        try:
            texts = run(command, inputs, known, request.timeout, self._cancelled, self._tell(request.urn, logged))
        except CommandFailed as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        return dict(zip(known, texts, strict=True))

    def _tell(self, urn: str, logged: str) -> Any:
        def tell(stream: str, line: str) -> None:
            if logged in (stream, "stdoutAndStderr"):
                self._log(urn, line)

        return tell


def run(
    command: str, inputs: Object, before: Object, seconds: float, cancelled: threading.Event, tell: Any
) -> tuple[str, str]:
    """Runs one command to its end and returns its two outputs, without the last line break.

    `before` are the outputs of the last run, `seconds` the limit (0: none). Raises CommandFailed.
    """
    environment = {**os.environ, **{key: str(value) for key, value in inputs.get("environment", {}).items()}}
    if inputs.get("addPreviousOutputInEnv", True):
        environment |= {f"PULUMI_COMMAND_{key.upper()}": text for key, text in before.items() if text}
    argv = [*(inputs.get("interpreter") or SHELL), command]
    try:
        process = subprocess.Popen(
            argv,
            cwd=inputs.get("dir"),
            env=environment,
            stdin=subprocess.PIPE if inputs.get("stdin") else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that all it starts can be ended with it
        )
    except OSError as error:
        raise CommandFailed(f"{error.strerror}: {error.filename}: running {command!r}") from None
    kept: dict[str, list[bytes]] = {"stdout": [], "stderr": [], "both": []}

    def read(name: str, stream: Any) -> None:
        for line in stream:
            kept[name].append(line)
            kept["both"].append(line)
            tell(name, line.decode(errors="replace").rstrip("\n"))

    def write(stream: Any) -> None:
        try:
            with stream:
                stream.write(inputs["stdin"].encode())
        except BrokenPipeError:
            pass  # it ended without reading all of it

    threads = [threading.Thread(target=read, args=(name, getattr(process, name))) for name in ("stdout", "stderr")]
    if process.stdin:
        threads.append(threading.Thread(target=write, args=(process.stdin,)))
    for thread in threads:
        thread.start()
    why = _wait(process, seconds, cancelled)
    for thread in threads:
        thread.join()
    if why or process.returncode:
        code = process.returncode
        why = why or (f"exit status {code}" if code > 0 else f"signal {signal.Signals(-code).name}")
        raise CommandFailed(f"{why}: running {command!r}:\n{b''.join(kept['both']).decode(errors='replace')}")
    out, err = (b"".join(kept[name]).decode(errors="replace").removesuffix("\n") for name in ("stdout", "stderr"))
    return out, err


def _wait(process: "subprocess.Popen[bytes]", seconds: float, cancelled: threading.Event) -> str:
    """Waits for the end; says why it had to end the process, empty where it did not."""
    end = time.monotonic() + seconds if seconds else float("inf")
    while process.poll() is None:
        if cancelled.is_set() or time.monotonic() > end:
            _stop(process)
            return "cancelled" if cancelled.is_set() else f"not done after {seconds:g} s"
        time.sleep(POLL_SECONDS)
    return ""


def _stop(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    serve(Provider)
