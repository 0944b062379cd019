"""The command `lab`."""

import argparse
import importlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from embedded import cluster, shell
from waypoint_lab import signals
from waypoint_lab.config.target import stack_config
from waypoint_lab.errors import ConfigError

Command = Callable[[argparse.Namespace], int]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _up(given: argparse.Namespace) -> int:
    cluster.up(given.state, given.api_port, given.http_port, _say)
    _say(f"productpage: http://127.0.0.1:{cluster.ports(given.state)[1]}/productpage")
    _say(f'this shell:  eval "$({shlex.quote(sys.argv[0])} env)"')
    return 0


def _down(given: argparse.Namespace) -> int:
    cluster.down(given.state, _say)
    return 0


def _status(given: argparse.Namespace) -> int:
    now = cluster.status(given.state)
    if given.json:
        rows = [vars(component) for component in now.components]
        print(json.dumps({"ready": now.ready, "components": rows, "plugins": _plugins(given.state)}, indent=1))
        return 0 if now.ready else 1
    for row in now.components:
        print(f"{'ok ' if row.ready else 'NOT'} {row.name:<26}{row.pid or '-':>8}  {row.detail}")
    for name, where in _plugins(given.state).items():
        print(f"    {name:<34}  {where}")
    print("ready" if now.ready else "not ready" if now.components else "not running; start it with `lab up`")
    return 0 if now.ready else 1


def _plugins(state: Path) -> dict[str, str]:
    """Which plugins Pulumi will use: the official ones, or this project's offline stand-ins."""
    try:
        path = cluster.environment(state)["PATH"]
    except cluster.ClusterError:
        return {}
    ours = shell.plugin_folder(state)
    answer = {}
    for name in ("pulumi-language-python", "pulumi-resource-kubernetes", "pulumi-resource-command"):
        found = shutil.which(name, path=path)
        kind = "offline stand-in" if found and Path(found).parent == ours else "official, from PATH"
        answer[name] = f"{kind}" if found else "missing"
    return answer


def _env(given: argparse.Namespace) -> int:
    target = stack_config(cluster.PROJECT_FOLDER, given.stack).target.kind if given.stack else "embedded"
    variables = cluster.environment(given.state, embedded=target == "embedded")
    print("\n".join(shell.shell_lines(variables)))
    _say(f"lab env: {shell.describe_backend(variables)}")
    return 0


def _up_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--api-port", type=int, default=cluster.API_PORT, help="the API server's port on 127.0.0.1")
    parser.add_argument("--http-port", type=int, default=cluster.HTTP_PORT, help="the ingress's port on 127.0.0.1")


def _env_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stack", help="the stack whose cluster is meant (default: one on the embedded cluster)")


def _json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def _nothing(_parser: argparse.ArgumentParser) -> None:
    pass


# name: (what it does, its arguments, the command itself)
OWN: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], Command]] = {
    "up": ("start the embedded cluster with bookinfo", _up_arguments, _up),
    "down": ("stop it; its data stays for the next up", _nothing, _down),
    "status": ("show the status of the cluster's components", _json_argument, _status),
    "env": ("print the exports a shell needs", _env_arguments, _env),
}
# Those that measure live in modules of their own, loaded only when asked for: most import Pulumi.
MODULES = {
    "run": ("walk the whole lab and measure every stage", "waypoint_lab.cli.run"),
    "verify": ("measure what is on now", "waypoint_lab.measure.verify"),
    "doctor": ("say what the stack's cluster lacks for the lab", "waypoint_lab.cli.doctor"),
    "policies": ("list the policies of the pack, their levels and parameters", "waypoint_lab.cli.policies"),
    "chaos": ("say what a fault hits, measure it, or walk a schedule of faults", "waypoint_lab.cli.chaos"),
    "promote": ("walk the canary up step by step, measured, and back where it is bad", "waypoint_lab.cli.promote"),
    "rollback": ("put the last good weight of the canary back", "waypoint_lab.cli.rollback"),
    "roll": (
        "let another waypoint take over step by step, measured, and back where it is bad",
        "waypoint_lab.cli.migrate",
    ),
    "history": ("show what promotions decided, and why", "waypoint_lab.cli.history"),
    "bench": ("time a weight step beside kubectl and an idle up", "waypoint_lab.cli.bench"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command; errors are one line on standard error and exit status 1."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="lab", description="Layer-7 traffic management on Istio Ambient, measured.")
    parser.add_argument("--state", type=Path, default=cluster.default_state(), help="where the cluster keeps its files")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    chosen: dict[str, Command] = {}
    for name, (help_text, add_arguments, command) in OWN.items():
        add_arguments(commands.add_parser(name, help=help_text))
        chosen[name] = command
    for name, (help_text, module_name) in MODULES.items():
        sub = commands.add_parser(name, help=help_text)
        if name in argv:
            module = importlib.import_module(module_name)
            module.add_arguments(sub)
            chosen[name] = module.main
    given = parser.parse_args(argv)
    given.state = given.state.resolve()
    try:
        return chosen[given.command](given)
    except (cluster.ClusterError, ConfigError) as error:
        _say(f"lab {given.command}: {error}")
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        _say(f"lab {given.command}: interrupted")
        return signals.EXIT


if __name__ == "__main__":
    sys.exit(main())
