"""Groups that processes may have."""

from pathlib import Path

import pytest

from embedded import groups


@pytest.mark.parametrize(
    ("setgroups", "gid_map", "expected"),
    [
        ("allow", "         0          0 4294967295\n", True),
        ("allow", "0 1000 1\n1 100000 65536\n", True),
        ("allow", "0 1000 1\n", False),
        ("deny", "0 1000 1\n", False),
        ("deny", "0 0 4294967295\n", False),
    ],
)
def test_available_needs_more_than_one_group_and_leave_to_set_them(
    tmp_path: Path, setgroups: str, gid_map: str, expected: bool
) -> None:
    (tmp_path / "setgroups").write_text(f"{setgroups}\n")
    (tmp_path / "gid_map").write_text(gid_map)
    assert expected == groups.available(tmp_path)
