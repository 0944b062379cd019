"""Bookinfo's services, as processes that call each other over real connections."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded.bookinfo.pages import Tries, productpage, stars
from embedded.bookinfo.productpage import Sessions
from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0


def hosts(**ports: int) -> dict[str, str]:
    """The environment that points a service at its peers."""
    found = {f"{name.upper()}_HOSTNAME": "127.0.0.1" for name in ports}
    return {**found, **{f"{name.upper()}_SERVICE_PORT": str(port) for name, port in ports.items()}}


@contextlib.contextmanager
def running(service: str, version: str = "v1", **env: str) -> Iterator[int]:
    """The port of a service that answers on /health; ended, and its orderly end checked, afterwards."""
    port = free_port()
    argv = [sys.executable, "-m", "embedded.bookinfo", service, "--version", version, "--port", str(port)]
    process = subprocess.Popen(argv, cwd=ROOT, env={**os.environ, "HOSTNAME": f"{service}-{version}-pod", **env})
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, f"{service} ended with status {process.returncode}"
            with contextlib.suppress(OSError):
                if get(port, "/health")[0] == 200:
                    break
            assert time.monotonic() < deadline, f"{service} did not answer on /health in {START_SECONDS} s"
            time.sleep(0.05)
        yield port
        process.terminate()
        assert process.wait(10) == 0, "SIGTERM is an orderly end"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def get(
    port: int, path: str, method: str = "GET", data: bytes | None = None, **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    """Status, body and headers; redirects are not followed."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, named, method=method)
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=10) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def reviews_json(port: int) -> Any:
    status, body, _ = get(port, "/reviews/0")
    assert status == 200
    return json.loads(body)


def test_reviews_versions_have_no_black_and_red_stars() -> None:
    with running("ratings") as ratings:
        for version, color in (("v1", None), ("v2", "black"), ("v3", "red")):
            with running("reviews", version, **hosts(ratings=ratings)) as port:
                body = reviews_json(port)
            assert body["id"] == "0"
            assert body["podname"] == f"reviews-{version}-pod"
            assert [row["reviewer"] for row in body["reviews"]] == ["Reviewer1", "Reviewer2"]
            expected = [None, None] if color is None else [{"stars": stars, "color": color} for stars in (5, 4)]
            assert [row.get("rating") for row in body["reviews"]] == expected


def test_reviews_without_ratings_answers_with_an_error_field() -> None:
    with running("reviews", "v2", CLUSTER_NAME="cluster1", **hosts(ratings=free_port())) as port:
        assert reviews_json(port)["clustername"] == "cluster1"
        ratings = [row["rating"] for row in reviews_json(port)["reviews"]]
    assert ratings == [{"error": "Ratings service is currently unavailable"}] * 2


def test_reviews_delete_returns_200() -> None:
    with running("reviews") as port:
        assert get(port, "/reviews/0", "DELETE")[0] == 200


def test_reviews_keeps_one_connection_for_many_requests() -> None:
    with running("reviews") as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.connect()
            mine = connection.sock.getsockname()
            for _ in range(20):
                connection.request("GET", "/reviews/0")
                answer = connection.getresponse()
                answer.read()
                assert (answer.status, connection.sock.getsockname()) == (200, mine)
        finally:
            connection.close()


def test_details_and_ratings_invalid_id_returns_400() -> None:
    with running("details") as details, running("ratings") as ratings:
        assert json.loads(get(details, "/details/0")[1])["author"] == "William Shakespeare"
        assert json.loads(get(ratings, "/ratings/0")[1]) == {"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}
        assert [get(details, "/details/x")[0], get(ratings, "/ratings/x")[0]] == [400, 400]


def test_service_with_a_used_port_fails_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        argv = [sys.executable, "-m", "embedded.bookinfo", "details", "--port", port]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr == f"cannot listen on port {port}: Address already in use\n"


def test_productpage_signs_in_and_forwards_the_user() -> None:
    with contextlib.ExitStack() as stack:
        ratings = stack.enter_context(running("ratings"))
        reviews = stack.enter_context(running("reviews", "v3", **hosts(ratings=ratings)))
        details = stack.enter_context(running("details"))
        port = stack.enter_context(running("productpage", **hosts(reviews=reviews, details=details, ratings=ratings)))
        form = urllib.parse.urlencode({"username": "premium-user", "passwd": "any"}).encode()
        status, _, headers = get(port, "/login", "POST", form)
        assert (status, headers["Location"]) == (302, "/productpage")
        cookie = headers["Set-Cookie"].split(";")[0]
        page = get(port, "/productpage", Cookie=cookie)[1]
        assert "premium-user" in page
        assert stars(5, "red") in page
        assert "reviews-v3-pod" in page
        assert "<span id=version>v3</span>" in page
        assert "<span id=cluster>" not in page, "reviews has no CLUSTER_NAME"
        assert re.search(r"<span id=took>\d+\.\d+ s</span>", page)
        assert "Failed tries" not in page
        assert "PublisherA" in page
        assert "premium-user" not in get(port, "/productpage")[1]
        assert "premium-user" not in get(port, "/productpage", Cookie=cookie[:-1] + "0x")[1]
        assert get(port, "/login", "POST", b"username=a%0d%0ax-evil:1")[0] == 400
        body = json.loads(get(port, "/api/v1/products/0/reviews")[1])
        assert body["reviews"][0]["rating"] == {"stars": 5, "color": "red"}


def test_productpage_without_reviews_shows_an_error() -> None:
    nobody = free_port()
    with running("productpage", **hosts(reviews=nobody, details=nobody, ratings=nobody)) as port:
        status, page, _ = get(port, "/productpage")
        assert status == 200
        assert "Sorry, product reviews are currently unavailable for this book." in page
        assert "try 1: no connection (ClientConnectorError); try 2: no connection" in page
        assert get(port, "/api/v1/products/0/reviews")[0] == 500


def test_productpage_opens_a_connection_for_each_request() -> None:
    accepted: list[socket.socket] = []
    answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 18\r\n\r\nfault filter abort"

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted.append(listener.accept()[0])
                accepted[-1].recv(4096)
                accepted[-1].sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        with running("productpage", **hosts(reviews=port, details=port, ratings=port)) as page:
            shown = get(page, "/productpage")[1]
        assert len(accepted) == 3, "one of details and two tries of reviews, none on a kept connection"
        listener.shutdown(socket.SHUT_RDWR)
    for one in accepted:
        one.close()
    assert "try 1: status 503 (fault filter abort); try 2: status 503 (fault filter abort)" in shown


def test_sessions_forged_cookie_has_no_user() -> None:
    mine, other = Sessions(b"key"), Sessions(b"other")
    assert mine.user(mine.issue("jason")) == "jason"
    assert [mine.user(forged) for forged in (other.issue("jason"), None, "", "6a.x", "zz.00", "a.b.c")] == [None] * 6


def test_productpage_escapes_values_of_other_services() -> None:
    evil = "<script>"
    reviews = {"podname": evil, "reviews": [{"reviewer": evil, "text": evil, "rating": {"stars": 9, "color": evil}}]}
    reviews["clustername"] = evil
    page = productpage({"title": "t", "descriptionHtml": ""}, {"error": evil}, reviews, evil, Tries(0.1, [evil]))
    assert evil not in page


def test_bookinfo_file_enrolls_nothing_in_a_waypoint() -> None:
    items = list(yaml.safe_load_all((ROOT / "embedded" / "bookinfo" / "bookinfo.yaml").read_text()))
    deployments = {item["metadata"]["name"] for item in items if item["kind"] == "Deployment"}
    assert deployments == {"productpage-v1", "reviews-v1", "reviews-v2", "reviews-v3", "ratings-v1", "details-v1"}
    (reviews,) = [item for item in items if (item["kind"], item["metadata"]["name"]) == ("Service", "reviews")]
    ports = [{"name": "http", "port": 9080, "targetPort": 9080}]
    assert {"selector": {"app": "reviews"}, "ports": ports} == reviews["spec"]
    labelled = [
        item["metadata"]["name"] for item in items if "istio.io/use-waypoint" in item["metadata"].get("labels", {})
    ]
    assert labelled == []


@pytest.mark.parametrize("service", ["reviews", "productpage"])
def test_service_unknown_version_is_a_usage_error(service: str) -> None:
    argv = [sys.executable, "-m", "embedded.bookinfo", service, "--version", "v9"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "v9" in done.stderr


def test_reviews_fail_percent_returns_503_with_the_body() -> None:
    with (
        running("ratings") as ratings,
        running("reviews", "v3", REVIEWS_FAIL_PERCENT="100", **hosts(ratings=ratings)) as port,
    ):
        status, body, _ = get(port, "/reviews/0")
    assert status == 503
    assert json.loads(body)["reviews"][0]["rating"]["color"] == "red"


def test_reviews_invalid_fail_percent_is_one_line() -> None:
    for text in ("101", "-1", "half", "nan"):
        argv = [sys.executable, "-m", "embedded.bookinfo", "reviews", "--port", str(free_port())]
        environment = {**os.environ, "REVIEWS_FAIL_PERCENT": text}
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1
        assert done.stderr == f"REVIEWS_FAIL_PERCENT: {text!r} is no percentage; set a number from 0 to 100\n"
