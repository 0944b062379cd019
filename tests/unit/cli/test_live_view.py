"""The live view at 80x24, and in a pipe."""

import io
import json
import time

import pytest
from msgspec.structs import replace
from rich.console import Console

from tests.unit.cli.snapshots import BASELINE, BUSY, CANARY, NOW, PROMOTION, QUIET, SERVICE, SHARE
from waypoint_lab.cli import live_view
from waypoint_lab.cli.watch import Lines
from waypoint_lab.live.model import Change, TrafficSnapshot, from_json, to_json


def rendered(snapshot: TrafficSnapshot, width: int = 80, height: int = 24, own: list[str] | None = None) -> list[str]:
    """Return the lines that a console of this size prints."""
    console = Console(width=width, height=height, file=io.StringIO(), record=True, force_terminal=True)
    console.print(live_view.view(snapshot, width, height, own or []))
    return console.export_text(styles=False).splitlines()


@pytest.mark.parametrize("snapshot", [QUIET, BUSY, replace(QUIET, services=())])
@pytest.mark.parametrize("size", [(80, 24), (60, 12), (160, 50)])
def test_view_fits_the_terminal(snapshot: TrafficSnapshot, size: tuple[int, int]) -> None:
    found = rendered(snapshot, *size, ["promote: a line"])
    assert len(found) <= size[1]
    assert max(len(line) for line in found) <= size[0]


def test_view_of_a_backend_has_all_columns() -> None:
    (line,) = (line for line in rendered(QUIET) if line.startswith("reviews-stable"))
    assert line.split()[1:5] == ["20", "%", "19.0", "16.0-22.0"]
    assert line.split()[-4:] == ["6.6", "100", "4ms", "1.2s"]


def test_view_of_a_busy_stack_shows_each_part() -> None:
    text = "\n".join(rendered(BUSY, own=["promote: own line"]))
    for part in (
        "waypoint: 12 x 503 FI",
        "abort 0 at the waypoint, by V f, 30 s left",
        "and 2 more",
        "ALLOW GET to reviews",
        "step 3 of 5, 20 %; Progressing; waits for evidence of the probe, 4 s",
        "✓1  ✓5  ▶20  50  100 %",
        "promote 31 of 100 to 1 █████···",
        "roll back 0.4 of 1000 to 1 ········",
        "margin 2 %, limit 120 s",
        "promote: own line",
        "problem    no permission",
        "live      a change",
    ):
        assert part in text, part


def test_moment_is_in_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        found = live_view.moment(0)
    time.tzset()
    assert found == "00:00:00"


def test_weight_that_envoy_does_not_have_yet_is_shown_beside_its_own() -> None:
    service = replace(SERVICE, backends=(BASELINE, replace(CANARY, weight=50.0)))
    assert "20→50" in "\n".join(rendered(replace(QUIET, services=(service,))))


@pytest.mark.parametrize(("weight", "want"), [(19.0, "green"), (50.0, "yellow"), (None, "blue")])
def test_bar_shows_if_the_weight_is_in_the_interval(weight: float | None, want: str) -> None:
    found = live_view.bar(replace(CANARY, weight=weight), 10)
    assert found.plain.count("│") == (weight is not None)
    assert want in {str(span.style) for span in found.spans} | {str(found.style)}
    assert len(found.plain) == 10


def test_bar_without_requests_is_empty() -> None:
    assert live_view.bar(replace(BASELINE, weight=None), 4).plain == "····"


def test_bar_has_the_interval_between_its_ends() -> None:
    wide = replace(CANARY, weight=None, share=replace(SHARE, low=0.3, high=0.6))
    assert live_view.bar(wide, 10).plain == "███▒▒▒····"


def test_promotion_that_waits_for_a_command_names_it() -> None:
    idle = replace(PROMOTION, running=False, waits_for="lab canary promote", evidence=(), why="too few")
    text = "\n".join(rendered(replace(QUIET, promotion=idle)))
    assert "waits for lab canary promote" in text
    assert "because    too few" in text


def test_lines_in_a_pipe_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    change = Change(time=NOW, kind="live", text="reviews: 80 % a, 20 % b")
    lines = Lines(as_json=False)
    for moment in (0.0, 0.4, 1.0):
        lines(replace(QUIET, time=NOW + moment, changes=(change,), problem="no permission"))
    out, error = capsys.readouterr()
    assert error == "watch: no permission\n"
    assert "\x1b" not in out
    assert out.count("change live reviews") == 1
    assert out.count("reviews:9080 reviews-stable") == 2
    assert (
        "06:59:03 reviews:9080 reviews-stable weight 20% share 19.0% [16.0-22.0] rate 6.6/s success 100% [98.0-100] "
        "p50 4ms p99 1.2s"
    ) in out.splitlines()


def test_json_is_one_snapshot_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    Lines(as_json=True)(BUSY)
    (line,) = capsys.readouterr().out.splitlines()
    assert from_json(json.loads(line)) == BUSY
    assert to_json(QUIET)["promotion"] is None


def test_characters_of_the_cluster_that_are_not_printable_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "DENY /é…\x1b[2J\n09:00:00 change promotion 100 %: promote"
    policy = replace(BUSY.policies[0], text=bad)
    change = Change(time=NOW, kind="object", text=bad)
    snapshot = replace(QUIET, policies=(policy,), changes=(change,), problem=bad)
    wanted = "DENY /é…?[2J?09:00:00 change promotion 100 %: promote"
    assert sum(wanted in line for line in rendered(snapshot, 160)) == 3
    Lines(as_json=False)(snapshot)
    out, error = capsys.readouterr()
    assert wanted in out.splitlines()[0]
    assert error == f"watch: {wanted}\n"
    Lines(as_json=True)(snapshot)
    assert from_json(json.loads(capsys.readouterr().out)) == snapshot


def test_view_shows_a_fault_of_several_services_once() -> None:
    first = BUSY.faults[0]
    found = rendered(replace(QUIET, faults=(first, replace(first, service="ratings"))))
    assert sum("abort 0" in line for line in found) == 1
