"""Readers of the objects of the API server: declared weights, faults, policies, and changes in one line."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from waypoint_lab.config.weights import shown
from waypoint_lab.kubectl import Object
from waypoint_lab.live.model import Fault, PolicySummary
from waypoint_lab.masking import hidden
from waypoint_lab.stages.fault_expiry import UNTIL

MANAGER = "pulumi"
# Matches of all requests.
ALL: Sequence[Object] = ({}, {"path": {"type": "PathPrefix", "value": "/"}}, {"uri": {"prefix": "/"}})
OTHER = "other conditions"
WAYPOINT_KINDS = ("Gateway", "GatewayClass")


class RouteTarget(NamedTuple):
    """A port of a Service, or a subset of its Pods."""

    name: str
    namespace: str
    port: int
    subset: str = ""

    @property
    def title(self) -> str:
        """The Service, with the subset after a slash where there is one."""
        return f"{self.name}/{self.subset}" if self.subset else self.name


Weights = Mapping[RouteTarget, float]


def split(host: str, namespace: str) -> tuple[str, str]:
    """Return the name and the namespace of a host, which may be a short name."""
    name, _, rest = host.partition(".")
    return name, rest.partition(".")[0] or namespace


def percents(weights: Mapping[RouteTarget, float]) -> dict[RouteTarget, float]:
    """Return weights in percent of their sum; none where all are zero."""
    total = sum(weights.values())
    return {place: 100 * weight / total for place, weight in weights.items()} if total else {}


def described(weights: Weights) -> str:
    """Return weights in one line."""
    return ", ".join(f"{shown(round(weight, 2))} % {place.title}" for place, weight in weights.items())


def _rule_for_all(rules: Sequence[Object], key: str) -> Object:
    """Return the first rule that matches all requests, which none after it gets; empty without one.

    Source: istio, pilot/pkg/config/kube/gateway, sortHTTPRoutes: the order of an HTTPRoute's other rules is another.
    """
    return next((rule for rule in rules if any(map(_is_all, rule.get(key) or [{}]))), {})


def _is_all(match: Object) -> bool:
    """Return True for a match of all requests to its port."""
    return {key: value for key, value in match.items() if key not in ("port", "name")} in ALL


def http_route(item: Object) -> Iterator[tuple[RouteTarget, Weights]]:
    """Yield the ports of Services that an HTTPRoute is for, with the weights of its rule for all; port 0 means any."""
    namespace, spec = item["metadata"]["namespace"], item["spec"]
    found: dict[RouteTarget, float] = {}
    for ref in _rule_for_all(spec.get("rules") or [], "matches").get("backendRefs") or []:
        place = RouteTarget(ref["name"], ref.get("namespace", namespace), ref.get("port", 0))
        found[place] = found.get(place, 0) + ref.get("weight", 1)
    for parent in spec.get("parentRefs") or []:
        if parent.get("kind") == "Service":
            where = RouteTarget(parent["name"], parent.get("namespace", namespace), parent.get("port", 0))
            yield where, percents(found)


def virtual_service(item: Object) -> Iterator[tuple[RouteTarget, Weights]]:
    """Yield the Services that a VirtualService is for, with the weights of its rule for all."""
    namespace, spec = item["metadata"]["namespace"], item["spec"]
    routes = _rule_for_all(spec.get("http") or [], "match").get("route") or []
    found: dict[RouteTarget, float] = {}
    for route in routes:
        to = route["destination"]
        port = (to.get("port") or {}).get("number", 0)
        place = RouteTarget(*split(to["host"], namespace), port, to.get("subset", ""))
        found[place] = found.get(place, 0) + route.get("weight", 100 if len(routes) == 1 else 0)
    for host in spec.get("hosts") or []:
        yield RouteTarget(*split(host, namespace), 0), percents(found)


def faults(item: Object) -> Iterator[Fault]:
    """Yield the faults of a VirtualService, each once for each of its hosts."""
    namespace, spec = item["metadata"]["namespace"], item["spec"]
    services = dict.fromkeys(split(host, namespace)[0] for host in spec.get("hosts") or [""])
    found: dict[tuple[str, str], list[list[str]]] = {}  # the matches of each fault
    for rule in spec.get("http") or []:
        for kind, given in (rule.get("fault") or {}).items():
            percent = _percent(kind, given)
            status = given.get("httpStatus") or given.get("grpcStatus")
            what = f"delay {given.get('fixedDelay')}" if kind == "delay" else f"abort with {status}"
            matches = [[*_conditions(match)] for match in rule.get("match") or [{}]]
            found.setdefault((str(kind), f"{what} for {shown(percent)} % of requests"), []).extend(matches)
    name = f"VirtualService {item['metadata']['name']}"
    for (kind, what), matches in found.items():
        for service in services:
            text = f"{what}{_matched(matches)}"
            yield Fault(service=service, at="waypoint", kind=kind, text=text, object=name, until=until(item))


def _percent(kind: str, given: Object) -> float:
    """Return the percent of the requests that a fault hits.

    Source: istio, pilot/pkg/networking/core/route, TranslateFault: without `percentage` none, or a delay's `percent`.
    """
    if (percentage := given.get("percentage")) is not None:
        return float(percentage.get("value", 0))
    return float(given.get("percent", 0)) if kind == "delay" else 0.0


def until(item: Object) -> float | None:
    """Return the expiry of the fault that an object declares; None without one."""
    _, _, moment = ((item["metadata"].get("annotations") or {}).get(UNTIL) or "").partition(" ")
    try:
        return datetime.fromisoformat(moment).timestamp() if moment else None
    except ValueError:
        return None


def _matched(matches: Sequence[Sequence[str]]) -> str:
    """Return the requests that a fault hits; empty where it hits all. A match within another one is left out."""
    wider = [set(match) for match in matches if OTHER not in match]
    least = [" and ".join(match) for match in matches if not any(other < set(match) for other in wider)]
    return f" with {' or '.join(dict.fromkeys(least))}" if all(least) else ""


def _conditions(match: Object) -> Iterator[str]:
    """Yield the conditions that a match joins; those of other kinds are not named."""
    for key, prefix in (("headers", ""), ("queryParams", "query ")):
        for name, value in (match.get(key) or {}).items():
            yield f"{prefix}{name}={_value(value)}" if value else f"{prefix}{name}"
    for key in ("uri", "method"):
        if value := match.get(key):
            yield f"{key} {'prefix ' if 'prefix' in value else ''}{_value(value)}"
    if port := match.get("port"):
        yield f"port {port}"
    if match.keys() - {"headers", "queryParams", "uri", "method", "port", "name", "ignoreUriCase"}:
        yield OTHER


def _value(match: Object) -> str:
    """Return the text of an exact match, a prefix or a regular expression."""
    return hidden(str(next(iter(match.values()))))


def policy(item: Object) -> PolicySummary:
    """Return an AuthorizationPolicy in one line."""
    meta, spec = item["metadata"], item.get("spec") or {}
    refs = [*(spec.get("targetRefs") or []), *([spec["targetRef"]] if spec.get("targetRef") else [])]
    target = ", ".join(ref["name"] for ref in refs)
    service = "" if any(ref.get("kind") in WAYPOINT_KINDS for ref in refs) else target
    action = spec.get("action", "ALLOW")
    rules = spec.get("rules") or []
    operations = [one.get("operation") or {} for rule in rules for one in rule.get("to") or []]
    asked = [value for one in operations for key in ("methods", "paths") for value in one.get(key) or []]
    everything = any(
        not rule.get("when") and not all(one.get("operation") for one in rule.get("to") or [{}]) for rule in rules
    )
    sources = sum(bool(rule.get("from")) for rule in rules)
    what = " ".join(dict.fromkeys(asked)) or ("some requests" if rules else "nothing" if action == "ALLOW" else "")
    what = "all requests" if everything else what
    where = target or ("Pods by label" if spec.get("selector") else "the namespace")
    text = f"{action} {what} to {where}".replace("  ", " ") + (" from named callers" if sources else "")
    return PolicySummary(name=meta["name"], namespace=meta["namespace"], service=service, action=action, text=text)


def changed(kind: str, item: Object, event: str) -> str:
    """Return the change of an object in one line: its weights where it has some."""
    name = f"{kind} {item['metadata']['name']}"
    if event == "DELETED":
        return f"{name}: deleted"
    reader = {"HTTPRoute": http_route, "VirtualService": virtual_service}.get(kind)
    weights = next(iter(reader(item)), (None, {}))[1] if reader else {}
    parts = [described(weights)] if weights else []
    parts += dict.fromkeys(fault.text for fault in faults(item)) if kind == "VirtualService" else []
    parts += [policy(item).text] if kind == "AuthorizationPolicy" else []
    by = " (by Pulumi)" if writer(item)[0].startswith(MANAGER) else ""
    return f"{name}: {'; '.join(parts) or 'changed'}{by}"


def writer(item: Object) -> tuple[str, float]:
    """Return the field manager that last wrote an object's spec, and when; empty and 0 where that is not known."""
    found = ("", 0.0)
    for entry in item["metadata"].get("managedFields") or []:
        if entry.get("subresource") or not entry.get("time"):
            continue
        moment = datetime.fromisoformat(entry["time"]).timestamp()
        if moment >= found[1]:
            found = (str(entry.get("manager", "")), moment)
    return found
