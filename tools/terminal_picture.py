"""Make the SVG picture of the live view for README and docs, from a recorded snapshot.

Record one with `lab watch --json --seconds 5 | tail -n 1 > snapshot.json`, then run
`.venv/bin/python -m tools.terminal_picture snapshot.json docs/pictures/watch.svg`.
"""

import io
import json
import sys
from pathlib import Path

from rich.console import Console

from waypoint_lab.cli.live_view import HEIGHT, WIDTH, view
from waypoint_lab.live.model import from_json

TITLE = "lab watch"


def picture(document: object) -> str:
    """Return the view of a snapshot as SVG, without an address that a browser would ask for fonts."""
    console = Console(width=WIDTH, height=HEIGHT, file=io.StringIO(), record=True, force_terminal=True)
    console.print(view(from_json(document)))
    text = console.export_svg(title=TITLE, unique_id="watch")
    return "\n".join(line for line in _without_fonts(text).splitlines() if line.strip()) + "\n"


def _without_fonts(text: str) -> str:
    while "@font-face" in text:
        begin = text.index("@font-face")
        text = text[:begin] + text[text.index("}", begin) + 1 :]
    return text.replace("Fira Code, monospace", "monospace")


def main(arguments: list[str]) -> int:
    """Write the picture of a snapshot; both files are arguments."""
    if len(arguments) != 2:
        print("terminal_picture: give a snapshot as JSON and the SVG to write", file=sys.stderr)
        return 2
    source, target = map(Path, arguments)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(picture(json.loads(source.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
