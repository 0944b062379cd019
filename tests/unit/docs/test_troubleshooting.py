"""The lines of docs/troubleshooting.md are lines of this project."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "troubleshooting.md").read_text()
FOLDERS = ("waypoint_lab", "embedded", "components", "policies")
LEAST_LENGTH = 6  # of a part that is looked for
_FIELD = re.compile(r"\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
_JOINT = re.compile(r"\"\s*\n\s*f?\"|\"\s*\n\s*f?'|'\s*\n\s*f?\"")


def lines() -> list[str]:
    """Return the lines of errors in the first column, without the marks of code."""
    rows = [row.split(" | ")[0] for row in TEXT.splitlines() if row.startswith("| `")]
    return [row.removeprefix("| `").removesuffix("`").replace("` … `", "…") for row in rows]


def test_every_line_of_troubleshooting_is_a_line_of_the_source() -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    source = _FIELD.sub("…", "\n".join(_JOINT.sub("", file.read_text()) for file in files)).replace('\\"', '"')
    assert len(lines()) > 25
    parts = {part.strip() for line in lines() for part in line.split("…")}
    missing = [part for part in parts if len(part) >= LEAST_LENGTH and part not in source and part != "Pulumi."]
    assert missing == []
