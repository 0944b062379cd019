"""The build of the toolchain on a machine whose Go caches are empty."""

import json
from pathlib import Path

import pytest

from embedded.toolchain import build, go


def test_overlay_downloads_the_module_of_the_provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = go.find_go()
    cache, proxy = go.run_go(command, "env", "GOMODCACHE", "GOPROXY").split()
    # The files that Go downloaded before come first.
    monkeypatch.setenv("GOPROXY", f"{Path(cache, 'cache', 'download').as_uri()},{proxy}")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    try:
        replaced = json.loads(Path(build._overlay(command, tmp_path)).read_text())["Replace"]
        assert len(replaced) == 2
        assert [path for path in replaced.values() if not Path(path).is_file()] == []
    finally:
        go.run_go(command, "clean", "-modcache")  # its files are read-only, so pytest cannot delete them
