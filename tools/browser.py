"""Find the Chromium of the browser tests; install the distribution's package where it is missing and this is root.

`python -m tools.browser` is a step of `make test`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from waypoint_lab.report.picture import NAMES

VARIABLE = "WAYPOINT_LAB_CHROMIUM"
INSTALL_SECONDS = 300
# Package managers whose package is a browser and no wrapper of another package format.
INSTALLS = {
    "apt-get": ("apt-get install --yes --no-install-recommends chromium", "apt-get update"),
    "dnf": ("dnf install --assumeyes chromium", ""),
    "apk": ("apk add chromium", ""),
}


class NoBrowserError(Exception):
    """There is no Chromium. The message is one line with the command that installs it."""


def find() -> Path:
    """Return the executable of Chromium.

    Raises:
        NoBrowserError: There is none.
    """
    named = os.environ.get(VARIABLE)
    found = next((path for name in ([named] if named else NAMES) if (path := shutil.which(name))), None)
    if found:
        return Path(found)
    if named:
        raise NoBrowserError(f"{VARIABLE} is {named}: it is no executable; name a Chromium, or unset it")
    raise NoBrowserError(f"the browser tests need Chromium: run `{command()}`, or leave them out: make test BROWSER=no")


def command() -> str:
    """Return the command line that installs Chromium here."""
    manager = next((name for name in INSTALLS if shutil.which(name)), "apt-get")
    return ("" if os.geteuid() == 0 else "sudo ") + INSTALLS[manager][0]


def install() -> None:
    """Run the package manager, after an update of its list if it has one.

    Raises:
        NoBrowserError: It failed, or there is none.
    """
    manager = next((name for name in INSTALLS if shutil.which(name)), None)
    if manager is None:
        return
    add, update = INSTALLS[manager]
    print(f"{add}", file=sys.stderr)
    for line in filter(None, (update, add)):
        try:
            done = subprocess.run(
                line.split(), capture_output=True, text=True, timeout=INSTALL_SECONDS, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise NoBrowserError(f"`{line}` did not end in {INSTALL_SECONDS} s; install Chromium by hand") from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
            raise NoBrowserError(f"`{line}` failed ({said}); install Chromium by hand, or run make test BROWSER=no")


def main() -> None:
    """Find Chromium, or install it as root.

    Raises:
        SystemExit: There is none, with one line.
    """
    try:
        try:
            find()
        except NoBrowserError:
            if os.geteuid() != 0 or os.environ.get(VARIABLE):
                raise
            install()
            find()
    except NoBrowserError as error:
        sys.exit(f"tools.browser: {error}")


if __name__ == "__main__":
    main()
