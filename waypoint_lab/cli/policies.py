"""`lab policies`: the policies of the pack. Reads their table, without Pulumi."""

import json
from typing import Any

import click

from policies.pack.table import TABLE
from waypoint_lab.cli import output


def document() -> list[dict[str, Any]]:
    """Return a row for each policy; `kinds` names the kinds that are checked one by one."""
    return [
        {
            "name": row.name,
            "level": str(row.level),
            "description": row.description,
            "fix": row.fix,
            "kinds": list(row.kinds) or "stack",
            "requires": sorted(row.requires),
            "parameters": row.parameters,
        }
        for row in TABLE
    ]


@click.command("policies")
@output.json_option
def list_policies(as_json: bool) -> None:
    """List the policies of the pack, their levels and parameters.

    Change levels and parameters by `pulumi up --policy-pack policies --policy-pack-config FILE`.
    """
    if as_json:
        output.print_json(document())
        return
    rows: list[tuple[str, str, str]] = []
    for row in TABLE:
        rows.append((row.name, str(row.level), row.description))
        for name, schema in row.parameters.items():
            rows.append(("", "", f"{name}: {schema['description']}; default {json.dumps(schema['default'])}"))
    output.print_table(("policy", "level", "requirement and parameters"), rows)
