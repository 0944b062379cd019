"""Tables of docs/components.md, generated from the package's schema.

`python -m tools.component_tables` writes them into the document, between its markers.
"""

import json
import re
from pathlib import Path
from typing import Any

from components import package

DOCUMENT = Path(__file__).parents[1] / "docs" / "components.md"
_MARKED = re.compile(r"(<!-- table: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _type(prop: dict[str, Any]) -> str:
    if "$ref" in prop:
        name = prop["$ref"].rsplit(":", 1)[1]
        return f"[{name}](#{name.lower()})"
    if prop["type"] == "array":
        return f"list of {_type(prop['items'])}"
    if prop["type"] == "object":
        return f"map of {_type(prop['additionalProperties'])}"
    return str(prop["type"])


def _table(head: str, rows: list[tuple[str, ...]]) -> list[str]:
    columns = head.split(", ")
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def _inputs(properties: dict[str, Any], required: list[str]) -> list[tuple[str, ...]]:
    return [
        (f"`{name}`" + (", required" if name in required else ""), _type(prop), prop["description"])
        for name, prop in properties.items()
    ]


def tables() -> dict[str, str]:
    """Return the tables of each component and of each type, by its name."""
    schema = json.loads(package.schema())
    made = {}
    for token, item in schema["resources"].items():
        outputs = [(f"`{name}`", _type(prop), prop["description"]) for name, prop in item["properties"].items()]
        lines = _table("input, type, meaning", _inputs(item["inputProperties"], item["requiredInputs"]))
        made[token] = [item["description"], "", *lines, "", *_table("output, type, meaning", outputs)]
    for token, item in schema["types"].items():
        if "enum" in item:
            words = [(f"`{word['value']}`", word["description"]) for word in item["enum"]]
            made[token] = [item["description"], "", *_table("word, meaning", words)]
        else:
            fields = _inputs(item["properties"], item.get("required", []))
            made[token] = [item["description"], "", *_table("field, type, meaning", fields)]
    return {token.rsplit(":", 1)[1]: "\n".join(["", *lines, "", ""]) for token, lines in made.items()}


def filled(document: str) -> str:
    """Return `document` with all tables as in the schema. Raise KeyError for a name that the schema does not have."""
    made = tables()
    return _MARKED.sub(lambda found: found[1] + made[found["name"]] + found[3], document)


def names(document: str) -> list[str]:
    """Return the components and types that `document` has tables of, in its order."""
    return [found["name"] for found in _MARKED.finditer(document)]


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text()))
