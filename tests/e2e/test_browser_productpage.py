"""The sample application in a browser, as a person sees each stage."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from embedded import cluster
from tests.e2e.browsing import LIMIT_MILLISECONDS, Problems, keep
from tests.e2e.scene import Scene
from waypoint_lab.measure.statistics import binomial_interval

pytestmark = [pytest.mark.timeout(600), pytest.mark.browser, pytest.mark.slow]
LOADS = 60
NOTHING, FIFTH = {"weight": 0}, {"weight": 20}
DELAY_SECONDS = 2.0


@pytest.fixture(scope="module")
def origin(cluster_state: Path) -> str:
    """Return the address of the ingress."""
    return f"http://127.0.0.1:{cluster.ports(cluster_state)[1]}"


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    """Return a page of a new session, which must have no error in its console and ask no other server."""
    with browser.new_context(base_url=origin) as context:
        found = context.new_page()
        found.set_default_timeout(LIMIT_MILLISECONDS)
        problems = Problems(found, origin)
        yield found
        assert problems == []


def shown(page: Page) -> str:
    """Load the productpage; return the colour of its stars, "none" for none, or "error"."""
    page.goto("/productpage", wait_until="domcontentloaded")
    colors = page.locator("font").evaluate_all("found => found.map(one => one.color)")
    failed = page.locator(".error").count()
    assert len({*colors}) <= 1
    return "error" if failed else (colors or ["none"])[0]


def test_productpage_has_no_stars_before_the_canary(scene: Scene, page: Page) -> None:
    scene.up("canary", "premium", canary=NOTHING)
    assert Counter(shown(page) for _ in range(20)) == {"none": 20}
    assert page.locator("#version").inner_text() == "v1"
    assert page.locator("#cluster").inner_text() == "cluster1"
    assert page.locator("link[rel=icon]").get_attribute("href") is not None
    keep(page, "productpage-baseline")


def test_productpage_at_weight_20_has_about_the_share_of_red(scene: Scene, page: Page) -> None:
    scene.up("canary", "premium", canary=FIFTH)
    seen = Counter()
    for _ in range(LOADS):
        color = shown(page)
        if color == "red" and not seen[color]:
            keep(page, "productpage-canary")
        seen[color] += 1
    assert {"none", "red"} == {*seen}
    interval = binomial_interval(seen["red"], LOADS, 0.9999)
    assert interval.low <= 0.2 <= interval.high, seen


def test_productpage_of_premium_user_has_black_stars_always(scene: Scene, page: Page) -> None:
    scene.up("canary", "premium", canary=FIFTH)
    page.goto("/productpage")
    page.get_by_placeholder("User Name").fill("premium-user")
    page.get_by_placeholder("Password").fill("any")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("sign out").wait_for()
    assert Counter(shown(page) for _ in range(40)) == {"black": 40}
    assert page.locator("#version").inner_text() == "v2"
    keep(page, "productpage-premium")
    page.get_by_text("sign out").click()
    page.get_by_placeholder("User Name").wait_for()
    assert "black" not in {shown(page) for _ in range(10)}


def test_first_page_after_a_change_shows_the_new_configuration(scene: Scene, page: Page) -> None:
    scene.up("canary", canary=NOTHING)
    assert Counter(shown(page) for _ in range(5)) == {"none": 5}
    scene.up("canary", canary={"weight": 100})
    assert shown(page) == "red"


def test_productpage_under_abort_shows_the_error_and_its_reason(scene: Scene, page: Page) -> None:
    scene.up("abort", fault={"abort": {"percent": 100}})
    assert shown(page) == "error"
    assert "Sorry, product reviews are currently unavailable" in page.locator(".error").inner_text()
    tries = "; ".join(f"try {number}: status 503 (fault filter abort)" for number in (1, 2))
    assert tries == page.locator("#why").inner_text()
    keep(page, "productpage-abort")


def test_productpage_under_delay_shows_the_time(scene: Scene, page: Page) -> None:
    scene.up("delay", fault={"delay": {"seconds": DELAY_SECONDS}})

    def took() -> float:
        assert shown(page) != "error"
        return float(page.locator("#took").inner_text().removesuffix(" s"))

    assert DELAY_SECONDS <= min(took() for _ in range(3)) < DELAY_SECONDS + 1
    keep(page, "productpage-delay")
