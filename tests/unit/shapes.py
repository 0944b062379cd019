"""Values for property tests, from a seed: of a declared type, or of any shape.

The environment variable WAYPOINT_LAB_SOAK_CASES sets the number of cases of each property.
"""

import os
import typing
from collections.abc import Callable
from enum import StrEnum
from random import Random
from types import UnionType
from typing import Any

import msgspec

from waypoint_lab.config.app_models import BackendSettings
from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.config.decode import fields

CASES = int(os.environ.get("WAYPOINT_LAB_SOAK_CASES", "100"))
SEED = 1
HOSTILE = (
    *("", " ", "%", "%REQ(authorization)%", "a\r\nb", "ü" * 300, "²", "1e999", "(?=a)", "(" * 200, "a{1001}", "\ud800"),
    *("0.1", "NaN", "-0", "true", "null", "{", "/", "\x00", "a b", "[", "*a*", "a" * 64, "a" * 5000, "9" * 400),
)
ODD = (None, True, False, 0, 1, -1, 50, 0.1, 10**400, float("inf"), float("nan"), *HOSTILE)
NAMES = ("old", "new", "cart", "v1")
DURATIONS = ("1s", "500ms", "1.5s", "25ms", "1h30m", "10s")
TOKENS = ("x-team", "End-User", "x-a")
# Valid values of a component's fields by name.
USUAL: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("name", "service", "services", "baseline", "canary", "backend", "namespace", "namespaces"), NAMES),
    **dict.fromkeys(("timeout", "try_timeout", "per_try_timeout", "backoff"), DURATIONS),
    **dict.fromkeys(("percent", "budget_percent"), (0, 0.5, 12.5, 50, 100)),
    **dict.fromkeys(("limit_seconds", "max_age_seconds"), (1, 60, 3600)),
    **dict.fromkeys(("header", "remove", "headers", "fault_headers", "set", "add", "query", "cookies"), TOKENS),
    "port": (80, 80.0, 8080, 65535),
    "weight": (0, 0.0, 1, 20, 50, 100),
    "seconds": (1, 2.5, 30, 3600),
    "status": (200, 418, 503, 599),
    "attempts": (0, 1, 3, 100),
    "budget_minimum": (0, 3, 1000),
    "retry_on": ("5xx", "reset,connect-failure", "503"),
    "value": ("jane", "50%", "premium user", "a|b", "[a-c]+"),
    "cookie": ("backend", "b"),
    "id": ("abc",),
    "expired": ("abc", "def"),
    "image": ("docker.io/library/python:3.13.7-alpine3.22",),
    **dict.fromkeys(("methods", "method"), ("GET", "POST")),
    **dict.fromkeys(("path", "path_prefix"), ("/", "/cart", "/cart/1/")),
    "paths": ("/a", "/a/*", "*", "/{*}/b"),
    "hosts": ("shop.example", "*.example.com", "cart:80"),
    "principals": ("cluster.local/ns/shop/sa/a", "*"),
    "gateway": ("waypoint", "next"),
    "waypoint": ("waypoint", "next"),
    "waypoint_namespace": NAMES,
    "trust_domain": ("cluster.local",),
    "revision": ("1-31-0",),
    "labels": ("app", "version"),
    "cluster_domain": ("cluster.local", "k8s.example"),
    "resolver": ("", "10.244.0.3"),
    **dict.fromkeys(("replicas", "min", "min_available", "max_unavailable"), (1, 2)),
    "max": (2, 5),
    "cpu_percent": (80,),
    "cpu": ("100m", "1", "0.5"),
    "memory": ("128Mi", "1Gi"),
    **dict.fromkeys(("pod_labels", "pod_annotations"), ("team", "example.org/team")),
    **dict.fromkeys(("triggers", "allow_silent", "expect"), NAMES),
    "observation": ("{}",),
    **dict.fromkeys(("share_points", "failure_points", "p99_factor", "error_rate"), (1, 2.5)),
    "kubeconfig": ("~/.kube/config",),
    "context": ("dev",),
}


def anything(random: Random, depth: int = 2) -> Any:
    """Return a value of any shape."""
    shape = random.randrange(4) if depth else 0
    if shape < 2:
        return random.choice((*ODD, *NAMES, "GET", "5xx"))
    inner = [anything(random, depth - 1) for _ in range(random.randrange(3))]
    return inner if shape == 2 else {random.choice((*HOSTILE, "name", "kind", 1, None)): item for item in inner}


def arguments(random: Random, shape: Any, wrong: float) -> dict[str, Any]:
    """Return an object with the required and some optional fields of a TypedDict.

    Args:
        random: Source of the choices.
        shape: The TypedDict.
        wrong: Probability, for each value, of one of any shape, or of none.
    """
    found = {}
    for name, kind in shape.__annotations__.items():
        if random.random() < (1 - wrong / 4 if name in shape.__required_keys__ else 0.3):
            found[name] = _argument(random, kind, name, wrong)
    if random.random() < wrong / 4:
        found[random.choice(HOSTILE)] = anything(random)
    return found


def _argument(random: Random, kind: Any, name: str, wrong: float) -> Any:
    if random.random() < wrong:
        return anything(random)
    inner = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.NotRequired, typing.Union, UnionType):
        return _argument(random, inner[0], name, wrong)
    if typing.get_origin(kind) is list:
        found = [_argument(random, inner[0], name, wrong) for _ in range(random.choice((1, 1, 1, 2, 2, 2, 3, 17)))]
        for number, item in enumerate(found):  # names are different, but for one that is wrong
            if isinstance(item, dict) and item.get("name") in NAMES and random.random() >= wrong:
                item["name"] = f"{NAMES[number % len(NAMES)]}{number // len(NAMES) or ''}"
        plain = all(isinstance(item, str) for item in found)
        return list(dict.fromkeys(found)) if plain and random.random() >= wrong else found
    if typing.get_origin(kind) is dict:
        names = [random.choice(HOSTILE) if random.random() < wrong else item for item in USUAL[name]]
        return {
            item: _argument(random, inner[1], "name" if "labels" in name else "value", wrong)
            for item in random.sample(names, 2)
        }
    if typing.is_typeddict(kind):
        return arguments(random, kind, wrong)
    if issubclass(kind, StrEnum):
        return str(random.choice(list(kind)))
    return random.random() < 0.5 if kind is bool else random.choice(USUAL[name])


def cases(check: Callable[[Random], None], number: int = CASES) -> None:
    """Call `check` with a source of choices for each case. An error names its case."""
    for case in range(number):
        try:
            check(Random(f"{SEED}/{case}"))
        except BaseException as error:
            error.add_note(f"case {case}, seed {SEED}")
            raise
    print(f"{number} cases, seed {SEED}")


def mutated(random: Random, value: Any, chance: float, other: Callable[[Random], Any]) -> Any:
    """Return JSON with some of its parts replaced by `other(random)`, left out or repeated."""
    if random.random() < chance:
        return other(random)
    if isinstance(value, dict):
        kept = {name: item for name, item in value.items() if random.random() > chance / 2}
        return {name: mutated(random, item, chance, other) for name, item in kept.items()}
    if isinstance(value, list):
        repeats = random.choice((1, 1, 2))
        return [mutated(random, item, chance, other) for item in value for _ in range(repeats)]
    return value


# Valid values of a setting by the text of its type.
SETTINGS: dict[str, tuple[Any, ...]] = {
    "name": ("cart", "shop-1", "waypoint", "a" * 63),
    "text": ("jane", "50%", "a=b", "/reviews/0", "reviews.0.rating.color", "deploy/productpage-v1"),
    "header": TOKENS,
    "duration": DURATIONS,
    "address": ("http://prometheus:9090", "https://user:word@prometheus.example/api"),
    "steps": ([0.1, 1, 5, 20, 50, 100], [100], ["1", "50"]),
    "weight": (0, 0.1, 20, "20", 50.0, 100),
}
_WORDS = {
    "a Kubernetes name": "name",
    "printable text": "text",
    "the name of an HTTP header": "header",
    "a duration": "duration",
    "an http or https address": "address",
    "a list of rising": "steps",
}


def config(random: Random, model: type[msgspec.Struct], wrong: float, chance: float = 0.5) -> dict[str, Any]:
    """Return a map with some settings of a model; all that are required.

    Args:
        random: Source of the choices.
        model: The model.
        wrong: Probability, for each setting, of a value of any shape.
        chance: Probability of each setting that is not required.
    """
    required = {field.name for field in msgspec.structs.fields(model) if field.required}
    found = {
        name: _setting(random, kind, wrong, chance)
        for name, (field, kind) in fields(model).items()
        if random.random() < (1 - wrong / 4 if field in required else chance)
    }
    if random.random() < wrong / 4:
        found[random.choice(HOSTILE)] = anything(random)
    return found


def _setting(random: Random, kind: Any, wrong: float, chance: float) -> Any:
    if random.random() < wrong:
        return anything(random)
    inner = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, UnionType):
        models = [one for one in inner if one is not type(None)]
        model = random.choice(models)
        found = _setting(random, model, wrong, chance)
        return {**found, "kind": model.__struct_config__.tag} if len(models) > 1 and isinstance(found, dict) else found
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return config(random, kind, wrong, chance)
    if typing.get_origin(kind) is dict and inner[1] in (BackendSettings, CohortSettings):
        named = ("baseline", "canary", "gold") if inner[1] is BackendSettings else ("gold", "premium")
        return {name: _setting(random, inner[1], wrong, chance) for name in named if random.random() > wrong}
    if typing.get_origin(kind) is dict:
        return {random.choice(TOKENS): _setting(random, inner[1], wrong, chance)}
    if typing.get_origin(kind) is typing.Literal:
        return random.choice(inner)
    if kind is bool:
        return random.choice((True, False, "true", "false"))
    meta = inner[1]
    if meta.ge is not None or meta.gt is not None:
        low = meta.ge if meta.ge is not None else meta.gt + 1
        return random.choice((low, meta.le, str(low), low if inner[0] is int else (low + meta.le) / 2))
    words = meta.description.removeprefix("empty, or ")
    return random.choice(SETTINGS[next((key for text, key in _WORDS.items() if words.startswith(text)), "weight")])
