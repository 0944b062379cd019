"""Run one Pulumi program, described by a JSON document on standard input."""

import asyncio
import json
import logging
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

# Imported before the document comes, which saves time; the program would import them anyway.
import grpc
import pulumi
from pulumi.runtime import reset_options, run_in_stack, set_all_config

with suppress(ImportError):  # a program's own virtual environment may do without
    import pulumi_kubernetes  # noqa: F401

LOGGED = 32


def program_of(path: Path) -> Callable[[], None]:
    """Return the program at `path`, a file or a folder with `__main__.py`, as a function."""

    def start() -> None:
        runpy.run_path(str(path), run_name="__main__")

    return start


def run(given: dict[str, Any]) -> int:
    """Run the program and return its exit status: 0, or LOGGED after its error was logged."""
    reset_options(
        project=given["project"],
        monitor_address=given["monitor"],
        engine_address=given["engine"],
        stack=given["stack"],
        parallel=given["parallel"],
        preview=given["preview"],
        organization=given["organization"],
        root_directory=given["root"],
    )
    set_all_config(given["config"], given["secrets"])
    os.chdir(given["pwd"] or ".")
    program = Path(given["program"]).resolve()
    # Python has put the folder of this file first, whose `values` or `command` would hide a package of that name.
    sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).resolve().parent)]
    sys.path.insert(0, str(program if program.is_dir() else program.parent))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_default_executor(ThreadPoolExecutor(max_workers=max(given["parallel"], 1) * 4))
    # Tasks that fail after the program failed would only repeat its error.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        loop.run_until_complete(run_in_stack(program_of(program)))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return LOGGED
    except grpc.RpcError as error:
        # The engine has ended or ends, and has logged its reason.
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            pulumi.log.error(f"RPC error: {error.details()}")
            return LOGGED
        return 1
    except Exception:
        pulumi.log.error(f"Program failed with an unhandled exception:\n{traceback.format_exc()}")
        return LOGGED
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                loop.run_until_complete(task)
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    text = sys.stdin.read()
    if not text:  # the host ended before there was anything to run
        os._exit(0)
    status = run(json.loads(text))
    os._exit(status)
