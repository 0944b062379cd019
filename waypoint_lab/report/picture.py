"""Print the page of a report as PNG, by a headless Chromium.

A browser prints exactly the page that a person sees, so that no second program has to lay it out. It is no Python
dependency: the command line of Debian's package is enough. The page has no script, and the browser gets no network.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from waypoint_lab.errors import ReportError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WIDTH = 1200
MOST_HEIGHT = 16_000  # pixels; Chromium draws no more
LIMIT_SECONDS = 60.0
_HEIGHT = re.compile(r'data-height="(\d+)"')
# In a copy of the page only: a page's height is known to its browser alone.
_MEASURE = "<script>document.documentElement.dataset.height = document.documentElement.scrollHeight</script>"


def browser() -> str:
    """Return the path of a Chromium.

    Raises:
        ReportError: There is none on PATH.
    """
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    raise ReportError(
        f"--report: the picture needs Chromium, and none is on PATH ({', '.join(NAMES)}); "
        "install it, or add --no-picture for the HTML file alone"
    )


def _run(program: str, profile: str, *arguments: str) -> str:
    command = [
        program,
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        f"--user-data-dir={profile}",
    ]
    command += [
        "--disable-background-networking",
        "--disable-sync",
        "--disable-component-update",
        "--disable-extensions",
    ]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--force-device-scale-factor=1", "--disable-dev-shm-usage"]
    if os.geteuid() == 0:  # Chromium refuses its sandbox to root
        command.append("--no-sandbox")
    try:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, errors="replace", timeout=LIMIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ReportError(f"{program}: no picture within {LIMIT_SECONDS:g} s; add --no-picture") from None
    except OSError as error:
        raise ReportError(f"{program}: it cannot be started ({error.strerror}); add --no-picture") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ReportError(f"{program}: it ended with exit status {done.returncode} ({last}); add --no-picture")
    return done.stdout


def png(page: Path, file: Path, program: str) -> None:
    """Write the picture of a page, in its whole height up to MOST_HEIGHT.

    Args:
        page: The page.
        file: The picture.
        program: Path of the Chromium.

    Raises:
        ReportError: The browser failed.
    """
    with tempfile.TemporaryDirectory(prefix="waypoint-lab-report-") as folder:
        copy = Path(folder) / "page.html"
        text = page.read_text()
        policy = text.index("<meta http-equiv")
        text = text[:policy] + text[text.index(">", policy) + 1 :]  # it forbids all scripts
        copy.write_text(text.replace("</body>", f"{_MEASURE}</body>"))
        size = f"--window-size={WIDTH},800"
        found = _HEIGHT.search(_run(program, folder, size, "--dump-dom", copy.as_uri()))
        height = min(MOST_HEIGHT, int(found[1])) if found else MOST_HEIGHT
        _run(program, folder, f"--window-size={WIDTH},{height}", f"--screenshot={file}", page.resolve().as_uri())
    if not file.exists():
        raise ReportError(f"{program}: it wrote no picture; add --no-picture")
