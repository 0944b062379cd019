"""Runs of the command `lab` as resources, whose output is kept in the stack's state."""

import hashlib
import os
import shlex
from collections.abc import Sequence

import pulumi

from . import kubeconfig, objects
from .waits import Access

_VERSION = "1.2.1"  # of the plugin `command`
# A variable holds the message, because the engine shows the command of each failure, whatever its reason is.
_GUARD = 'command -v lab >/dev/null || { echo "$WAYPOINT_LAB_MISSING" >&2; exit 1; }'
_MISSING = 'lab is not on PATH; install Waypoint Lab, or in its clone: eval "$(.venv/bin/lab env)"'


class LabCommand(pulumi.CustomResource):
    """A `local.Command` of pulumi-command, whose Python package is not needed for it.

    Source: https://www.pulumi.com/registry/packages/command/api-docs/local/command/
    """

    stdout: pulumi.Output[str]
    """Standard output of the last run."""

    def __init__(
        self,
        name: str,
        component: str,
        create: pulumi.Input[str],
        triggers: Sequence[pulumi.Input[str]],
        opts: pulumi.ResourceOptions,
        stdin: pulumi.Input[str] = "",
    ) -> None:
        """Register a command that runs when it is new, and when a trigger changes.

        Its text alone, such as another path of the kubeconfig, runs it with the next triggers only: an observation
        after the change would compare the change with itself.

        Args:
            name: Pulumi name.
            component: Name for the error message where there is no `lab`.
            create: Text for the shell.
            triggers: Values whose change replaces the resource.
            opts: Options of the resource.
            stdin: Standard input; empty means none.
        """
        properties = {
            "stdout": None,
            "create": create,
            "triggers": [*triggers],
            "environment": {"WAYPOINT_LAB_MISSING": f"{component}: {_MISSING}"},
            "logging": "stderr",
            "addPreviousOutputInEnv": False,  # a variable holds 128 KiB at most
            **({"stdin": stdin} if stdin != "" else {}),
        }
        # Not protected with the component: each new trigger replaces it.
        own = pulumi.ResourceOptions(version=_VERSION, ignore_changes=["create", "environment"], protect=False)
        options = pulumi.ResourceOptions.merge(opts, own)
        super().__init__("command:local:Command", name, properties, options)


_PATH = "the path of the file; set it where kubernetes:kubeconfig of the stack's config has contents"


def text(component: str, words: Sequence[pulumi.Input[str]], cluster: Access) -> pulumi.Output[str]:
    """Return the text of a `lab` command for the shell; without `lab` on PATH it fails in one line.

    Args:
        component: Name for the error message.
        words: Arguments of `lab`.
        cluster: The cluster to watch, whose kubeconfig is a path: the text would show contents.
    """

    def path(given: str) -> str:
        if kubeconfig.is_contents(given):
            raise objects.refuse(component, "kubeconfig", "the contents of a file", _PATH)
        return given

    options = {"--kubeconfig": objects.applied(cluster.kubeconfig, path), "--context": cluster.context}
    given = [word for name, value in options.items() if value != "" for word in (name, value)]
    return pulumi.Output.all(*words, *given).apply(
        lambda known: f"{_GUARD}; exec lab {shlex.join(map(os.path.expanduser, known))}"
    )


def digest(value: pulumi.Input[str]) -> pulumi.Output[str]:
    """Return a short text that differs where `value` does."""
    return pulumi.Output.from_input(value).apply(lambda known: hashlib.sha256(known.encode()).hexdigest()[:16])
