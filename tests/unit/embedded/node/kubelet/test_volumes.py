"""Volumes of a Pod."""

import asyncio
import os
from pathlib import Path

import pytest

from embedded.node.kubelet import environment, volumes
from tests.unit.embedded.node.documents import POD, Memory


def test_write_atomically_new_files_replace_all_old_ones(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    assert volumes.write_atomically(folder, {"a": (b"1", 0o644), "d/b": (b"2", 0o600)})
    assert not volumes.write_atomically(folder, {"a": (b"1", 0o644), "d/b": (b"2", 0o600)})
    assert volumes.write_atomically(folder, {"a": (b"3", 0o644)})
    assert (folder / "a").read_bytes() == b"3"
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("..")) == ["a"]
    assert len([path for path in folder.iterdir() if path.name.startswith("..")]) == 2  # the data and its link


def test_write_atomically_path_outside_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(environment.MissingReference, match="leaves its volume"):
        volumes.write_atomically(tmp_path / "v", {"../../x": (b"", 0o644)})


def test_volumes_token_is_renewed_at_80_percent_of_its_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(volumes.time, "time", lambda: clock[0])
    store = Memory()
    source = {"serviceAccountToken": {"path": "token", "audience": "me", "expirationSeconds": 600}}
    pod = {**POD, "spec": {"volumes": [{"name": "t", "projected": {"sources": [source]}}]}}
    held = volumes.Volumes(tmp_path, store, {})

    def shown(at: float) -> str:
        clock[0] = at
        asyncio.run(held.sync(pod))
        return (tmp_path / "t" / "token").read_text()

    assert shown(1000) == shown(1479) == "token-1-me"
    assert held.renew_at() == 1480
    assert shown(1480) == "token-2-me"


def test_volumes_missing_config_map_is_refused_unless_optional(tmp_path: Path) -> None:
    def sync(optional: bool) -> None:
        spec = {"volumes": [{"name": "v", "configMap": {"name": "none", "optional": optional}}]}
        asyncio.run(volumes.Volumes(tmp_path, Memory(), {}).sync({**POD, "spec": spec}))

    sync(True)
    assert (tmp_path / "v").is_dir()
    with pytest.raises(environment.MissingReference, match='configmap "none" not found'):
        sync(False)


def test_write_atomically_leaves_places_of_other_mounts(tmp_path: Path) -> None:
    assert volumes.write_atomically(tmp_path, {"a": (b"1", 0o644)})
    (tmp_path / "certs").mkdir()
    (tmp_path / "file").touch()
    assert volumes.write_atomically(tmp_path, {"b": (b"2", 0o644), "certs": (b"3", 0o644)})
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("..")) == ["b", "certs", "file"]


def test_volumes_are_updated_beside_one_whose_source_is_gone(tmp_path: Path) -> None:
    store = Memory()
    store.maps["other"] = {"key": b"1"}
    specs = [{"name": name, "configMap": {"name": name}} for name in ("cm", "other")]
    held, pod = volumes.Volumes(tmp_path, store, {}), {**POD, "spec": {"volumes": specs}}
    asyncio.run(held.sync(pod))
    del store.maps["cm"]
    store.maps["other"] = {"key": b"2"}
    with pytest.raises(environment.MissingReference, match='configmap "cm" not found'):
        asyncio.run(held.sync(pod))
    assert [(tmp_path / name / "key").read_bytes() for name in ("cm", "other")] == [b"value", b"2"]


def test_volumes_sub_path_is_created_behind_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "volumes"
    outside.mkdir()
    held = volumes.Volumes(folder, Memory(), {})
    asyncio.run(held.sync({**POD, "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}))
    assert held.path("v", "a/b") == folder / "v" / "a" / "b"
    assert (folder / "v" / "a" / "b").stat().st_mode & 0o777 == 0o777
    make = volumes._make

    def swapped(*given: Path) -> None:
        os.symlink(outside, folder / "v" / "link")  # by a container, after the check
        make(*given)

    monkeypatch.setattr(volumes, "_make", swapped)
    with pytest.raises(OSError, match="link"):
        held.path("v", "link/made")
    assert [*outside.iterdir()] == []
