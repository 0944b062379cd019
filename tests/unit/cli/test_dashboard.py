"""`lab dashboard --open` shows the address to nobody else."""

from pathlib import Path
from urllib.parse import urlsplit

from waypoint_lab.cli.dashboard import redirecting

ADDRESS = "http://127.0.0.1:40123/t0ken/"


def test_redirecting_keeps_the_address_in_a_file_of_this_user_alone() -> None:
    with redirecting(ADDRESS) as uri:
        file = Path(urlsplit(uri).path)
        assert "t0ken" not in uri
        assert f"url={ADDRESS}" in file.read_text()
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not file.parent.exists()
