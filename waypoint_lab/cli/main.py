"""The command `lab`.

Each command is a module of its own and is imported only when it runs, because most of them import more than `lab up`
needs.
"""

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from embedded import cluster
from waypoint_lab import signals
from waypoint_lab.errors import LabError
from waypoint_lab.masking import MaskedStream

FAILURES = (LabError, cluster.ClusterError, subprocess.SubprocessError, OSError)


@dataclass
class Invocation:
    """One call of `lab`: the state folder of the embedded cluster, and the words of the command."""

    state: Path
    command: str = "lab"


class LazyGroup(click.Group):
    """A group whose commands are imported when they run."""

    def __init__(self, *args: Any, modules: Mapping[str, tuple[str, str]], **more: Any) -> None:
        """Keep the modules.

        Args:
            args: As click.Group takes them.
            modules: For each command its module and attribute, as `module:attribute`, and its short help.
            more: As click.Group takes them.
        """
        super().__init__(*args, **more)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self._modules)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command; None where there is none of this name."""
        if name not in self._modules:
            return None
        module, _, attribute = self._modules[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"waypoint_lab.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._modules.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Remember the words of the command for its error messages."""
        found = super().resolve_command(ctx, args)
        invocation = ctx.find_object(Invocation)
        if invocation and found[0]:
            invocation.command += f" {found[0]}"
        return found


canary = LazyGroup(
    "canary",
    help="Promote a canary in measured steps.",
    modules={
        "promote": ("canary_promote:promote", "Promote the canary step by step; roll back on failure."),
        "rollback": ("canary_rollback:rollback", "Apply the last healthy weight again."),
        "history": ("history:canary", "Show the decisions of promotions and their evidence."),
    },
)
outcome = LazyGroup(
    "outcome",
    help="Compare traffic around a change that another process makes.",
    modules={
        "observe": ("outcome:observe", "Observe the traffic before the change, and print it as JSON."),
        "compare": ("outcome:compare", "Observe the traffic after the change; fail if it is worse."),
    },
)
waypoint = LazyGroup(
    "waypoint",
    help="Migrate traffic to another waypoint.",
    modules={
        "migrate": ("waypoint_migrate:migrate", "Migrate to another waypoint in measured steps; roll back on failure."),
        "abort": ("waypoint_migrate:abort", "Roll back to the primary waypoint and remove the canary waypoint."),
        "history": ("history:waypoint", "Show the decisions of migrations and their evidence."),
    },
)
chaos = LazyGroup(
    "chaos",
    help="Check, measure and schedule faults.",
    modules={
        "check": ("chaos:check", "Show which requests the declared fault hits; send none."),
        "run": ("chaos:run", "Measure the fault that is on."),
        "schedule": ("chaos_schedule:schedule", "Run a schedule of faults, with health checks."),
    },
)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    modules={
        "up": ("cluster:up", "Start the embedded cluster with bookinfo."),
        "down": ("cluster:down", "Stop the embedded cluster; keep its data for the next `lab up`."),
        "status": ("cluster:status", "Show the status of the cluster's components and of Pulumi's plugins."),
        "env": ("cluster:env", "Print the exports that a shell needs."),
        "run": ("run:run", "Run all stages of the lab and measure each."),
        "dashboard": ("dashboard:dashboard", "Show traffic and promotion in a browser."),
        "verify": ("verify:verify", "Measure the deployed stages."),
        "watch": ("watch:watch", "Show the traffic through the waypoints now."),
        "guard": ("guard:guard", "Run a command; fail if the traffic is worse afterwards."),
        "outcome": ("main:outcome", "Compare traffic around a change that another process makes."),
        "doctor": ("doctor:doctor", "Check that the stack's cluster has what the lab needs."),
        "policies": ("policies:list_policies", "List the policies of the pack, their levels and parameters."),
        "bench": ("bench:bench", "Time a weight step beside an unchanged update, an empty program and kubectl."),
        "canary": ("main:canary", "Promote a canary in measured steps."),
        "waypoint": ("main:waypoint", "Migrate traffic to another waypoint."),
        "chaos": ("main:chaos", "Check, measure and schedule faults."),
    },
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=cluster.default_state,
    help="Folder of the embedded cluster's state.",
)
@click.version_option(package_name="waypoint-lab")
@click.pass_context
def lab(ctx: click.Context, state: Path) -> None:
    """Operate and measure layer-7 traffic of Istio Ambient.

    Shell completion: eval "$(_LAB_COMPLETE=bash_source lab)", or zsh_source, or fish_source.

    Exit status: 0 done or passed; 1 failed, refused or rolled back; 2 wrong usage; 3 paused or
    inconclusive; 130 interrupted.
    """
    ctx.obj.state = state.resolve()


def main(argv: list[str] | None = None) -> int:
    """Run one command. An error is one line on standard error.

    Args:
        argv: The arguments; None means those of the process.

    Returns:
        The exit status.
    """
    words = sys.argv[1:] if argv is None else argv
    invocation = Invocation(cluster.default_state())
    _replace_closed_streams()
    with redirect_stdout(MaskedStream(sys.stdout)), redirect_stderr(MaskedStream(sys.stderr)):
        return _run(words, invocation)


def _replace_closed_streams() -> None:
    """Put the null device in place of standard streams that are closed: no other file then gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the process


def _run(words: list[str], invocation: Invocation) -> int:
    try:
        return int(lab.main(words, prog_name="lab", standalone_mode=False, obj=invocation) or 0)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FAILURES as error:
        click.echo(f"{invocation.command}: {error}", err=True)
        return 1
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"{invocation.command}: interrupted", err=True)
        return signals.EXIT


if __name__ == "__main__":
    sys.exit(main())
