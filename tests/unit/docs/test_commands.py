"""README and docs: commands, settings, links and files exist, and lines are short."""

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tools import config_reference
from waypoint_lab.cli.main import lab

ROOT = Path(__file__).parents[3]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "examples" / "greeter" / "README.md",
    ROOT / "examples" / "shop" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
WIDTH = 120
_CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")
_LAB = re.compile(r'^(?:eval "\$\()?(?:\.venv/bin/)?lab (?P<words>[^)]*)')
_SET = re.compile(r"pulumi config (?:set|rm) (?P<option>--path )?(?P<path>[\w.-]+)")
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
_SETTING = re.compile(r"^\| `([\w.]+)` \|", re.MULTILINE)
_KEY = re.compile(r"waypoint-lab:(?!index:)([a-z][A-Za-z]*(?:\.[A-Za-z]+)*)|`([A-Za-z]+(?:\.[A-Za-z]+)+)`")
_FILE = re.compile(r"`((?:\w+/)+\w+\.py)`")
EXAMPLE_SETTINGS = {"canaryWeight"}  # of examples/greeter


@functools.cache
def settings() -> frozenset[str]:
    """Return the names of all settings."""
    return frozenset(_SETTING.findall(config_reference.document()))


def code_lines(text: str) -> list[str]:
    """Return the lines of the blocks of code."""
    return [line.strip().removeprefix("$ ") for block in _CODE.findall(text) for line in block.splitlines()[1:-1]]


def lab_commands(text: str) -> Iterator[list[str]]:
    """Yield the words after `lab` of each command, in blocks and in backticks."""
    prose = re.sub(r"\s*\n\s*", " ", _CODE.sub("", text))
    for line in [*code_lines(text), *_INLINE.findall(prose)]:
        found = _LAB.match(line.split("  #")[0])
        if found and not line.startswith("lab env: "):
            yield shlex.split(found["words"])


def problem(words: list[str]) -> str:
    """Return the first word that is no command and no option; empty if all are known."""
    command: click.Command = lab
    context = click.Context(lab, info_name="lab")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if words[0].isupper() or words[0] == "…":
            return ""
        found = [command.get_command(context, name) for name in alternatives(words)]
        if None in found:
            return words[0]
        words = words[1:] if len(found) == 1 else []
        command = found[0] or command
    words = words[: words.index("--")] if "--" in words else words  # what follows is another program's
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("--") and word.split("=")[0] not in known | {"--help"}:
            return word
    return ""


def alternatives(words: list[str]) -> list[str]:
    """Return the commands of `up | down | status`, or else the first word alone."""
    return [word for word in words if word != "|"] if words[1:2] == ["|"] else words[:1]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_command_in_document_exists_with_its_options(document: Path) -> None:
    assert [(words, why) for words in lab_commands(document.read_text()) if (why := problem([*words]))] == []


@pytest.mark.parametrize("words", [["promote"], ["verify", "--fast"], ["canary", "demote"], ["up", "|", "halt"]])
def test_unknown_command_or_option_is_found(words: list[str]) -> None:
    assert problem(words) in words


def test_commands_of_readme_are_found() -> None:
    found = list(lab_commands((ROOT / "README.md").read_text()))
    assert ["verify"] in found
    assert ["canary", "promote", "--steps", "1,5,20,50,100"] in found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_setting_in_document_exists(document: Path) -> None:
    known = settings()
    maps = ("canary.requestHeaders.", "canary.responseHeaders.")
    for found in _SET.finditer("\n".join(code_lines(document.read_text()))):
        path = found["path"]
        if found["option"]:
            assert path == "target.kind" or path in known or path.startswith(maps)
        else:
            assert path in known | EXAMPLE_SETTINGS


def unknown_settings(text: str) -> list[str]:
    """Return the names that look like settings, and are neither a setting nor a group of settings."""
    known = {*settings(), "target.kind"}
    groups = {name.rsplit(".", count)[0] for name in known for count in range(name.count(".") + 1)}
    objects = {name.split(".")[0] for name in known}
    names = [(key or quoted, bool(key)) for key, quoted in _KEY.findall(text)]
    wanted = [name for name, is_key in names if is_key or (name.split(".")[0] in objects and not name.endswith(".py"))]
    return [name for name in wanted if name not in groups]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_setting_in_prose_exists(document: Path) -> None:
    assert unknown_settings(document.read_text()) == []


@pytest.mark.parametrize("text", ["waypoint-lab:canaryWeight", "`canary.wait`", "waypoint-lab:canary.gate.rate"])
def test_unknown_setting_in_prose_is_found(text: str) -> None:
    assert len(unknown_settings(text)) == 1


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_link_and_file_in_document_exist(document: Path) -> None:
    text = _CODE.sub("", document.read_text())
    links = [link for link in _LINK.findall(text) if not link.startswith(("http:", "https:"))]
    assert [link for link in links if not (document.parent / link).exists()] == []
    shortened = ("kubernetes_provider/", "stages/")  # of embedded/toolchain, and of waypoint_lab
    files = [name for name in _FILE.findall(text) if not name.startswith(shortened)]
    assert [name for name in files if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_line_of_prose_fits_the_width(document: Path) -> None:
    lines = _CODE.sub("", document.read_text()).splitlines()
    assert [line for line in lines if len(line) > WIDTH and not line.startswith(("|", "<!--"))] == []


def test_function_of_each_hop_in_architecture_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    hops = re.findall(r"^\| (\d+) \| `([^`]+)` \| ([^|]*) \|", text, re.MULTILINE)
    assert 0 < len(hops) <= 12
    for _, file, functions in hops:
        source = (ROOT / file).read_text()
        for name in _INLINE.findall(functions):
            assert re.search(rf"(?:def|class) {name.split('.')[-1]}\b", source), f"{file}: {name}"
