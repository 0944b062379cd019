"""Table of docs/policies.md, generated from the table of policies.

`python -m tools.policy_table` writes it into the document, between its markers.
"""

import json
import re
from pathlib import Path

from policies.pack.policy import Policy
from policies.pack.table import TABLE

DOCUMENT = Path(__file__).parents[1] / "docs" / "policies.md"
_MARKED = re.compile(r"(<!-- table: policies -->\n).*?(<!-- end -->)", re.DOTALL)


def _row(row: Policy) -> str:
    checked = "each " + ", ".join(row.kinds) if row.kinds else "stack"
    parameters = "; ".join(
        f"`{name}`: {schema['description']} (`{json.dumps(schema['default'])}`)"
        for name, schema in row.parameters.items()
    )
    cells = (f"`{row.name}`", row.level, checked, f"{row.description}. {row.reason}", parameters)
    return "| " + " | ".join(cells) + " |\n"


def render(document: str) -> str:
    """Return `document` with a new table."""
    head = "| policy | level | checks | what must hold, and why | parameters (default) |\n|---|---|---|---|---|\n"
    table = head + "".join(map(_row, TABLE))
    return _MARKED.sub(lambda found: f"{found[1]}{table}{found[2]}", document)


if __name__ == "__main__":
    DOCUMENT.write_text(render(DOCUMENT.read_text()))
