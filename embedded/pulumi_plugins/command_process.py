"""Process of one command of the Command provider."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import Any

Object = dict[str, Any]
SHELL = ["/bin/sh", "-c"]
POLL_SECONDS = 0.05
STOP_SECONDS = 10.0  # a tool that is interrupted may clean up for so long


class CommandFailed(Exception):
    """The command ended with an error, was stopped, or could not be started; the message has its output."""


def run(
    command: str, inputs: Object, before: Object, seconds: float, cancelled: threading.Event, log: Any
) -> tuple[str, str]:
    """Run one command and return its standard output and standard error, each without the last line break.

    Args:
        command: Text for the interpreter.
        inputs: Properties of the resource.
        before: Outputs of the last run.
        seconds: Limit of the run; 0 for none.
        cancelled: Event that ends the command.
        log: Function that takes the name of a stream and one line of it.

    Raises:
        CommandFailed: The command failed, was cancelled, took too long or could not be started.
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
            log(name, line.decode(errors="replace").rstrip("\n"))

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
    """Wait for the end; return the reason for which the process had to be stopped, or an empty text."""
    end = time.monotonic() + seconds if seconds else float("inf")
    while process.poll() is None:
        if cancelled.is_set() or time.monotonic() > end:
            _stop(process)
            return "cancelled" if cancelled.is_set() else f"not done after {seconds:g} s"
        time.sleep(POLL_SECONDS)
    return ""


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt the process and all that it started; kill what is left after STOP_SECONDS."""
    os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
