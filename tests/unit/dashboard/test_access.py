"""The checks of each request to the dashboard."""

import pytest

from waypoint_lab.dashboard.access import PageAccess

ACCESS = PageAccess("secret-word", 8123)
HOST = {"Host": "127.0.0.1:8123"}
OWN = {**HOST, "Origin": "http://127.0.0.1:8123"}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/secret-word/", HOST),
        ("GET", "/secret-word/dashboard.js", {**HOST, "Sec-Fetch-Site": "same-origin"}),
        ("GET", "/secret-word/", {**HOST, "Sec-Fetch-Site": "cross-site"}),  # a link that was followed
        ("GET", "/secret-word/", {"Host": "localhost:8123"}),
        ("POST", "/secret-word/actions/pause", OWN),
    ],
)
def test_refusal_of_own_address_is_empty(method: str, path: str, headers: dict[str, str]) -> None:
    assert ACCESS.refusal(method, path, headers) == ""


@pytest.mark.parametrize(
    ("method", "path", "headers", "why"),
    [
        ("GET", "/", HOST, "token"),
        ("GET", "/secret-word", HOST, "token"),
        ("GET", "/secret-wor/", HOST, "token"),
        ("GET", "/secret-word-and-more/", HOST, "token"),
        ("GET", "//secret-word/", HOST, "token"),
        ("GET", "/ünicode/", HOST, "token"),
        ("GET", "/secret-word/", {}, "host"),
        ("GET", "/secret-word/", {"Host": "127.0.0.1:8124"}, "host"),
        ("GET", "/secret-word/", {"Host": "evil.example:8123"}, "host"),  # a name that resolves to this machine
        ("GET", "/secret-word/events", {**HOST, "Origin": "http://evil.example"}, "origin"),
        ("GET", "/secret-word/events", {**HOST, "Origin": "null"}, "origin"),
        ("GET", "/secret-word/events", {**HOST, "origin": "http://evil.example"}, "origin"),
        ("GET", "/secret-word/events", {**HOST, "Origin": "https://127.0.0.1:8123"}, "origin"),
        ("GET", "/secret-word/events", {**HOST, "Sec-Fetch-Site": "cross-site"}, "another site"),
        ("GET", "/secret-word/events", {**HOST, "Sec-Fetch-Site": "same-site"}, "another site"),
        ("POST", "/secret-word/actions/pause", HOST, "origin"),
        ("POST", "/secret-word/actions/pause", {**OWN, "Origin": "http://127.0.0.1:8124"}, "origin"),
        ("POST", "/actions/pause", OWN, "token"),
    ],
)
def test_refusal_of_other_requests_names_the_reason(method: str, path: str, headers: dict[str, str], why: str) -> None:
    assert why in ACCESS.refusal(method, path, headers)


def test_refusal_at_the_port_that_browsers_leave_out_is_empty() -> None:
    access = PageAccess("secret-word", 80)
    assert access.address == "http://127.0.0.1/secret-word/"
    for host in ("127.0.0.1", "localhost", "127.0.0.1:80"):
        headers = {"Host": host, "Origin": f"http://{host.removesuffix(':80')}"}
        assert access.refusal("POST", "/secret-word/actions/pause", headers) == ""
    assert "host" in access.refusal("GET", "/secret-word/", {"Host": "127.0.0.1:8123"})
    assert "host" in ACCESS.refusal("GET", "/secret-word/", {"Host": "127.0.0.1:80"})
