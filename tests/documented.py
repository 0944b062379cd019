"""Commands of the documents, for the tests that run them.

Blocks that are fenced as `sh` have commands that no test runs as they stand: they take long, or name what only a
reader has. A test takes such a command from the page by `documented`, and runs it. Blocks that are fenced as `console`
are run by `test_docs.py`.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The commands in backticks in the tables of this page count as well.
TROUBLESHOOTING = "docs/troubleshooting.md"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"\s{2,}#.*")
_COMMAND_COLUMN = re.compile(r"^\| .* \| ([^|]*) \|$", re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")


def _whole(command: str) -> bool:
    """Return True if no quote is open."""
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True


def block_commands(text: str) -> list[str]:
    """Return the commands of the blocks that are fenced as `sh`, without comments; one may have several lines."""
    found: list[str] = []
    for block in _BLOCK.findall(text):
        lines = [_COMMENT.sub("", line) for line in block.splitlines()]
        while lines:
            command = lines.pop(0)
            while lines and not _whole(command):
                command = f"{command}\n{lines.pop(0)}"
            found.append(command.strip())
    return [command for command in found if command]


def table_commands(text: str) -> list[str]:
    """Return the commands in the last column of the tables."""
    return [
        command for column in _COMMAND_COLUMN.findall(text) for command in _INLINE.findall(column) if " " in command
    ]


def page_commands(page: str) -> list[str]:
    """Return the commands that a page has outside of its `console` blocks.

    Args:
        page: Its path in the repository.
    """
    text = (ROOT / page).read_text()
    return block_commands(text) + (table_commands(text) if page == TROUBLESHOOTING else [])


def documented(page: str, command: str, replaced: Mapping[str, str] | None = None, more: str = "") -> str:
    """Return a command of a page, as a shell takes it, for a test that runs it.

    Args:
        page: Path of the page in the repository.
        command: The command as the page has it, without its comment.
        replaced: What the test puts in the place of names that only a reader has.
        more: Options that the test appends.
    """
    assert command in page_commands(page), f"{page} has no command {command!r}"
    for old, new in (replaced or {}).items():
        assert old in command, f"{command!r} has no {old!r}"
        command = command.replace(old, new)
    return f"{command} {more}".strip()
