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
DRAIN_SECONDS = 1.0  # for the output after that; a process that has left the group may hold the pipes


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
        with stream:
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
        thread.daemon = True  # one that waits for a process outside the group does not keep the plugin
        thread.start()
    why = _wait(process, threads, seconds, cancelled)
    if why or process.returncode:
        code = process.returncode
        why = why or (f"exit status {code}" if code > 0 else f"signal {signal.Signals(-code).name}")
        raise CommandFailed(f"{why}: running {command!r}:\n{b''.join(kept['both']).decode(errors='replace')}")
    out, err = (b"".join(kept[name]).decode(errors="replace").removesuffix("\n") for name in ("stdout", "stderr"))
    return out, err


def _wait(
    process: "subprocess.Popen[bytes]", threads: list[threading.Thread], seconds: float, cancelled: threading.Event
) -> str:
    """Wait until the process has ended and its pipes are closed, also by children in the background.

    Returns:
        The reason for which it had to be stopped, or an empty text.
    """
    end = time.monotonic() + seconds if seconds else float("inf")
    while not _ended(process) or any(thread.is_alive() for thread in threads):
        if cancelled.is_set() or time.monotonic() > end:
            _stop(process)
            drained = time.monotonic() + DRAIN_SECONDS
            for thread in threads:
                thread.join(max(0.0, drained - time.monotonic()))
            return "cancelled" if cancelled.is_set() else f"not done after {seconds:g} s"
        time.sleep(POLL_SECONDS)
    process.wait()
    return ""


def _ended(process: "subprocess.Popen[bytes]") -> bool:
    """Return True if the process has ended; its id stays taken, so that no other group can get it."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt the process and all that it started; kill what is left after STOP_SECONDS."""
    os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
