"""Every command of the documents is run by a test, or it is listed here with the reason.

Covered are the commands of all fenced blocks, and those of the tables of docs/troubleshooting.md. Of commands in other
tables and in sentences `test_commands.py` checks only that they exist with their options.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.documented import ROOT, TROUBLESHOOTING, documented, page_commands
from tests.unit.docs.test_commands import DOCUMENTS
from tools.console_blocks import commands
from tools.walk import GUIDES, PAGES, README

TESTS = ROOT / "tests"
CODE_LANGUAGES = {"text", "python", "yaml", "json"}
COMMAND_LANGUAGES = {"sh", "console"}
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_PROGRAM = re.compile(r"^(?:make|lab|\.venv/bin/\S+|eval|pulumi|kubectl|istioctl) \S", re.MULTILINE)

# Commands that set up what the tests run on.
SETUP = {
    "make lab",  # `make test` builds the same; `lab up` is in tests/conftest.py, and `lab run` in test_lab.py
    "make test",  # runs these tests
    "make test-all",  # runs these tests
    "make .venv/.installed",  # a part of `make test`
    ".venv/bin/lab up",  # tests/conftest.py, with a state folder of the tests' own
    "lab down",  # tests/conftest.py
    'eval "$(.venv/bin/lab env)"',  # the tests have the same environment by a function: tests/conftest.py
    "cd examples/shop",  # the folder in which test_shop.py runs the commands after it
}
# Commands in the tables of docs/troubleshooting.md that change this machine, or whose output depends on it alone.
MACHINE = {
    "sysctl kernel.unprivileged_userns_clone kernel.apparmor_restrict_unprivileged_userns",  # not in every kernel
    "apt-get install util-linux iproute2",
    "apt-get install chromium",  # `make test` runs it
    "lab up",  # tests/conftest.py
    "lab up --api-port 7443 --http-port 7080",  # tests/conftest.py, with other ports
    "go env GOPROXY",  # Go may come from a wheel
    'eval "$(lab env)"',  # as above
    "ps PID",
    "ls -ld DIR",
    "git diff Pulumi.dev.yaml",
}


def names(document: Path) -> str:
    """Return the path of a document in the repository."""
    return str(document.relative_to(ROOT))


def is_test_or_fixture(function: ast.FunctionDef, file: Path) -> bool:
    """Return True for a function that pytest runs."""
    if file.name.startswith("test_") and function.name.startswith("test_"):
        return True
    return any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list)


def calls(tree: ast.AST) -> list[ast.Call]:
    """Return the calls of `documented`."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in found if isinstance(node.func, ast.Name) and node.func.id == "documented"]


def claims(file: Path) -> tuple[set[tuple[str, str]], int]:
    """Return the pages and commands that a file's tests and fixtures take, and the number of other calls."""
    tree = ast.parse(file.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    counted = {id(call): call for one in functions if is_test_or_fixture(one, file) for call in calls(one)}
    found = set()
    for call in counted.values():
        page, command = (ast.literal_eval(argument) for argument in call.args[:2])
        found.add((page, command))
    return found, len(calls(tree)) - len(counted)


CLAIMS = {
    file: claims(file)
    for file in sorted(TESTS.rglob("*.py"))
    if "documented(" in file.read_text() and file.name not in ("documented.py", "test_documented.py")
}
# The same command on another page counts: its page decides what it is run on.
CLAIMED = {command for found, _ in CLAIMS.values() for _, command in found}
CONSOLE = {command.text for page in (README, *PAGES, *GUIDES) for command in commands(page)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_command_in_document_is_run_by_a_test(document: Path) -> None:
    page = names(document)
    known = CLAIMED | CONSOLE | SETUP | (MACHINE if page == TROUBLESHOOTING else set())
    assert [command for command in page_commands(page) if command not in known] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_console_block_is_on_a_page_that_a_test_runs(document: Path) -> None:
    assert document in (README, *PAGES, *GUIDES) or list(commands(document)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_block_in_document_says_whether_it_has_commands(document: Path) -> None:
    blocks = _FENCE.findall(document.read_text())
    assert [text for language, text in blocks if language not in CODE_LANGUAGES | COMMAND_LANGUAGES] == []
    assert [text for language, text in blocks if language in CODE_LANGUAGES and _PROGRAM.search(text)] == []


@pytest.mark.parametrize("file", CLAIMS, ids=lambda file: file.name)
def test_claimed_command_is_in_the_document_and_taken_by_a_test(file: Path) -> None:
    found, others = CLAIMS[file]
    assert others == 0, "a call of `documented` outside of a test and a fixture"
    assert [(page, command) for page, command in sorted(found) if command not in page_commands(page)] == []


def test_exception_is_a_command_of_a_document() -> None:
    written = {command for document in DOCUMENTS for command in page_commands(names(document))}
    assert sorted((SETUP | MACHINE) - written) == []
    assert sorted((SETUP | MACHINE) & CLAIMED) == []


def test_documented_with_an_unknown_command_or_word_fails() -> None:
    with pytest.raises(AssertionError, match="has no command"):
        documented("docs/guard.md", "lab guard -- nothing")
    with pytest.raises(AssertionError, match="has no 'prod'"):
        documented("docs/guard.md", "lab guard -- pulumi up --yes", {"prod": "dev"})
    replaced = documented("docs/guard.md", "lab guard -- pulumi up --yes", {"lab guard": "lab guard --json"}, "--diff")
    assert replaced == "lab guard --json -- pulumi up --yes --diff"
