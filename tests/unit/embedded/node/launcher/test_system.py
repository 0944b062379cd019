"""System calls of the launcher."""

from pathlib import Path

import pytest

from embedded.node.launcher import system


def test_held_names_a_file_that_no_link_leads_to(tmp_path: Path) -> None:
    folder, file = tmp_path.resolve() / "folder", tmp_path.resolve() / "folder" / "file"
    folder.mkdir()
    file.write_text("content")
    with system.held(str(file)) as name:
        file.rename(tmp_path / "moved")
        assert Path(name).read_text() == "content"


@pytest.mark.parametrize("path", ["link", "link/file"])
def test_held_link_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with pytest.raises(OSError, match=f"mount {tmp_path}/{path}: "), system.held(str(tmp_path / path)):
        pass
