"""Pictures of the terminal for docs/lab, made from the outputs that `tests/e2e/test_docs.py` has recorded.

`python -m tools.console_pictures` writes them.
"""

from html import escape
from pathlib import Path

from tools.data_paths import FOLDER, PATHS
from tools.walk import FOLDER as PAGES
from tools.walk import recorded

SHOWN = {"access-log": "kubectl logs"}  # command of the picture, by page
DEFAULT = "lab verify"
COLUMNS = 108
CHARACTER, LINE, MARGIN = 7.8, 18, 14  # pixels
COLOURS = {"passed": "#3fb950", "failed": "#f85149", "FAILED": "#f85149", "inconclusive": "#d29922"}
STYLE = 'text { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; fill: #e6edf3; white-space: pre; }'


def output(text: str, command: str) -> list[str]:
    """Return the last run of a command in a recorded text: its line, and the lines of its output."""
    runs = ("\n" + text).split("\n$ ")
    found = next(run for run in reversed(runs) if run.startswith(command))
    first, *lines = found.rstrip("\n").split("\n")
    return [f"$ {first}", *(part for line in lines for part in _folded(line.rstrip()))]


def _folded(line: str) -> list[str]:
    return [line[at : at + COLUMNS] for at in range(0, len(line), COLUMNS)] or [""]


def picture(lines: list[str]) -> str:
    """Return lines of a terminal as SVG."""
    width = MARGIN * 2 + CHARACTER * max(60, *(len(line) for line in lines))
    height = MARGIN * 2 + LINE * len(lines) + 6
    parts = []
    for number, line in enumerate(lines):
        y = MARGIN + LINE * (number + 1) - 4
        last = line.rsplit(" ", 1)[-1]
        colour = f' style="fill: {COLOURS[last]}"' if last in COLOURS else ""
        body = escape(line[: len(line) - len(last)]) if colour else escape(line)
        end = f"<tspan{colour}>{escape(last)}</tspan>" if colour else ""
        parts.append(f'<text x="{MARGIN}" y="{y}" xml:space="preserve">{body}{end}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" role="img"><title>{escape(lines[0])}</title><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/>{"".join(parts)}</svg>\n'
    )


def file(page: str) -> Path:
    """Return the file of the picture of a page."""
    return FOLDER / f"lab-{page}.svg"


def main() -> None:
    """Write the picture of each page that shows one."""
    for page in PATHS:
        if file(page).name in (PAGES / f"{page}.md").read_text():
            text = recorded(PAGES / f"{page}.md").read_text()
            file(page).write_text(picture(output(text, SHOWN.get(page, DEFAULT))))


if __name__ == "__main__":
    main()
