"""Compare two observations: all differences, and the verdict on the change between them.

The error rate is that of the whole comparison. It is divided by the number of tests (Bonferroni), so that an outcome
that is as before fails with this probability at most, however many destinations there are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from waypoint_lab.guard import differences, rates, routes, significance, silence
from waypoint_lab.guard.differences import Difference, Hits, Kind, Tolerance
from waypoint_lab.guard.observation import Observation
from waypoint_lab.measure.endpoint_counters import Destination
from waypoint_lab.measure.verify import Verdict

Test = Callable[[Tolerance], Difference | None]


@dataclass(frozen=True)
class Expectation:
    """A declared share of a Service.

    Attributes:
        share: The share, 0 to 1.
        among: Names of the Services that share the requests; empty means those that the routes choose between.
    """

    share: float
    among: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rules:
    """Accepted changes.

    Attributes:
        error_rate: Probability of a false alarm of the whole comparison, 0 to 0.5.
        share: Change of an undeclared share, 0 to 1; also the distance from a declared one.
        failures: Rise of the share of failures, 0 to 1.
        p99_factor: Factor of the 99th percentile, at least 1.
        expected: Declared shares by name of the Service.
        may_be_silent: Names of Services that may lose all requests.
        may_move: Names of Services whose undeclared shares may change, with those of the same routes.
        may_fall: Names of Services of `may_move` that may lose all requests to the others.
        of_stack: Names of Services in a stack's config, which the waypoints need not know.
    """

    error_rate: float = 0.01
    share: float = 0.05
    failures: float = 0.01
    p99_factor: float = 1.5
    expected: Mapping[str, Expectation] = field(default_factory=dict)
    may_be_silent: frozenset[str] = frozenset()
    may_move: frozenset[str] = frozenset()
    may_fall: frozenset[str] = frozenset()
    of_stack: frozenset[str] = frozenset()


def compare(before: Observation, after: Observation, rules: Rules) -> list[Difference]:
    """Return all differences, failed ones first.

    Args:
        before: The traffic before the change.
        after: The traffic after it.
        rules: Accepted changes.
    """
    unknown = list(_unknown(before, after, rules))
    wrong = {item.where for item in unknown}
    rules = replace(rules, expected={name: item for name, item in rules.expected.items() if name not in wrong})
    tests = list(_tests(before, after, rules))
    tail = rules.error_rate / max(1, len(tests))
    tolerance = Tolerance(rules.share, rules.failures, rules.p99_factor, tail)
    found = [*unknown, *_configuration(before, after, rules.may_be_silent)]
    found += filter(None, (test(tolerance) for test in tests))
    if not any(sum(series.requests) for series in before.series.values()):
        needed = significance.fewer_needed(tail / 2, silence.HALF)
        text = "no destination had a request before the change"
        found.append(Difference("traffic", Kind.RATE, Verdict.INCONCLUSIVE, text, needed))
    note = _note(before, after)
    found = [
        replace(item, evidence=item.evidence + note)
        if item.kind is Kind.RATE and item.verdict is Verdict.FAILED
        else item
        for item in found
    ]
    verdicts, kinds = [Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED], [*Kind]
    return sorted(found, key=lambda item: (verdicts.index(item.verdict), not item.suspicious, kinds.index(item.kind)))


def verdict(found: Sequence[Difference]) -> Verdict:
    """Return the verdict on a change: inconclusive where something looks worse, or nothing could be judged."""
    if any(item.verdict is Verdict.FAILED for item in found):
        return Verdict.FAILED
    judged = any(item.verdict is Verdict.PASSED for item in found)
    return Verdict.PASSED if judged and not any(item.suspicious for item in found) else Verdict.INCONCLUSIVE


def _note(before: Observation, after: Observation) -> str:
    """Return what became of requests that reach no endpoint."""
    refused = after.state.refused - before.state.refused
    texts = [f"authorization policies refused {refused} requests"] if refused > 0 else []
    texts += [f"the waypoint answered {answer} to {count}" for answer, count in (after.answers or {}).items()]
    return "".join(f"; {text}" for text in texts)


def _unknown(before: Observation, after: Observation, rules: Rules) -> Iterator[Difference]:
    """Yield the names of the rules that are no Service of the waypoints, such as misspelt ones."""
    known: set[Destination] = set()
    for seen in (before, after):
        known.update(seen.series, seen.state.services, *seen.state.groups)
        known.update(Destination(route.backend, 0) for route in seen.state.broken)
    for kind, option, names in (
        (Kind.SHARE, "--expect", rules.expected),
        (Kind.RATE, "--allow-silent", rules.may_be_silent),
    ):
        for name in sorted(set(names) - rules.of_stack):
            if not any(where.named(name) for where in known):
                text = f"the waypoints know no Service of this name; correct {option}"
                yield Difference(name, kind, Verdict.INCONCLUSIVE, text, suspicious=True)


def _configuration(before: Observation, after: Observation, silent: frozenset[str]) -> Iterator[Difference]:
    for pod, message in after.state.rejections.items():
        same = before.state.rejections.get(pod) == message
        text = f"Envoy rejects its configuration{', as before' if same else ''}: {message}"
        result = Verdict.INCONCLUSIVE if same else Verdict.FAILED
        yield Difference(pod, Kind.CONFIGURATION, result, text, suspicious=same)
    former: dict[tuple[Destination, str], float] = {}
    for route in before.state.broken:
        key = route.where, route.cluster
        former[key] = max(route.share, former.get(key, 0.0))
    for route in sorted(after.state.broken):
        if route.share <= former.get((route.where, route.cluster), 0.0):
            continue
        # A new Service whose Pods are not ready yet takes no requests from anybody.
        new = route.backend == route.where.host and route.where not in before.state.services
        accepted = any(route.where.named(name) or Destination(route.backend, 0).named(name) for name in silent)
        if not new and not accepted:
            yield Difference(str(route.where), Kind.ROUTE, Verdict.FAILED, route.why)


def _tests(before: Observation, after: Observation, rules: Rules) -> Iterator[Test]:
    known = sorted({*before.series, *after.series})
    groups = routes.connected([*before.state.groups, *after.state.groups])
    declared = {name: _members(name, expectation, known, groups) for name, expectation in rules.expected.items()}
    for name, members in declared.items():
        # A stack declares shares of a Service that nobody may be using.
        unused = rules.expected[name].among and not any((*before.total(members), *after.total(members)))
        if not unused:
            yield _expected_test(name, rules.expected[name], members, after)
    silent = rules.may_be_silent | {name for name, item in rules.expected.items() if not item.share}
    moving = [one for one in groups if len(one) > 1 and any(_named(item, rules.may_move) for item in one)]
    every = sorted([*declared.values(), *moving], key=len)
    pools = {_used(members, before, after): members for members in every}  # one for the same requests: the largest
    for members in pools.values():  # requests move between them, and none goes away
        # Requests to a Service that only `--allow-silent` names may be lost; those to a silent one of the stack move.
        held = frozenset(item for item in members if not _named(item, rules.may_be_silent - rules.of_stack))
        if any(before.total(held)) and not all(_named(item, silent) for item in held):
            yield rates.together(held, members, before, after, closed=members in groups)
    for where in known:
        group = next((group for group in groups if where in group), frozenset([where]))
        undeclared = not any(group & members for members in declared.values())
        moves = undeclared and group in moving
        falls = moves and _named(where, rules.may_fall)
        if any(before.of(where).requests) and not falls and not _named(where, silent):
            part = rates.part(where, declared, {name: item.share for name, item in rules.expected.items()}, before)
            if part:
                yield rates.alone(where, part, before, after)
        if any(after.of(where).completed):
            yield _success_test(where, group, before, after)
        if undeclared and not moves and len(group) > 1 and any(before.total(group)) and any(after.total(group)):
            yield _share_test(where, group, before, after)
        if before.of(where).latencies and after.of(where).latencies:
            yield _latency_test(where, before, after)


def _named(where: Destination, names: Iterable[str]) -> bool:
    return any(where.named(name) for name in names)


def _used(members: frozenset[Destination], *seen: Observation) -> frozenset[Destination]:
    """Return the destinations that got requests in any observation."""
    return frozenset(item for item in members if any(any(one.of(item).requests) for one in seen))


def _members(
    name: str, expectation: Expectation, known: Sequence[Destination], groups: Sequence[frozenset[Destination]]
) -> frozenset[Destination]:
    """Return the destinations that share the requests with a Service; all where no route sends to it."""
    if expectation.among:
        return frozenset(item for item in known if any(item.named(other) for other in expectation.among))
    return frozenset[Destination]().union(
        *(group for group in groups if any(item.named(name) for item in group))
    ) or frozenset(known)


def _expected_test(name: str, expected: Expectation, members: frozenset[Destination], after: Observation) -> Test:
    own = frozenset(item for item in members if item.named(name))
    return lambda tolerance: differences.expected_share(
        name, expected.share, Hits(after.total(own), after.total(members)), tolerance
    )


def _success_test(where: Destination, group: frozenset[Destination], before: Observation, after: Observation) -> Test:
    former = [where] if sum(before.of(where).completed) else sorted(group)
    return lambda tolerance: differences.success(where, _failures(former, before), _failures([where], after), tolerance)


def _failures(destinations: Sequence[Destination], seen: Observation) -> Hits:
    each = [seen.of(item) for item in destinations]
    return Hits(
        [sum(counts) for counts in zip(*(item.errors for item in each), strict=True)],
        [sum(counts) for counts in zip(*(item.completed for item in each), strict=True)],
    )


def _share_test(where: Destination, group: frozenset[Destination], before: Observation, after: Observation) -> Test:
    old, new = (Hits(seen.of(where).requests, seen.total(group)) for seen in (before, after))
    return lambda tolerance: differences.share(where, old, new, tolerance)


def _latency_test(where: Destination, before: Observation, after: Observation) -> Test:
    return lambda tolerance: differences.latency(where, before.of(where), after.of(where), tolerance)
