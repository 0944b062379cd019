"""The mount plan of a container."""

from pathlib import Path

import pytest

from embedded.node.kubelet import mounts
from embedded.node.kubelet.mounts import Bind, plan


def test_plan_missing_mount_point_mirrors_its_folder() -> None:
    steps = plan({"/etc/istio/proxy": Bind("/somewhere")})
    assert ["show", "/etc", "/etc"] not in steps
    assert ["show", "/etc/passwd", "/etc/passwd"] in steps
    assert ["bind", "/somewhere", "/etc/istio/proxy"] in steps


def test_plan_folder_without_new_mount_points_is_shown_whole() -> None:
    assert ["show", "/etc", "/etc"] in plan({"/etc/passwd": Bind("/somewhere")})


def test_plan_machine_folders_are_read_only() -> None:
    own = {"/data-of-mine/x": Bind("/somewhere")}
    assert {"/somewhere"} == {source for kind, source, _ in plan(own) if kind == "bind"}


def test_plan_hidden_folder_shows_only_python_and_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "REPOSITORY", Path("/usr/repository"))
    monkeypatch.setattr(mounts.sys, "prefix", "/usr/share/venv")
    steps = plan({}, ["/usr/share"])
    assert ["tmpfs", "755", "/usr/share"] in steps
    assert ["bind-ro", "/usr/share/venv", "/usr/share/venv"] in steps


def test_hidden_folders_name_homes_repository_and_state(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "node").mkdir(parents=True)
    hidden = mounts.hidden_folders(str(state / "node"))
    assert {str(state), str(mounts.REPOSITORY), "/home"} <= set(hidden)
    assert "/" not in mounts.hidden_folders("/state")


def test_plan_devices_are_the_containers_own() -> None:
    steps = plan({})
    assert ["tmpfs", "755", "/dev"] in steps
    assert ["show", "/dev", "/dev"] not in steps
    assert ["show", "/dev/null", "/dev/null"] in steps


def test_plan_read_only_root_seals_folders_that_no_volume_covers() -> None:
    steps = plan({"/tmp": Bind("/a-volume")}, read_only=True)
    sealed = {target for kind, _, target in steps if kind == "read-only"}
    assert {"/", "/run", "/var/tmp"} <= sealed
    assert not {target for target in sealed if target.startswith(("/tmp", "/dev"))}
    assert [step for step in plan({}) if step[0] == "read-only"] == []


def test_plan_volume_above_python_leaves_python_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts.sys, "prefix", "/tmp/clone/venv")
    steps = plan({"/tmp": Bind("/a-volume")}, ["/tmp/clone"])
    volume = steps.index(["bind", "/a-volume", "/tmp"])
    assert ["bind-ro", "/tmp/clone/venv", "/tmp/clone/venv"] in steps[volume:]


def test_plan_mount_below_a_volume_creates_its_folder_in_the_volume() -> None:
    steps = plan({"/usr": Bind("/a-volume"), "/usr/bin": Bind("/")})
    volume = steps.index(["bind", "/a-volume", "/usr"])
    assert steps[volume + 1 : volume + 3] == [["dir", "", "/usr/bin"], ["bind", "/", "/usr/bin"]]


def test_plan_read_only_volume_is_sealed_after_the_mounts_inside_it() -> None:
    steps = plan({"/etc/web": Bind("/outer", read_only=True), "/etc/web/certs": Bind("/", read_only=True)})
    found = [step for step in steps if step[2].startswith("/etc/web")]
    assert found[-4:] == [
        ["bind", "/outer", "/etc/web"],
        ["dir", "", "/etc/web/certs"],
        ["bind-ro", "/", "/etc/web/certs"],
        ["read-only", "", "/etc/web"],
    ]


@pytest.mark.parametrize("cwd", ["/app-of-mine", "/usr/folder-of-mine/app"])
def test_plan_working_directory_that_is_missing_is_created_before_the_root_is_sealed(cwd: str) -> None:
    steps = plan({}, cwd=cwd, read_only=True)
    assert ["show", "/usr", "/usr"] in plan({})
    assert ("usr" in cwd) == (["show", "/usr", "/usr"] not in steps)
    assert steps.index(["dir", "", cwd]) < steps.index(["read-only", "", "/"])
