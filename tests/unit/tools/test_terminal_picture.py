"""The picture of the live view asks for nothing outside, and is that of the snapshot."""

import json
from pathlib import Path

from tests.unit.cli.snapshots import BUSY
from tools import terminal_picture
from waypoint_lab.live.model import to_json


def test_picture_has_the_view_and_no_address_outside(tmp_path: Path) -> None:
    source, target = tmp_path / "snapshot.json", tmp_path / "pictures" / "watch.svg"
    source.write_text(json.dumps(to_json(BUSY)))
    assert terminal_picture.main([str(source), str(target)]) == 0
    text = target.read_text()
    assert "reviews-stable" in text
    addresses = {"http://www.w3.org/2000/svg", "https://www.textualize.io"}  # a name and a comment
    assert text.count("http") == sum(text.count(one) for one in addresses)
    assert "font-face" not in text


def test_picture_without_files_is_a_usage_error() -> None:
    assert terminal_picture.main([]) == 2
