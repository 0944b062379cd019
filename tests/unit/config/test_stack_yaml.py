"""Values of a stack's file, as `pulumi config --json` of Pulumi 3 prints them."""

import pytest

from waypoint_lab.config import stack_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, text) for text in ("12:30", "1:2:3.5", "on", "Off", "yes", "y", "2024-13-45", "0o8", "0b12", "1.2.3")),
        *((text, text) for text in ("._", "-._", "0x_", "0b_")),
        *((text, True) for text in ("true", "True", "TRUE")),
        *((text, None) for text in ("~", "null", "Null", "")),
        *((text, 8) for text in ("8", "010", "0o10", "08", "0x8", "0b1000", "+8", "8.0", "0.8e1")),
        *((text, 1000) for text in ("1000", "1_000", "1e3")),
        *((text, -16) for text in ("-16", "-0x10", "-020")),
        *((text, 0.5) for text in ("0.5", "0.50", ".5", "5e-1")),
    ],
)
def test_load_reads_a_value_as_pulumi_does(text: str, value: object) -> None:
    found = stack_yaml.load(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_load_merges_maps_and_keeps_quoted_text() -> None:
    assert stack_yaml.load("{<<: {a: 1, on: 2}, b: '12', c: \"true\"}") == {"a": 1, "on": 2, "b": "12", "c": "true"}
