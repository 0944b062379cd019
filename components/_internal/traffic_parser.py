"""Parser and validation of a Service's traffic, from the arguments of a component."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pulumi

from ..types import Backend, Cohort, HeaderChanges, Mirror
from . import arguments, fault_parser, http_text, objects
from . import cohorts as cohort_rules
from .traffic import AffinityCookie, Traffic

_MAX_WEIGHT = 1_000_000  # Source: Gateway API, BackendRef.weight
_WEIGHT_DECIMALS = 4


def parse(component: str, name: str, args: Any, shape: Any) -> Traffic:
    """Return the traffic that the arguments of a component declare.

    Args:
        component: Name for error messages.
        name: Name of the component, which its route gets in the cluster.
        args: Arguments as given.
        shape: TypedDict of the arguments.

    Raises:
        pulumi.RunError: An argument has a wrong type, is out of range, or does not fit another one.
    """
    parser = _Parser(component, http_text.domain(component, "name", name), arguments.read(component, args, shape))
    # Where there are faults, the Service itself may be the only backend, and `baseline` be the one that fails.
    return parser.traffic(split_only="fault_at" not in shape.__annotations__)


class _Parser:
    def __init__(self, component: str, name: str, given: dict[str, Any]) -> None:
        self._component = component
        self._name = name
        self._given = given
        self._port = self._whole("port", given["port"], 1, 65535)

    def traffic(self, split_only: bool) -> Traffic:
        given = self._given
        timeout, retries = self._milliseconds("timeout", given), fault_parser.retries(self._component, given)
        try_timeout = self._milliseconds("try_timeout", given)
        if timeout and try_timeout:
            # Source: istiod, convertHTTPRoute: without a retry, backendRequest takes the place of request.
            want = "left out beside timeout: istiod would limit the whole request by it, and timeout have no effect"
            raise self._refuse("try_timeout", http_text.duration(try_timeout), want)
        per_try = self._milliseconds("per_try_timeout", retries or {}, "retries.")
        if timeout and per_try > timeout:
            want = f"at most timeout, {http_text.duration(timeout)}"
            raise self._refuse("retries.per_try_timeout", http_text.duration(per_try), want)
        declared, backends = self._split(split_only)
        cohorts = [self._cohort(f"cohorts[{i}]", cohort) for i, cohort in enumerate(given.get("cohorts", []))]
        groups = [json.dumps(cohort_rules.http_route(cohort), sort_keys=True) for cohort in cohorts]
        for i, group in enumerate(groups):
            if group in groups[:i]:
                same = f"as cohorts[{groups.index(group)}]"  # the text of a group may be a secret
                raise self._refuse(f"cohorts[{i}]", same, "other requests: the second one gets none")
        return Traffic(
            component=self._component,
            namespace=self._label("namespace", given["namespace"]),
            service=self._label("service", given["service"]),
            port=self._port,
            domain=http_text.domain(self._component, "cluster_domain", given.get("cluster_domain", "cluster.local")),
            split=bool(declared),
            backends=backends,
            cohorts=cohorts,
            headers=http_text.exact_headers(self._component, "headers", given.get("headers", {})),
            mirrors=[self._mirror(f"mirrors[{i}]", mirror) for i, mirror in enumerate(given.get("mirrors", []))],
            changes={
                side: self._changes(f"{side}_headers", given[f"{side}_headers"])
                for side in ("request", "response")
                if given.get(f"{side}_headers")
            },
            affinity=self._affinity(declared, backends),
            fault=fault_parser.fault(self._component, self._name, given, backends if declared else None),
            retries=retries,
            timeout=timeout,
            try_timeout=try_timeout,
        )

    def _refuse(self, where: str, value: object, want: str) -> pulumi.RunError:
        return objects.refuse(self._component, where, value, want)

    def _whole(self, where: str, value: Any, low: int, high: int) -> int:
        return objects.whole(self._component, where, value, low, high)

    def _percent(self, where: str, given: Mapping[str, Any]) -> float:
        return objects.number(self._component, f"{where}.percent", given.get("percent", 100), 0, 100)

    def _label(self, where: str, value: Any) -> Any:
        return http_text.label(self._component, where, value)

    def _milliseconds(self, where: str, given: Mapping[str, Any], path: str = "") -> int:
        return http_text.milliseconds(self._component, path + where, given[where]) if given.get(where) else 0

    def _split(self, split_only: bool) -> tuple[list[Backend], list[Backend]]:
        """Return the declared backends with unchecked weights, and those that get traffic."""
        given = self._given
        short = [
            name for name in ("baseline", "canary", "weight") if name in given and (split_only or name != "baseline")
        ]
        if "backends" in given and short:
            raise self._refuse("backends", "given", f"left out where {short[0]} is given")
        if "backends" in given:
            declared: list[Backend] = given["backends"]
            return declared, self._backends("backends", declared)
        if not short and not split_only:
            return [], [{"name": given["service"], "weight": 1, "port": self._port}]
        if not {"baseline", "canary", "weight"} <= given.keys():
            raise self._refuse("backends", None, "given, or else baseline, canary and weight all three")
        weight = objects.number(self._component, "weight", given["weight"], 0, 100)
        self._scaled("weight", [weight])
        rest = float(100 - Decimal(str(weight)))
        declared = [{"name": given["baseline"], "weight": rest}, {"name": given["canary"], "weight": weight}]
        return declared, self._backends("backends", declared)

    def _scaled(self, where: str, weights: list[float]) -> list[int]:
        """Return whole weights with the proportions of `weights`: 99.9 and 0.1 are 999 and 1."""
        exact = [Decimal(str(weight)) for weight in weights]
        for power in range(_WEIGHT_DECIMALS + 1):
            scaled = [weight * 10**power for weight in exact]
            if all(weight == int(weight) for weight in scaled) and max(scaled, default=0) <= _MAX_WEIGHT:
                return [int(weight) for weight in scaled]
        want = f"a number with at most {_WEIGHT_DECIMALS} decimals, and at most {_MAX_WEIGHT} without the point"
        raise self._refuse(where, max(weights, key=lambda weight: len(str(weight))), want)

    def _backends(self, where: str, given: Sequence[Backend]) -> list[Backend]:
        """Return the backends that get traffic: one of weight 0 must still resolve, and would delay the route."""
        weights = [
            objects.number(self._component, f"{where}[{i}].weight", backend.get("weight", 1), 0, _MAX_WEIGHT)
            for i, backend in enumerate(given)
        ]
        found: list[Backend] = []
        for i, (backend, weight) in enumerate(zip(given, self._scaled(f"{where}: weight", weights), strict=True)):
            name = self._label(f"{where}[{i}].name", backend["name"])
            port = self._whole(f"{where}[{i}].port", backend.get("port", self._port), 1, 65535)
            found.append({"name": name, "weight": weight, "port": port})
        objects.distinct(self._component, where, [each["name"] for each in found])
        if not (left := [each for each in found if each["weight"]]):
            raise self._refuse(f"sum of the weights of {where}", 0, "above 0: a backend must respond")
        return left

    def _cohort(self, where: str, cohort: Cohort) -> cohort_rules.CohortRule:
        requests = cohort_rules.parse(self._component, where, cohort)
        return replace(requests, backends=self._backends(f"{where}.backends", cohort["backends"]))

    def _mirror(self, where: str, mirror: Mirror) -> Mirror:
        return {
            "name": self._label(f"{where}.name", mirror["name"]),
            "percent": self._percent(where, mirror),
            "port": self._whole(f"{where}.port", mirror.get("port", self._port), 1, 65535),
        }

    def _changes(self, where: str, given: HeaderChanges) -> HeaderChanges:
        """Return the changes with lower-case names, and values as Envoy takes them."""
        names = [*given.get("set", {}), *given.get("add", {}), *given.get("remove", [])]
        lower = [http_text.token(self._component, f"a name in {where}", name).lower() for name in names]
        objects.distinct(self._component, f"names of {where}", lower)
        if "host" in lower:
            raise self._refuse(f"a name in {where}", "host", "another header: Envoy changes host by its own rules")

        def values(kind: str, found: Mapping[str, pulumi.Input[str]]) -> dict[str, pulumi.Input[str]]:
            def checked(name: str) -> Any:
                path = f"{where}.{kind}.{name}"
                return lambda value: http_text.literal(http_text.header_value(self._component, path, value))

            return {name.lower(): objects.applied(value, checked(name)) for name, value in found.items()}

        return {
            "set": values("set", given.get("set", {})),
            "add": values("add", given.get("add", {})),
            "remove": [name.lower() for name in given.get("remove", [])],
        }

    def _affinity(self, declared: list[Backend], backends: Sequence[Backend]) -> AffinityCookie | None:
        given = self._given.get("session_affinity")
        if not given:
            return None
        name, where = given["backend"], "session_affinity"
        if name not in [backend["name"] for backend in declared if isinstance(backend["name"], str)]:
            raise self._refuse(f"{where}.backend", name, "the name of a backend, given as plain text")
        cookie = given.get("cookie", "waypoint-lab-backend")
        http_text.token(self._component, f"{where}.cookie", cookie, "name of a cookie")
        age = self._whole(f"{where}.max_age_seconds", given.get("max_age_seconds", 86400), 1, 31_536_000)
        # Without a weight there is no affinity: a rollback takes all users back.
        chosen = [backend for backend in backends if backend["name"] == name]
        if not chosen:
            return None
        found = AffinityCookie(chosen[0], cookie, age)
        limit = self._given.get("fault_headers", {})
        if any(key.lower() == "cookie" and found.prefix in value for key, value in limit.items()):
            want = "without the cookie of session_affinity, which is another one in each rollout"
            raise self._refuse("fault_headers.cookie", f"{found.prefix}...", want)
        return found
