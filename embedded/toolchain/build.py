"""Build the Go programs of the lab into a cache that is keyed by the locked versions.

One `go build` makes all programs of a module, so that shared packages compile once; the Kubernetes provider is a module
of its own, because it needs an older engine library. Go's build cache lets an interrupted build resume. Go verifies
checksums against go.sum (`-mod=readonly`).
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from embedded.toolchain.go import HERE, ToolchainError, cache_dir, environment, find_go, run_go
from embedded.toolchain.installed import fitting
from embedded.toolchain.versions import KUBERNETES, KUBERNETES_PROVIDER, PULUMI

__all__ = ["ToolchainError", "build", "key", "root"]

PROVIDER = "pulumi-resource-kubernetes"
PROVIDER_FOLDER = HERE / "kubernetes_provider"
USER_NETWORK = "user_network"  # a program, and the folder of its module
OWN = ("./istiod", "./kubelet-streaming")  # mains of this project, in the main module
DISK_NEEDED = 8 * 2**30  # bytes: 1 GiB of binaries, the rest Go's module and build caches
LDFLAGS = " ".join(
    [
        "-s -w",
        f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{PULUMI}",
        f"-X github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version.Version={KUBERNETES_PROVIDER}",
        f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES}",
        "-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36",
    ]
)
# vtprotobuf: istiod and pilot-agent do not compile their generated marshallers without it.
FLAGS = ["-mod=readonly", "-trimpath", "-tags", "vtprotobuf", "-ldflags", LDFLAGS]
# The linker drops debug information (-w), so the compiler need not make it, which takes a tenth of its time.
FLAGS += ["-gcflags=all=-dwarf=false"]
# Optimizing takes a third of the compiler's time. The lab runs little or nothing of these large packages.
RARELY_RUN = [
    "github.com/aws",
    "github.com/Azure",
    "cloud.google.com",
    "google.golang.org/api",
    "github.com/envoyproxy",
]
FLAGS += [f"-gcflags={prefix}/...=-dwarf=false -N -l" for prefix in RARELY_RUN]


def key() -> str:
    """Return the name of one set of programs; it changes with any locked version, flag or Go source of ours."""
    digest = hashlib.sha256("\0".join(FLAGS).encode())
    for path in sorted(path for pattern in ("*.go", "go.mod", "go.sum") for path in HERE.rglob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def root() -> Path:
    """Return the folder of this lock's toolchain: `bin/`, `plugins/` and `share/` are inside."""
    return cache_dir() / f"toolchain-{key()}"


def _packages() -> dict[str, str]:
    """Return the import path of each program of the main module, by the program's name."""
    tools = re.search(r"^tool \((.*?)^\)", (HERE / "go.mod").read_text(), re.MULTILINE | re.DOTALL)
    assert tools is not None
    # The last element of etcd's import path is a version; users know the program as etcd.
    named = {"go.etcd.io/etcd/server/v3": "etcd"}
    return {named.get(package, package.rpartition("/")[2]): package for package in [*tools[1].split(), *OWN]}


def _missing(target: Path) -> list[str]:
    """Return the names of programs that are neither in `target` nor, in a fitting version, on PATH."""
    absent = [name for name in [*_packages(), USER_NETWORK] if not (target / "bin" / name).exists()]
    absent += [] if (target / "plugins" / PROVIDER).exists() else [PROVIDER]
    return [name for name in absent if fitting(name) is None]


def _complete(target: Path) -> bool:
    return (target / "share").exists() and not _missing(target)


def build() -> Path:
    """Build the missing programs and return the toolchain's folder.

    An interrupted build leaves no half program: each appears under its final name at the end. Go's build cache lets the
    next build continue where this one stopped.

    Raises:
        ToolchainError: Go, disk space or a module is missing, or a program does not compile.
    """
    target = root()
    if _complete(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / f"{target.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("toolchain: another build of the same versions runs; waiting for it", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not _complete(target):
                _build_into(target)
    except OSError as error:
        raise ToolchainError(
            f"{target.parent}: {error.strerror or error}; set WAYPOINT_LAB_CACHE to another folder"
        ) from error
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
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    try:
        for folder in (part / "bin", part / "share", target / "bin", target / "plugins"):
            folder.mkdir(parents=True, exist_ok=True)
        missing = _missing(target)
        packages = [package for name, package in _packages().items() if name in missing]
        if packages:
            _compile(go, HERE, packages, f"{part / 'bin'}/", [])
            for path in (part / "bin").iterdir():
                path.rename(target / "bin" / {"server": "etcd"}.get(path.name, path.name))
        if USER_NETWORK in missing:
            _compile(go, HERE / USER_NETWORK, ["."], str(part / "bin" / USER_NETWORK), [])
            (part / "bin" / USER_NETWORK).rename(target / "bin" / USER_NETWORK)
        if PROVIDER in missing:
            _compile(go, PROVIDER_FOLDER, ["."], str(part / "bin" / PROVIDER), ["-overlay", _overlay(go, part)])
            (part / "bin" / PROVIDER).rename(target / "plugins" / PROVIDER)
        if not (target / "share").exists():
            _write_shared_data(go, part / "share", target)
            (part / "share").rename(target / "share")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _module(go: str, path: str, folder: Path = HERE) -> Path:
    """Download a module that the module in `folder` requires, if it is not in Go's cache, and return its folder."""
    return Path(json.loads(run_go(go, "mod", "download", "-json", path, folder=folder))["Dir"])


def _overlay(go: str, part: Path) -> str:
    """Write the overlay that lets the provider embed its schema from its own module, and return the overlay's path."""
    data = _module(go, "github.com/pulumi/pulumi-kubernetes/provider/v4", PROVIDER_FOLDER) / "cmd" / PROVIDER
    names = ("schema.json", "terraform-mapping.json")
    overlay = part / "overlay.json"
    overlay.write_text(json.dumps({"Replace": {str(PROVIDER_FOLDER / name): str(data / name) for name in names}}))
    return str(overlay)


def _compile(go: str, folder: Path, packages: list[str], out: str, more: list[str]) -> None:
    started = time.monotonic()
    total = len(
        set(
            run_go(go, "list", "-mod=readonly", "-deps", "-tags", "vtprotobuf", *more, *packages, folder=folder).split()
        )
    )
    print(f"toolchain: compiling up to {total} packages (the first time takes minutes)", flush=True)
    with subprocess.Popen(
        [go, "build", "-v", *FLAGS, *more, "-o", out, *packages],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        done, shown, errors = 0, started, []
        for line in process.stderr:
            if line.startswith("go: downloading"):
                continue
            if " " in line.strip():
                errors.append(line.strip())
                continue
            done += 1
            now = time.monotonic()
            if now - shown >= 15:
                shown = now
                print(f"toolchain: {done} of at most {total} packages, {now - started:.0f} s", flush=True)
    if process.returncode:
        raise ToolchainError(f"go build failed: {errors[-1] if errors else 'no message'}")
    print(f"toolchain: built in {time.monotonic() - started:.0f} s", flush=True)


def _write_shared_data(go: str, share: Path, target: Path) -> None:
    """Copy data files of the same locked modules: CRDs, Envoy's bootstrap template, Istio's ambient manifest."""
    gateway_api, istio = _module(go, "sigs.k8s.io/gateway-api"), _module(go, "istio.io/istio")
    shutil.copytree(gateway_api / "config" / "crd", share / "gateway-api", copy_function=shutil.copyfile)
    shutil.copyfile(istio / "tools/packaging/common/envoy_bootstrap.json", share / "envoy_bootstrap.json")
    built = target / "bin" / "istioctl"
    istioctl = str(built) if built.exists() else fitting("istioctl")
    assert istioctl is not None
    done = subprocess.run(
        [istioctl, "manifest", "generate", "--set", "profile=ambient"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolchainError(f"{istioctl} manifest generate failed: {' '.join(done.stderr.split()) or 'no message'}")
    (share / "istio-ambient.yaml").write_text(done.stdout)


def main() -> int:
    """Build the toolchain and print its folder; print one line on standard error if that fails or is interrupted."""
    try:
        print(build())
    except ToolchainError as error:
        print(f"toolchain: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("toolchain: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
