"""The page of a report: every stage is on it, every text is escaped, and it loads nothing."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.unit.report.reports import NAMES, change, measurement, report, result
from waypoint_lab.measure.verify import Verdict
from waypoint_lab.report import charts, page
from waypoint_lab.report.model import Curve, Row

SCRIPT = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def test_page_has_every_stage_with_its_pictures() -> None:
    text = page.html(report())
    assert [name for name in NAMES if f"<h2>{name} " not in text] == []
    assert text.count("requests over time") == len(NAMES)
    assert text.count('aria-label="latencies"') == len(NAMES)
    for part in ("20.00%", "19.00%", "17.00% - 22.00%", "3000", "1.40.0", "lab run --report DIR", "weight: 20"):
        assert part in text


def test_page_loads_nothing_and_has_no_script() -> None:
    text = page.html(report())
    elements = Elements(text).found
    assert {"script", "link", "img", "iframe", "object", "base"} & {tag for tag, _ in elements} == set()
    loads = [
        value for _, found in elements for name, value in found.items() if name in ("src", "href", "data", "xlink:href")
    ]
    assert [value for value in loads if not (value or "").startswith("#")] == []
    assert not re.search(r"https?://|url\(|@import", text)
    assert "default-src 'none'" in text


def test_page_escapes_every_text_of_the_cluster() -> None:
    route = {"kind": "HTTPRoute", "metadata": {"name": SCRIPT}, "spec": {"matches": [{"headers": [{"value": SCRIPT}]}]}}
    stage = result(SCRIPT, change(*[SCRIPT] * 30), manifests={f"HTTPRoute {SCRIPT}": route}, problems=[SCRIPT])
    stage.verdicts = [measurement(SCRIPT, verdict=Verdict.FAILED, why=SCRIPT)]
    stage.notes = [SCRIPT]
    more = {"summary": SCRIPT, "versions": {SCRIPT: SCRIPT}, "repeat": [SCRIPT], "config": {SCRIPT: SCRIPT}}
    text = page.html(report(stage, title=SCRIPT, verdict=SCRIPT, **more))
    assert "script" not in {tag for tag, _ in Elements(text).found}
    assert text.count("&lt;script&gt;") > 15


def test_page_has_manifests_that_changed_since_the_stage_before() -> None:
    one, two = ({"kind": "HTTPRoute", "metadata": {"name": "reviews"}, "spec": {"weight": n}} for n in (20, 100))
    same = {"kind": "Service", "metadata": {"name": "web"}}
    stages = [
        result(name, manifests={"HTTPRoute reviews": route, "Service web": same})
        for name, route in (("a", one), ("b", two))
    ]
    text = page.html(report(*stages))
    assert text.count("2 manifests are new or changed: HTTPRoute reviews, Service web") == 1
    assert text.count("1 manifest is new or changed: HTTPRoute reviews") == 1
    assert text.count("weight: 100") == 1


def test_moments_are_the_last_old_and_the_first_new_answer() -> None:
    found = change(*["baseline"] * 20, "canary", "baseline", *["canary"] * 20)
    lines = charts.moments(found)
    assert "old configuration last seen: 1.60 s" in lines
    assert "new configuration first seen: 1.50 s" in lines
    assert "in sync: 2.00 s" in lines


def test_moments_of_a_split_have_no_last_old_answer() -> None:
    lines = charts.moments(change(*["baseline"] * 20, *["canary", "baseline"] * 10))
    assert "new configuration first seen: 1.50 s" in lines
    assert "old configuration last seen: unknown, because both configurations give these answers" in lines


def test_moments_without_requests_say_so() -> None:
    assert charts.moments(change()) == ["change 1: no request was seen"]


def test_timeline_of_a_failed_update_is_drawn() -> None:
    broken = replace(change(*["baseline"] * 20), applied=0.0, synced=0.0)
    assert "<svg" in charts.timeline(broken)
    assert "in sync: never" in charts.moments(broken)


@pytest.mark.parametrize("values", [{}, {"p50": 0.0, "p99": 0.0}, {"p0": 2.0, "p50": 2.0, "p99": 2.0}])
def test_distribution_of_any_values_is_drawn(values: dict[str, float]) -> None:
    assert bool(charts.distribution([Curve("canary", values)])) is bool(values)


def test_bar_has_the_declared_and_the_measured_share_where_they_are() -> None:
    text = charts.bar(Row("a", "20 %", "50 %", "25 % - 100 %", 10, "failed", scale=(0.2, 0.5, 0.25, 1.0)))
    (low,) = re.findall(r'class="interval" x="([\d.]+)"', text)
    (declared,) = re.findall(r'class="declared" x1="([\d.]+)"', text)
    (measured,) = re.findall(r'class="measured" cx="([\d.]+)"', text)
    assert (declared, low, measured) == ("38.4", "47.0", "90.0")


def test_distribution_rises_from_the_fastest_to_the_slowest_request() -> None:
    text = charts.distribution([Curve("canary", {"p0": 0.001, "p50": 0.01, "p99": 0.1, "p100": 1.0})])
    (points,) = re.findall(r'points="([^"]+)"', text)
    across, down = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
    assert list(across) == sorted({*across})
    assert charts.LEFT < across[0] < across[-1] < charts.WIDTH - charts.RIGHT
    assert list(down) == sorted({*down}, reverse=True)


def test_rows_of_the_same_requests_have_one_curve() -> None:
    stage = result("canary")
    stage.verdicts = [measurement("a"), measurement("b"), measurement("c", latency={"p50": 2.0, "p99": 2.1})]
    text = page.html(report(stage))
    assert "a, b: p50 4 ms, p99 20 ms" in text
    assert "c: p50 2.00 s, p99 2.10 s" in text


def test_timeline_of_a_short_update_shows_its_begin_and_end_in_two_lines() -> None:
    lengths = {0.3: [("10", "begins"), ("22", "ends")], 1.5: [("10", "begins"), ("10", "ends")]}
    for seconds, rows in lengths.items():
        one = replace(change(*["baseline"] * 40), applied=100.0 + seconds)
        assert rows == re.findall(r'y="(\d+)" text-anchor="\w+">update (\w+)', charts.timeline(one))
