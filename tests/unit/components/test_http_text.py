"""Text that reaches Envoy."""

import re

import pulumi
import pytest

from components._internal import http_text


@pytest.mark.parametrize(
    ("text", "milliseconds", "written"),
    [
        ("1.5s", 1500, "1s500ms"),
        ("100000ms", 100_000, "1m40s"),
        ("3s", 3000, "3s"),
        ("500ms", 500, "500ms"),
        ("1h0.5m", 3_630_000, "1h30s"),
        ("1ms", 1, "1ms"),
    ],
)
def test_duration_has_the_format_of_the_gateway_api(text: str, milliseconds: int, written: str) -> None:
    assert http_text.milliseconds("C", "timeout", text) == milliseconds
    assert http_text.duration(milliseconds) == written
    # Source: GEP-2257
    assert re.fullmatch(r"([0-9]{1,5}(h|m|s|ms)){1,4}", written)


@pytest.mark.parametrize("text", ["", "3", "0s", "1.0005s", "-1s", "1s ", "10000h", "1d", "1s2"])
def test_milliseconds_of_another_text_is_refused(text: str) -> None:
    with pytest.raises(pulumi.RunError, match=r"^C: timeout is .*: it must be a duration such as 500ms or 1\.5s"):
        http_text.milliseconds("C", "timeout", text)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("ja.*", "jane"),
        (r"(?i)jane", "JANE"),
        (r"ja(?i:N)e", "jane"),
        (r"(?U)j.*e", "jane"),
        (r"(?P<first>j)ane", "jane"),
        (r"(?<first>j)ane", "jane"),
        (r"\pL+", "jane"),
        (r"\p{Greek}+\z", "jane"),
        (r"[[:alpha:]\d]{1,1000}", "jane1"),
        (r"\x{6a}ane", "jane"),
        (r"[\]^]+", "]^"),
        (r"\Aja\b.*|jane", "jane"),
    ],
)
def test_regex_of_re2_matches_in_python_as_well(pattern: str, value: str) -> None:
    assert http_text.regex("C", "value", pattern).fullmatch(value)


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "(",
        "[a",
        "a**",
        r"(a)\1",
        "(?=a)",
        "(?!a)",
        "(?<=a)b",
        "(?>a)",
        "a*+",
        r"a\Z",
        "a{1,2}+",
        "a{1001}",
        "(?P=x)",
        "a\n",
    ],
)
def test_regex_that_re2_does_not_know_is_refused(pattern: str) -> None:
    with pytest.raises(pulumi.RunError, match=r"^C: value is"):
        http_text.regex("C", "value", pattern)


def test_literal_text_has_no_command_of_envoy() -> None:
    assert http_text.literal("50% of %REQ(authorization)%") == "50%% of %%REQ(authorization)%%"


@pytest.mark.parametrize("value", ["", " a", "a ", "a\nb", "a\x00", "x" * 4097])
def test_header_value_that_no_request_has_is_refused(value: str) -> None:
    with pytest.raises(pulumi.RunError, match="printable characters"):
        http_text.header_value("C", "value", value)


@pytest.mark.parametrize("name", ["a" * 64, "A", "-a", "a.b", "a_b", ""])
def test_label_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(pulumi.RunError, match="a DNS label: at most 63 of"):
        http_text.label("C", "service", name)
