"""`lab policies`: the policies of the pack, with their levels and parameters. Reads their table, without Pulumi."""

import argparse
import json
from typing import Any

from policies.pack.policy import Policy
from policies.pack.table import TABLE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lab policies`."""
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def document() -> list[dict[str, Any]]:
    """For `--json`: a row for each policy; `kinds` names the kinds that are checked one by one."""
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


def _lines(row: Policy) -> list[str]:
    lines = [f"{row.name:<27}{row.level:<11}{row.description}"]
    for name, schema in row.parameters.items():
        default = json.dumps(schema["default"])
        lines.append(f"{'':<38}{name}: {schema['description']}; default {default}")
    return lines


def main(given: argparse.Namespace) -> int:
    """Prints the table; always 0."""
    if given.json:
        print(json.dumps(document(), indent=1))
        return 0
    print(f"{'policy':<27}{'level':<11}what must hold, and its parameters")
    for row in TABLE:
        print("\n".join(_lines(row)))
    return 0
