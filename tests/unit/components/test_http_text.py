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
        ("ja(?i:N)e", "jane"),
        ("(?U)j.*e", "jane"),
        ("(?<first>j)ane", "jane"),
        (r"\p{Greek}+\z", "αβγ"),
        ("(a{10}){2}", "a" * 20),
        ("(" * 200 + "a" + ")" * 200, "a"),
    ],
)
def test_regex_of_re2_matches_whole_values(pattern: str, value: str) -> None:
    compiled = http_text.regex("C", "value", pattern)
    assert compiled.fullmatch(value)
    assert not compiled.fullmatch(f"{value}!")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("*", "no argument for repetition operator: *"),
        ("(a)\\1", r"invalid escape sequence: \\1"),
        ("(?=a)", r"invalid perl operator: \(\?="),
        ("a*+", r"bad repetition operator: \*\+"),
        ("(a{999}){2}", r"invalid repetition size: \{999\}|\{2\}"),
        (r"\p{Alpha}+", "invalid character class range"),
        (r"\pL{1000}", "too large"),
        ("a\n", ""),
    ],
)
def test_regex_that_re2_rejects_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(pulumi.RunError, match=f"^C: value .*{why}"):
        http_text.regex("C", "value", pattern)


def test_literal_text_has_no_command_of_envoy() -> None:
    assert http_text.literal("50% of %REQ(authorization)%") == "50%% of %%REQ(authorization)%%"


@pytest.mark.parametrize("value", ["", " a", "a ", "a\nb", "a\x00", "x" * 4097])
def test_header_value_that_no_request_has_is_refused(value: str) -> None:
    with pytest.raises(pulumi.RunError, match="printable characters"):
        http_text.header_value("C", "value", value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("hunter2\n", "has a space or a line break at an end"),
        ("hunter2\x00x", "has a control character at position 8"),
        ("hunter2" * 1000, "has 7000 characters"),
    ],
)
def test_header_value_that_is_refused_is_not_shown(value: str, reason: str) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        http_text.header_value("C", "request_headers.set.x-key", value)
    assert str(caught.value).startswith(f"C: request_headers.set.x-key {reason}: it must be 1 to 4096 printable")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["a" * 64, "A", "-a", "a.b", "a_b", ""])
def test_label_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(pulumi.RunError, match="a DNS label: at most 63 of"):
        http_text.label("C", "service", name)
