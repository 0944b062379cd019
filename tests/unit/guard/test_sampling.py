"""An observation has equal intervals, survives a Pod that cannot be asked, and waits for updates."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.unit.guard.observations import destination
from tests.unit.guard.sources import Clock, FakeSource
from waypoint_lab.errors import KubectlError
from waypoint_lab.guard import sampling
from waypoint_lab.guard.comparison import Rules, compare
from waypoint_lab.measure.endpoint_counters import Counts, Destination

WEB = destination("web")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("waypoint_lab.guard.sampling", "waypoint_lab.waiting"):
        monkeypatch.setattr(f"{module}.time", made)
    return made


def quiet(_line: str) -> None:
    """Print nothing."""


def test_observation_has_thirty_intervals(clock: Clock) -> None:
    seen = sampling.observe(FakeSource({"web": Counts(4, 3, 1)}).readers(), 60, "before", quiet)
    assert (len(seen.seconds), pytest.approx(seen.seconds)) == (30, [2.0] * 30)
    assert tuple(map(sum, (seen.of(WEB).requests, seen.of(WEB).successes, seen.of(WEB).errors))) == (120, 90, 30)


def test_interval_without_a_destination_has_no_request_of_it(clock: Clock) -> None:
    fake, empty = FakeSource({"web": Counts(4, 3, 1)}), [dict[Destination, Counts]()] * 3
    readers = replace(fake.readers(), counts=lambda: empty.pop() if empty else fake.counts())
    seen = sampling.observe(readers, 5, "before", quiet).of(WEB)
    assert [row[:3] for row in (seen.requests, seen.successes, seen.errors)] == [[0, 0, 4], [0, 0, 3], [0, 0, 1]]


def test_short_observation_has_intervals_of_half_a_second(clock: Clock) -> None:
    assert len(sampling.observe(FakeSource().readers(), 5, "before", quiet).seconds) == 10


def test_progress_is_reported_every_ten_seconds(clock: Clock) -> None:
    lines: list[str] = []
    sampling.observe(FakeSource({"web": Counts(4, 4)}).readers(), 30, "before", lines.append)
    assert lines == [
        "before: 10 of 30 s, 40 requests",
        "before: 20 of 30 s, 80 requests",
        "before: 30 of 30 s, 120 requests",
    ]


def test_interval_that_cannot_be_read_is_joined_with_the_next(clock: Clock) -> None:
    fake = FakeSource({"web": Counts(4, 4)}, errors=3)
    seen = sampling.observe(fake.readers(), 30, "before", quiet)
    assert pytest.approx(30, abs=1.5) == sum(seen.seconds)


def test_counters_that_remain_unreadable_raise(clock: Clock) -> None:
    with pytest.raises(KubectlError, match="busy"):
        sampling.observe(FakeSource(errors=1000).readers(), 30, "before", quiet)
    assert pytest.approx(sampling.UNREADABLE_SECONDS) == clock.now


def test_permission_that_is_missing_is_an_error_at_once(clock: Clock) -> None:
    def forbidden() -> None:
        raise KubectlError("kubectl exec: pods/exec is forbidden")

    with pytest.raises(KubectlError, match="forbidden"):
        sampling.retried(forbidden)
    assert clock.now == 0


def test_settle_waits_two_seconds_after_the_last_update(clock: Clock) -> None:
    sampling.settle(FakeSource(updates=[1, 1, 2, 2, 3]).readers(), quiet)
    assert pytest.approx(1.5 + sampling.QUIET_SECONDS, abs=0.6) == clock.now


def test_settle_ends_although_updates_continue(clock: Clock) -> None:
    sampling.settle(FakeSource(updates=list(range(1000))).readers(), quiet)
    assert pytest.approx(2 * sampling.SETTLE_SECONDS) == clock.now


def test_observation_of_slow_waypoints_has_two_intervals(clock: Clock) -> None:
    fake = FakeSource({"web": Counts(4, 4)})

    def slow() -> Mapping[Destination, Counts]:
        clock.sleep(9)
        return fake.counts()

    seen = sampling.observe(replace(fake.readers(), counts=slow), 5, "before", quiet)
    assert pytest.approx([9.5, 9.5]) == seen.seconds
    assert compare(seen, seen, Rules())


def test_access_log_that_cannot_be_read_leaves_latency_unmeasured(clock: Clock) -> None:
    def refused(_seconds: object) -> None:
        raise KubectlError('kubectl logs: User "ci" is forbidden to get pods/log')

    lines: list[str] = []
    readers = replace(FakeSource({"web": Counts(4, 4)}).readers(), log=refused)
    seen = sampling.observe(readers, 5, "before", lines.append)
    assert (seen.answers, seen.of(WEB).latencies, sum(seen.of(WEB).requests)) == (None, None, 40)
    assert lines[-1].startswith("latency is not measured: kubectl logs: ")
