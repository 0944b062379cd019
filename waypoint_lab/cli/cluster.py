"""`lab up`, `down`, `status` and `env`: the embedded cluster."""

import shlex
import sys
from pathlib import Path

import click
from rich.text import Text

from embedded import cluster, shell
from embedded.pulumi_plugins.status import Plugin, plugins
from waypoint_lab.cli import output
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.target import stack_config, target_kind
from waypoint_lab.errors import ConfigError, LockedError
from waypoint_lab.measure import restore
from waypoint_lab.rollout.journal import Journal


def _command(state: Path, program: str, *words: str) -> str:
    """Return a command of `lab`, as a shell takes it, that uses a state folder."""
    return shlex.join([program, *([] if state == cluster.default_state() else ["--state", str(state)]), *words])


@click.command()
@click.option("--api-port", type=click.IntRange(1, 65535), help=f"API server's port [default: {cluster.API_PORT}].")
@click.option("--http-port", type=click.IntRange(1, 65535), help=f"Ingress's port [default: {cluster.HTTP_PORT}].")
@click.option("--isolated", is_flag=True, help="Pods do not reach hosts outside the cluster.")
@click.pass_obj
def up(invocation: Invocation, api_port: int | None, http_port: int | None, isolated: bool) -> None:
    """Start the embedded cluster with bookinfo.

    The API server and the ingress listen on 127.0.0.1. Pods reach the hosts that you reach.
    """
    cluster.up(invocation.state, api_port, http_port, lambda line: click.echo(line, err=True), isolated=isolated)
    click.echo(f"productpage: http://127.0.0.1:{cluster.ports(invocation.state)[1]}/productpage", err=True)
    click.echo(f'this shell:  eval "$({_command(invocation.state, sys.argv[0], "env")})"', err=True)


@click.command()
@click.pass_obj
def down(invocation: Invocation) -> None:
    """Stop the embedded cluster; keep its data for the next `lab up`."""
    cluster.down(invocation.state, lambda line: click.echo(line, err=True))


@click.command()
@output.json_option
@click.pass_obj
def status(invocation: Invocation, as_json: bool) -> int:
    """Show the status of the cluster's components and of Pulumi's plugins.

    Exit status 1 where the cluster is not ready.
    """
    now = cluster.status(invocation.state)
    found, left = _plugins(invocation.state), _unrestored(invocation.state)
    if as_json:
        components = [vars(component) for component in now.components]
        plugins = [vars(plugin) for plugin in found]
        output.print_json({"ready": now.ready, "components": components, "plugins": plugins, "unrestored": left})
        return 0 if now.ready else 1
    rows = [
        (Text("ready", "green") if row.ready else Text("NOT READY", "bold red"), row.name, row.pid or "-", row.detail)
        for row in now.components
    ]
    if rows:
        output.print_table(("status", "component", ">pid", "detail"), rows)
    if found:
        output.print_table(("plugin", "version", "origin"), [tuple(vars(plugin).values()) for plugin in found])
    for line in left:
        click.echo(line)
    start = _command(invocation.state, "lab", "up")
    click.echo("ready" if now.ready else "not ready" if rows else f"not running; start it with `{start}`")
    return 0 if now.ready else 1


def _unrestored(state: Path) -> list[str]:
    """Return one line for each stack that a killed command left with its own settings."""
    lines = []
    for stack in restore.unrestored(cluster.PROJECT_FOLDER):
        try:
            with Journal(cluster.PROJECT_FOLDER, stack).locked():
                config = stack_config(cluster.PROJECT_FOLDER, stack)
        except LockedError:
            continue  # the command still runs
        except ConfigError as error:
            lines.append(f"stack {stack}: a command was killed, and left settings that are not valid: {error}")
            continue
        on = ", ".join(sorted(config.stages.on)) or "no stage"
        more = "; its fault ends by itself" if config.faulty else ""
        text = f"stack {stack}: a command was killed, and left on: {on}{more}"
        lines.append(f"{text}; restore the stack: {_command(state, 'lab', 'run', '--restore', '--stack', stack)}")
    return lines


def _plugins(state: Path) -> list[Plugin]:
    """Return the plugins that Pulumi uses on the cluster; none before the first `lab up`."""
    try:
        return plugins(state, cluster.environment(state))
    except cluster.ClusterError:
        return []


@click.command()
@click.option("--stack", metavar="NAME", help="The stack whose target is the cluster [default: the embedded cluster].")
@click.pass_obj
def env(invocation: Invocation, stack: str | None) -> None:
    """Print the exports that a shell needs: PATH, the kubeconfig, and Pulumi's backend.

    Example: eval "$(lab env)"
    """
    kind = target_kind(cluster.PROJECT_FOLDER, stack) if stack else "embedded"
    variables = cluster.environment(invocation.state, embedded=kind == "embedded")
    click.echo("\n".join(shell.shell_lines(variables)))
    click.echo(f"lab env: {shell.describe_backend(variables)}", err=True)
