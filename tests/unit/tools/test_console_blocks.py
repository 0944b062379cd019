"""Commands in documents, and the comparison of their output."""

from pathlib import Path

import pytest

from tools.console_blocks import commands, difference

DOCUMENT = """# Title

```
$ not run
```

```console
$ pulumi up --yes \\
>   --skip-preview
…
Resources:
    + … created
$ lab verify    # measure
passed
```
"""


def test_commands_have_place_text_and_output(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(DOCUMENT)
    found = [(one.line, one.text, one.output) for one in commands(file)]
    assert found == [
        (8, "pulumi up --yes    --skip-preview", ("…", "Resources:", "    + … created")),
        (13, "lab verify", ("passed",)),
    ]


def test_commands_output_before_a_command_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("```console\npassed\n```\n")
    with pytest.raises(ValueError, match=r"page\.md:2: a console block begins with a command"):
        list(commands(file))


@pytest.mark.parametrize(
    ("expected", "output", "agrees"),
    [
        ((), "", True),
        ((), "more\n", False),
        (("a  b",), "a b\n", True),
        (("a",), "a\nb\n", False),
        (("a", "b"), "a\n", False),
        (("…",), "a\nb\n", True),
        (("…",), "", True),
        (("…", "b"), "a\nb\n", True),
        (("…", "b"), "a\nc\n", False),
        (("…", "b"), "b\nc\n", False),
        (("a", "…", "d"), "a\nb\nc\nd\n", True),
        (("share …% of 3000",), "share 19.9% of 3000", True),
        (("share …% of 3000",), "share 19.9% of 300", False),
        (("a.c",), "abc", False),
        (("bold",), "\x1b[1mbold\x1b[0m\n", True),
    ],
)
def test_difference_of_expected_and_real_output(expected: tuple[str, ...], output: str, agrees: bool) -> None:
    assert (difference(expected, output) == "") is agrees
