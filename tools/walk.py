"""The pages whose commands a test runs, in their order."""

from pathlib import Path

from tools.data_paths import PATHS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FOLDER = ROOT / "docs" / "lab"
# The pages of the stages follow the table of stages; each continues with the stack of the page before.
PAGES = [FOLDER / "start.md", *(FOLDER / f"{stage}.md" for stage in PATHS)]
# Each begins with a stack without settings, but `watch` with the stack of the page before.
GUIDES = [ROOT / "docs" / f"{name}.md" for name in ("getting-started", "configuration", "chaos", "watch")]


def recorded(page: Path) -> Path:
    """Return the file that keeps the commands of a page and their output, as the last test of the documents saw it."""
    return ROOT / "build" / "walk" / f"{page.stem}.txt"
