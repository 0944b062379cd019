"""Read YAML as Pulumi does: it has fewer booleans than YAML 1.1, other numbers, and no base 60."""

import math
import re
from contextlib import suppress
from functools import partial
from typing import Any

import yaml

from waypoint_lab.config.decode import PROJECT

# Source: gopkg.in/yaml.v3, resolve.go
_NUMBER = r"""[-+]?(?: 0[xX][0-9a-fA-F_]+ | 0[bB][01_]+ | 0[oO][0-7_]+
    | (?: [0-9][0-9_]* (?:\.[0-9_]*)? | \.[0-9_]+ ) (?:[eE][-+]?[0-9]+)? )"""
_OCTAL = re.compile(r"[-+]?0[0-7]+")
_KEPT = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


class _Loader(yaml.SafeLoader):
    """A loader whose dates are no text, so that no setting takes one: Pulumi makes another text of it."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [(tag, pattern) for tag, pattern in known if tag in _KEPT]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read a map; a key that is there twice is refused, as Pulumi does."""
        node = super().compose_mapping_node(anchor)
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := {name for name in names if names.count(name) > 1}:
            why = f"key {min(twice)} is there twice in the map of line {node.start_mark.line + 1}"
            raise yaml.composer.ComposerError(None, None, why, node.start_mark)
        return node


def _number(_loader: _Loader, node: yaml.ScalarNode) -> int | float | str:
    text = node.value.replace("_", "")
    for read in (partial(int, base=8 if _OCTAL.fullmatch(text) else 0), int, float):
        with suppress(ValueError):
            found: int | float = read(text)
            if found in (math.inf, -math.inf):  # such as 12e45678, which is text
                continue
            return int(found) if isinstance(found, float) and found.is_integer() else found
    return str(node.value)  # such as ._ and 0x_, which are text


def _date(loader: _Loader, node: yaml.ScalarNode) -> object:
    try:
        return loader.construct_yaml_timestamp(node)
    except ValueError:  # month 13, which is text
        return node.value


for _tag, _pattern, _read in (
    ("!date", _Loader.timestamp_regexp.pattern, _date),
    ("!number", _NUMBER, _number),
    ("tag:yaml.org,2002:bool", "true|True|TRUE|false|False|FALSE", _Loader.construct_yaml_bool),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z", re.VERBOSE), [*"-+.0123456789tTfF"])
    _Loader.add_constructor(_tag, _read)


def named(key: object) -> str:
    """Return a key of a config with its project, which it may leave out.

    Source: Pulumi, sdk/go/common/resource/config, ParseKey, and sdk/go/common/workspace, loaders.go.
    """
    project, _, name = str(key).rpartition(":")
    return f"{project.removesuffix(':config') or PROJECT}:{name}"


def load(text: str) -> Any:
    """Return the values in a stack's file, in Pulumi.yaml or in a schedule. Raises yaml.YAMLError."""
    return yaml.load(text, _Loader)  # noqa: S506 - a safe loader
