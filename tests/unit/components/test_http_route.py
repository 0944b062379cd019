from typing import Any

import pulumi
import pytest

from components import CanaryRoute
from tests.unit.components.recording import run

WEIGHTS = {"baseline": "old", "canary": "new", "weight": 20}


def rules(**args: Any) -> list[dict[str, Any]]:
    given = {"namespace": "shop", "service": "cart", "port": 80, **WEIGHTS, **args}
    record = run(lambda: CanaryRoute("r", given))  # type: ignore[arg-type]
    return list(record.inputs("r-route")["spec"]["rules"])


def test_a_route_without_extras_has_none() -> None:
    (rule,) = rules()
    assert list(rule) == ["backendRefs"]


def test_timeouts_of_a_request_and_of_each_backend_are_on_every_rule() -> None:
    cohorts = [{"header": "end-user", "value": "jane", "backends": [{"name": "x"}]}]
    for rule in rules(cohorts=cohorts, timeout="3s", try_timeout="500ms"):
        assert rule["timeouts"] == {"request": "3s", "backendRequest": "500ms"}


def test_copies_keep_decimals_and_headers_are_lists() -> None:
    changes = {"set": {"x-lab": "yes"}, "remove": ["x-old"]}
    (rule,) = rules(mirrors=[{"name": "new", "percent": 0.5}], request_headers=changes)
    headers, mirror = rule["filters"]
    assert headers == {
        "type": "RequestHeaderModifier",
        "requestHeaderModifier": {"set": [{"name": "x-lab", "value": "yes"}], "remove": ["x-old"]},
    }
    assert mirror["requestMirror"] == {
        "backendRef": {"group": "", "kind": "Service", "name": "new", "port": 80},
        "fraction": {"numerator": 5000, "denominator": 1_000_000},
    }


def test_users_with_the_cookie_stay_and_only_the_canary_gives_it() -> None:
    first, last = rules(session_affinity={"backend": "new", "cookie": "backend", "max_age_seconds": 60})
    (match,) = first["matches"][0]["headers"]
    assert (match["name"], match["value"]) == ("cookie", r"(.*;\s*)?backend=new(;.*)?")
    assert [ref["name"] for ref in first["backendRefs"]] == ["new"]
    old, new = last["backendRefs"]
    assert "filters" not in old
    (added,) = new["filters"][0]["responseHeaderModifier"]["add"]
    assert added == {"name": "set-cookie", "value": "backend=new; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"}


def test_nobody_stays_on_a_canary_of_zero() -> None:
    (rule,) = rules(weight=0, session_affinity={"backend": "new"})
    assert [ref["name"] for ref in rule["backendRefs"]] == ["old"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"timeout": "3"}, 'timeout is "3": it must be a duration'),
        ({"mirrors": [{"name": "new", "percent": -1}]}, "mirrors.0..percent is -1"),
        ({"response_headers": {"put": {}}}, "put is unknown: it must be"),
    ],
)
def test_bad_extras_are_refused(args: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=said):
        rules(**args)
