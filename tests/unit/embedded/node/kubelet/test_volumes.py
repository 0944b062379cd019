"""Volumes of a Pod."""

import asyncio
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
