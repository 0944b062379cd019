"""Values of a stack's file, as `pulumi config --json` of Pulumi 3 prints them."""

import pytest
import yaml

from waypoint_lab.config import stack_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, text) for text in ("12:30", "1:2:3.5", "on", "Off", "yes", "y", "2024-13-45", "0o8", "0b12", "1.2.3")),
        *((text, text) for text in ("._", "-._", "0x_", "0b_", "12e45678", "-1e400")),
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


@pytest.mark.parametrize("text", ["a: 1\na: 1\n", "b: [{a: 1, a: 2}]", "{a: {b: {}, 'b': {}}}"])
def test_load_of_a_key_that_is_there_twice_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match=r"^key [ab] is there twice in the map of line 1\n"):
        stack_yaml.load(text)


def test_load_of_a_map_that_is_merged_twice_is_read() -> None:
    text = "{x: {base: &base {a: 1, b: 1}, own: &own {<<: *base, b: 2}}, y: {<<: *own, b: 3}}"
    assert stack_yaml.load(text)["y"] == {"a": 1, "b": 3}
