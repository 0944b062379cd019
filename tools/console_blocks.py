"""Commands and their output in the documents: blocks that are fenced as `console`, with `$` before each command.

In the expected output `…` stands for any text of a line, and a line that has nothing else stands for any lines. The
number of spaces does not count.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ANY = "…"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class ConsoleCommand:
    """A command of a document.

    Attributes:
        file: The document.
        line: Its line there.
        text: The command, as a shell takes it.
        output: The lines that the document shows.
    """

    file: Path
    line: int
    text: str
    output: tuple[str, ...]

    def __str__(self) -> str:
        """Return the place and the command."""
        return f"{self.file.name}:{self.line}: {self.text}"


def commands(file: Path) -> Iterator[ConsoleCommand]:
    """Yield the commands of a document, in their order."""
    document = file.read_text()
    for block in _BLOCK.finditer(document):
        first = document.count("\n", 0, block.start(1)) + 1
        found: list[tuple[int, list[str]]] = []
        for number, line in enumerate(block[1].splitlines(), first):
            if line.startswith("$ "):
                found.append((number, [line[2:]]))
            elif found:
                found[-1][1].append(line)
            else:
                raise ValueError(f"{file}:{number}: a console block begins with a command")
        for number, (text, *output) in found:
            while text.endswith("\\"):
                text = f"{text[:-1]}{output.pop(0).removeprefix('>')}"
            yield ConsoleCommand(file, number, text.split("    #")[0].rstrip(), tuple(output))


def _plain(text: str) -> list[str]:
    lines = [" ".join(line.split()) for line in _COLOUR.sub("", text).splitlines()]
    return [line for line in lines if line]


def _pattern(line: str) -> "re.Pattern[str]":
    return re.compile(".*?".join(re.escape(part) for part in line.split(ANY)))


def difference(expected: tuple[str, ...], output: str) -> str:
    """Return the first line of the expected output that the real one does not have; empty where they agree.

    Args:
        expected: The lines of the document.
        output: The real output.
    """
    wanted, real = _plain("\n".join(expected)), _plain(output)
    at, free = 0, False  # free: any lines may come before the next one
    for line in wanted:
        if line == ANY:
            free = True
            continue
        pattern = _pattern(line)
        places = range(at, len(real)) if free else range(at, min(at + 1, len(real)))
        found = next((place for place in places if pattern.fullmatch(real[place])), None)
        if found is None:
            return f"expected {line!r}, got {real[at] if at < len(real) else 'no more lines'!r}"
        at, free = found + 1, False
    return "" if free or at == len(real) else f"expected no more lines, got {real[at]!r}"
