"""Take the pictures of the docs: run the browser tests, and copy some of the pictures that they keep.

`python -m tools.pictures` writes `docs/pictures/`. It needs Chromium and the toolchain.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
TESTS = ("tests/e2e/test_browser_dashboard.py",)
# Picture of a test → picture of the docs.
TAKEN = {"dashboard-promotion-light-1280": "dashboard"}


def main() -> None:
    """Run the tests and copy the pictures.

    Raises:
        SystemExit: A test failed, or a picture is missing.
    """
    with tempfile.TemporaryDirectory(prefix="waypoint-lab-pictures-") as folder:
        environment = {**os.environ, "WAYPOINT_LAB_PICTURES": folder}
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS], cwd=ROOT, env=environment, check=False)
        if done.returncode:
            sys.exit("tools.pictures: the browser tests failed; the pictures are as they were")
        FOLDER.mkdir(exist_ok=True)
        for name, to in TAKEN.items():
            if not (picture := Path(folder) / f"{name}.png").exists():
                sys.exit(f"tools.pictures: no test keeps a picture {name}; correct TAKEN")
            shutil.copyfile(picture, FOLDER / f"{to}.png")


if __name__ == "__main__":
    main()
