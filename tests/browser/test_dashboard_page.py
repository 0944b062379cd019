"""The page of the dashboard in a browser, with made-up snapshots: schemes, widths, keyboard and foreign sites."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browsing import Problems, chromium_running, keep
from tests.unit.dashboard.states import States, snapshot
from waypoint_lab.cli.dashboard import redirecting
from waypoint_lab.dashboard.actions import PageActions
from waypoint_lab.dashboard.feed import PageFeed
from waypoint_lab.dashboard.server import serving

pytestmark = [pytest.mark.timeout(240), pytest.mark.browser]
LIMIT_MILLISECONDS = 60_000
CANARY = "[data-edge='reviews-stable']"
TEXTS = """[...document.querySelectorAll("#picture text")].map((one) => {
  const box = one.getBoundingClientRect();
  return [box.left, box.right];
})"""
COMMAND = "import pathlib, sys; pathlib.Path('ran').write_text(' '.join(sys.argv[1:3]))"
STALLING = """window.EventSource = class extends EventSource {
  constructor(address) { super(address); window.events = this; }
  set onmessage(show) { super.onmessage = (message) => {
    if (JSON.parse(message.data).snapshot) this.close();
    show(message);
  }; }
}"""
FAULT = {
    "service": "reviews",
    "at": "waypoint",
    "kind": "abort",
    "text": "abort 10 % with 503",
    "object": "VirtualService reviews",
    "until": None,
}
POLICY = {
    "name": "l7",
    "namespace": "bookinfo-backends",
    "service": "reviews",
    "action": "ALLOW",
    "text": "ALLOW GET on reviews",
}
PROMOTION = {
    "name": "20261126T063000",
    "phase": "Progressing",
    "step": "20 %",
    "number": 2,
    "weight": 20.0,
    "cohort": "",
    "steps": [5.0, 20.0, 100.0],
    "passed": 1,
    "running": False,
    "waits_for": "evidence of the probe",
    "since": 0.0,
    "why": "",
    "thresholds": {"margin": "2 %", "limit": "120 s"},
    "evidence": [
        {
            "source": "probe",
            "requests": {"canary": 900},
            "failed": {"canary": 0},
            "decision": "open",
            "against_healthy": 0.4,
            "against_bad": 31.0,
            "needed_bad": 100.0,
            "needed_healthy": 100.0,
            "text": "canary 0 of 900 failed",
        }
    ],
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium."""
    with chromium_running() as found:
        yield found


@pytest.fixture
def states() -> States:
    """Return the source of the page's snapshots."""
    made = States()
    made.newest = snapshot(time.time(), faults=[FAULT], policies=[POLICY], promotion=PROMOTION)
    return made


@pytest.fixture
def address(tmp_path: Path, states: States) -> Iterator[str]:
    """Serve the page of a stack whose canary has 20 %."""
    actions = PageActions([sys.executable, "-c", COMMAND], tmp_path, "dev", lambda: (20.0, 100.0), lambda: False)
    with PageFeed(states) as feed:
        feed.actions = actions.document
        with serving(0, feed, actions) as access:
            yield access.address
    actions.close(lambda _line: None)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Return the page, which has no error in its console and asks no other server."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        found = context.new_page()
        found.set_default_timeout(LIMIT_MILLISECONDS)
        problems = Problems(found, address[: address.index("/", 8)])
        found.goto(address)
        found.locator(CANARY).wait_for(state="attached")
        found.locator("#chart-share .main-svg").first.wait_for(state="attached")
        yield found
        assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_readable_in_each_scheme_and_width(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_function(f"document.querySelector('#picture svg').viewBox.baseVal.width < {width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shade = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(shade) < 64) == (scheme == "dark")
        heights = page.evaluate("[...document.querySelectorAll('#buttons button')].map((one) => one.offsetHeight)")
        assert min(heights) >= 36
        assert all(left >= 0 and right <= width for left, right in page.evaluate(TEXTS))
        keep(page, f"dashboard-{scheme}-{width}")


def test_page_shows_share_success_fault_policy_and_evidence_where_they_act(page: Page, states: States) -> None:
    edge = page.locator(CANARY)
    assert float(edge.get_attribute("stroke-width") or 0) == pytest.approx(2 + 18 * 0.2, abs=0.1)
    assert "good" in (edge.get_attribute("class") or "")
    assert "abort 10 % with 503" in (page.locator("#picture .fault").text_content() or "")
    assert "ALLOW GET on reviews" in (page.locator("#picture .policy").text_content() or "")
    assert "31 of 100 to 1" in page.locator("#promotion").inner_text()
    assert page.locator(".steps [aria-current=step]").inner_text() == "20 %"
    change = {"time": time.time(), "kind": "live", "text": "reviews: 80 % to the canary"}
    states.newest = snapshot(time.time(), 80.0, changes=[change])
    page.wait_for_function(f"document.querySelector(\"{CANARY}\").dataset.weight === '80'", timeout=5000)
    assert "live reviews: 80 % to the canary" in page.locator("#changes li").first.inner_text()


def test_fault_is_drawn_whatever_policies_other_services_have(page: Page, states: States) -> None:
    others = [{**POLICY, "service": f"other-{number}", "text": f"ALLOW other-{number}"} for number in range(5)]
    states.newest = snapshot(time.time(), 80.0, faults=[FAULT], policies=[*others, {**POLICY, "service": ""}])
    page.wait_for_function(f"document.querySelector(\"{CANARY}\").dataset.weight === '80'", timeout=5000)
    assert "abort 10 % with 503" in (page.locator("#picture .fault").text_content() or "")
    assert page.locator("#picture .policy text").all_text_contents() == [
        "policy: ALLOW GET on reviewsALLOW GET on reviews"
    ]


def test_connection_that_stalls_shows_the_age_of_the_last_sample(browser: Browser, address: str) -> None:
    with browser.new_context() as context:
        found = context.new_page()
        found.set_default_timeout(LIMIT_MILLISECONDS)
        found.add_init_script(STALLING)
        found.goto(address)
        found.get_by_text("the last sample is").wait_for()
        text = found.locator("#connection").inner_text()
        expect(found.locator("#connection")).not_to_have_text(text)  # wait_for_function is against the page's policy
        found.evaluate("window.events.onerror()")
        found.wait_for_timeout(2500)  # two intervals
        assert found.locator("#connection").inner_text() == "the dashboard does not answer"


def test_button_runs_its_command_after_a_second_press_by_keyboard(page: Page, tmp_path: Path) -> None:
    button = page.locator("button[data-action=promote]")
    button.focus()
    page.keyboard.press("Enter")
    page.locator("dialog[open]").wait_for()
    assert page.locator("#confirm-command").inner_text() == "lab canary promote --approve-file FILE --stack dev"
    page.keyboard.press("Escape")
    page.locator("dialog[open]").wait_for(state="detached")
    assert not (tmp_path / "ran").exists()
    button.focus()
    page.keyboard.press("Enter")
    page.locator("dialog[open]").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "confirm-yes"
    page.keyboard.press("Enter")
    page.get_by_text("ended with status 0").wait_for(state="attached")
    assert (tmp_path / "ran").read_text() == "canary promote"


def test_refusal_stays_until_the_next_press(page: Page, address: str) -> None:
    button, refused = page.locator("button[data-action=promote]"), page.locator("#refused")
    page.route("**/actions/promote", lambda route: route.fulfill(status=200, content_type="text/plain", body="no\n"))
    button.click()
    refused.wait_for()
    page.wait_for_timeout(2500)  # two events
    assert refused.inner_text() == "no"
    page.unroute("**/actions/promote")
    button.click()
    page.locator("dialog[open]").wait_for()
    assert refused.is_hidden()
    page.keyboard.press("Escape")


def test_page_opens_through_the_file_that_leads_to_it(browser: Browser, address: str) -> None:
    found = browser.new_page()
    with redirecting(address) as uri:
        found.goto(uri)
        found.locator(CANARY).wait_for(state="attached", timeout=LIMIT_MILLISECONDS)
    assert address == found.url
    found.close()


def test_another_site_cannot_press_a_button(browser: Browser, address: str, tmp_path: Path) -> None:
    foreign = browser.new_page()
    foreign.goto("data:text/html,<title>another site</title>")
    for mode in ("cors", "no-cors"):
        foreign.evaluate(
            f"fetch('{address}actions/promote', {{method: 'POST', body: '{{}}', mode: '{mode}'}}).catch(() => 0)"
        )
    foreign.close()
    assert not (tmp_path / "ran").exists()
