"""A headless Chromium for tests, and the pictures that they keep."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tools import browser as chromium

PICTURES = Path(os.environ.get("WAYPOINT_LAB_PICTURES") or Path(__file__).parents[2] / "build" / "pictures")
LIMIT_MILLISECONDS = 15_000


@contextmanager
def chromium_running() -> Iterator[Browser]:
    """Start the machine's Chromium without a window; end it and Playwright's driver afterwards.

    Raises:
        NoBrowserError: There is no Chromium.
    """
    executable = chromium.find()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


class Problems(list[str]):
    """Errors in the console of a page, exceptions of its scripts, and requests to other servers."""

    def __init__(self, page: Page, origin: str) -> None:
        """Watch a page that may ask `origin` alone."""
        super().__init__()
        page.on("console", lambda said: self.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("request", lambda sent: self._sent(sent.url, origin))

    def _sent(self, url: str, origin: str) -> None:
        if not url.startswith((f"{origin}/", "data:", "blob:")):
            self.append(f"request to {url}")


def keep(page: Page, name: str, *, full: bool = True) -> Path:
    """Write a picture of a page to the folder of pictures, and return its path."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    file = PICTURES / f"{name}.png"
    page.screenshot(path=file, full_page=full)
    return file
