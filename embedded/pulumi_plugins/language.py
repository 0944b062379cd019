"""Language host `pulumi-language-python`: runs programs and policy packs with the interpreter of this project.

A runtime option `virtualenv` that names another virtual environment selects the interpreter of that one.

It does not install dependencies, choose toolchains or generate code; these are errors that name the official plugin.
"""

import importlib.metadata
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SUPPORTED_OPTIONS = {"toolchain": "pip", "typechecker": "none"}  # the values that this host takes; others are refused
LOGGED = 32  # exit status of a program that has logged its error, as with the official language host


def start_runner(python: str = sys.executable) -> "subprocess.Popen[str]":
    """Start a process of `python` that imports the SDK while the engine plans, and then waits for its program."""
    return subprocess.Popen(
        [python, "-u", str(HERE / "runner.py")],
        stdin=subprocess.PIPE,
        stdout=sys.stdout,
        stderr=sys.stderr,
        text=True,
    )


# Before the imports below, so that both processes import at the same time.
_first = [start_runner()] if __name__ == "__main__" else []

import grpc  # noqa: E402
from google.protobuf import empty_pb2  # noqa: E402

from embedded.pulumi_plugins.protocol import language_pb2, language_pb2_grpc, plugin_pb2, serve  # noqa: E402

VERSION = importlib.metadata.version("pulumi")


def own_environment(info: Any) -> Path | None:
    """Return the virtual environment of a program's runtime option; None if it is this one or does not exist."""
    named = dict(info.options).get("virtualenv")
    if not isinstance(named, str):
        return None
    folder = Path(info.root_directory, named)
    other = (folder / "bin" / "python").exists() and folder.resolve() != Path(sys.prefix).resolve()
    return folder if other else None


def interpreter(info: Any) -> str:
    """Return the interpreter of a program."""
    own = own_environment(info)
    return str(own / "bin" / "python") if own else sys.executable


def missing(requirements: str, packages: list[str] | None = None) -> list[str]:
    """Return the requirements that an interpreter does not meet.

    Args:
        requirements: Text of a requirements file.
        packages: The interpreter's folders of packages; those of this one without it.

    Raises:
        InvalidRequirement: A line is not a requirement, such as an option of pip's.
    """
    from packaging.requirements import Requirement  # no update needs it

    found = []
    for line in requirements.replace("\\\n", " ").splitlines():
        # Hashes matter for a download only; a comment starts a line or follows a blank.
        text = f" {line}".split(" --hash=")[0].split(" #")[0].strip()
        if not text:
            continue
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate():
            continue
        there = importlib.metadata.distributions(name=wanted.name, path=sys.path if packages is None else packages)
        version = next((each.version for each in there), None)
        if version is None or version not in wanted.specifier:
            found.append(text)
    return found


def refuse(context: Any, task: str) -> None:
    """Refuse `task`, because only the official language host does it."""
    context.abort(
        grpc.StatusCode.UNIMPLEMENTED,
        f"{task} takes the official pulumi-language-python, which comes with the Pulumi CLI: put it on PATH",
    )


def official(task: str) -> Any:
    """Return a method that refuses `task`."""
    return lambda self, request, context: refuse(context, task)


def check_options(info: Any, context: Any) -> None:
    """Refuse the runtime options of a program that would have no effect here."""
    for name, value in dict(info.options).items():
        if value and value != SUPPORTED_OPTIONS.get(name, value):
            refuse(context, f"runtime option {name}: {value}")


class Host(language_pb2_grpc.LanguageRuntimeServicer):
    """Language runtime service of the engine; the methods are those of its protocol."""

    GeneratePackage = official("generating an SDK")
    Link = official("linking an SDK into a project")
    Pack = official("packing an SDK")
    GenerateProgram = GenerateProject = official("generating a program")
    Template = official("a project template")

    def __init__(self) -> None:
        """Start without children; the first runner started with the process."""
        self._children: set[subprocess.Popen[Any]] = set()
        self._lock = threading.Lock()

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: D102
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: D102
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:  # noqa: D102
        return language_pb2.GetRequiredPackagesResponse()

    def GetRequiredPlugins(self, request: Any, context: Any) -> Any:  # noqa: D102
        return language_pb2.GetRequiredPluginsResponse()

    def About(self, request: Any, context: Any) -> Any:  # noqa: D102
        version = ".".join(map(str, sys.version_info[:3]))
        return language_pb2.AboutResponse(executable=sys.executable, version=version)

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> Any:  # noqa: D102
        return language_pb2.RuntimeOptionsResponse()

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:  # noqa: D102
        return language_pb2.GetProgramDependenciesResponse()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: D102
        self.end_children()
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:
        """Run the program in a process of its own, whose output goes straight to the engine's log."""
        check_options(request.info, context)
        entry = Path(request.info.program_directory or request.pwd or ".", request.info.entry_point or request.program)
        given = {
            "pwd": request.pwd,
            "program": str(entry),
            "project": request.project,
            "stack": request.stack,
            "organization": request.organization or "organization",
            "monitor": request.monitor_address,
            "engine": request.args[0] if request.args else "",
            "parallel": request.parallel,
            "preview": request.dryRun,
            "root": request.info.root_directory,
            "config": dict(request.config),
            "secrets": list(request.configSecretKeys),
        }
        with self._lock:
            python = interpreter(request.info)
            child = _first.pop() if _first and python == sys.executable else start_runner(python)
            self._children.add(child)
        try:
            child.communicate(json.dumps(given))
        finally:
            self._children.discard(child)
        if child.returncode == LOGGED:
            return language_pb2.RunResponse(bail=True)
        if child.returncode:
            return language_pb2.RunResponse(error=f"Program exited with non-zero exit code: {child.returncode}")
        return language_pb2.RunResponse()

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:
        """Run a plugin written in Python, such as a policy pack, and stream its output."""
        check_options(request.info, context)
        program = request.info.program_directory or request.program
        child = subprocess.Popen(
            [interpreter(request.info), "-u", program, *request.args],
            cwd=request.pwd or None,
            # The environment of the engine alone: this host's own may have more.
            env=dict(item.split("=", 1) for item in request.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._children.add(child)
        context.add_callback(child.terminate)
        said: queue.Queue[Any] = queue.Queue()

        def read(stream: str) -> None:
            with getattr(child, stream) as lines:
                for line in lines:
                    said.put(language_pb2.RunPluginResponse(**{stream: line}))
            said.put(None)

        streams = ("stdout", "stderr")
        for stream in streams:
            threading.Thread(target=read, args=(stream,), daemon=True).start()
        for _ in streams:
            yield from iter(said.get, None)
        status = child.wait()
        self._children.discard(child)
        yield language_pb2.RunPluginResponse(exitcode=status)

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:
        """Install nothing; fail if a requirement of the folder is not met."""
        check_options(request.info, context)
        file = Path(request.info.program_directory or request.directory, "requirements.txt")
        own = own_environment(request.info)
        packages = [str(path) for path in own.glob("lib/python3*/site-packages")] if own else None
        try:
            absent = missing(file.read_text(), packages)
        except (OSError, ValueError) as error:
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"the language host of this project installs nothing: {file}: {str(error).splitlines()[0]}",
            )
        if absent:
            said = f"{file} asks for {', '.join(absent)}, which {interpreter(request.info)} does not have"
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"the language host of this project installs nothing: {said}")
        yield from ()

    def end_children(self) -> None:
        """End the programs that still run."""
        for child in [*self._children, *_first]:
            if child.poll() is None:
                child.terminate()


if __name__ == "__main__":
    host = Host()
    serve(lambda server: language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server), host.end_children)
