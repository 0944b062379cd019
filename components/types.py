"""What a rule does besides routing: copies of requests, changed headers, users that stay on one side."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from ._internal import objects

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # Source: RFC 9110, 5.6.2: names of headers and cookies
_CHANGES = ("set", "add", "remove")


class Mirror(TypedDict):
    """A Service that gets copies of requests; what it answers is thrown away."""

    name: str
    """Name of the Service, in the rule's namespace."""
    percent: NotRequired[float]
    """Share of requests that are copied, 0 to 100; all unless given."""
    port: NotRequired[int]
    """Its port; the rule's own unless given."""


class HeaderChanges(TypedDict):
    """Changes of headers, of requests or of answers."""

    set: NotRequired[dict[str, str]]
    """Headers that get this value, whatever they had."""
    add: NotRequired[dict[str, str]]
    """Headers that get this value besides what they had."""
    remove: NotRequired[list[str]]
    """Headers that are taken away."""


class Sticky(TypedDict):
    """Keeps a user, told by a cookie, on one backend for the length of a rollout.

    Whoever the weights send there gets the cookie with the answer, and comes back there as long as it lasts and the
    backend has a weight. All others are sent by the weights each time, so that a growing weight reaches them.
    """

    backend: str
    """The backend to stay on: the canary."""
    cookie: NotRequired[str]
    """Name of the cookie; `waypoint-lab-side` unless given."""
    seconds: NotRequired[int]
    """How long the cookie lasts, 1 to 31536000; 86400 unless given."""


def mirrors(component: str, given: Sequence[Mirror], domain: str, port: int) -> dict[str, Any]:
    """The field `mirrors` of a rule; empty where none is given. Raises RunError."""
    found = []
    for mirror in given:
        name = objects.text(component, "name of a mirror", mirror["name"])
        percent = objects.number(component, f"percent of mirror {name}", mirror.get("percent", 100), 0, 100)
        to = objects.whole(component, f"port of mirror {name}", mirror.get("port", port), 1, 65535)
        place = {"host": f"{name}.{domain}", "port": {"number": to}}
        found.append({"destination": place, "percentage": {"value": percent}})
    return {"mirrors": found} if found else {}


def headers(component: str, request: HeaderChanges | None, response: HeaderChanges | None) -> dict[str, Any]:
    """The field `headers` of a rule; empty where nothing changes. Raises RunError."""
    found = {
        side: _changes(component, side, changes)
        for side, changes in (("request", request), ("response", response))
        if changes
    }
    return {"headers": found} if found else {}


def _changes(component: str, side: str, given: HeaderChanges) -> dict[str, Any]:
    changes: dict[str, Any] = {**given}
    for kind, values in changes.items():
        if kind not in _CHANGES:
            raise objects.refuse(component, f"a change of {side} headers", kind, " or ".join(_CHANGES))
        for name in values:
            if not _TOKEN.fullmatch(name):
                raise objects.refuse(component, f"a header of {side}", name, "a header's name")
        for value in values.values() if isinstance(values, Mapping) else ():
            if not isinstance(value, str) or not value.isprintable():
                raise objects.refuse(component, f"a header's value of {side}", value, "printable text")
    return changes


def sticky(
    component: str, given: Sticky | None, route: list[dict[str, Any]], domain: str
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Match and route of those that stay, and the weighted route with the cookie that makes them; empty where none do.

    Raises RunError where the backend is none of the rule's.
    """
    if not given:
        return {}, [], route
    backend = objects.text(component, "backend of sticky", given["backend"])
    cookie = given.get("cookie", "waypoint-lab-side")
    if not isinstance(cookie, str) or not _TOKEN.fullmatch(cookie):
        raise objects.refuse(component, "cookie of sticky", cookie, "a cookie's name")
    seconds = objects.whole(component, "seconds of sticky", given.get("seconds", 86400), 1, 31_536_000)
    host = f"{backend}.{domain}"
    stays = [entry for entry in route if entry["destination"]["host"] == host]
    if not stays:
        return {}, [], route  # without a weight nobody stays: a rollback takes everybody back
    text = f"{cookie}={backend}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax"
    marked = {"headers": {"response": {"add": {"set-cookie": text}}}}
    weighted = [{**entry, **marked} if entry in stays else entry for entry in route]
    pattern = rf"(.*;\s*)?{re.escape(cookie)}={re.escape(backend)}(;.*)?"
    alone = [{"destination": stays[0]["destination"]}]
    return {"headers": {"cookie": {"regex": pattern}}}, alone, weighted
