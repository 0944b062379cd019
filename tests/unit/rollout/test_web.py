"""Posts to a server whose answer is stalled or cut, or that wants a password."""

import pytest

from tests.unit.chaos.test_health_checks import HEAD, Application
from tests.unit.measure.servers import CUT, STALLED, answering
from tests.unit.rollout.test_notify import server
from waypoint_lab.measure.http_answer import NoAnswerError, post


@pytest.mark.parametrize("answer", [CUT, STALLED])
def test_post_with_a_stalled_or_cut_error_has_no_text(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with answering(answer) as url:
        assert post(url, {}, 0.2) == (503, "")


@pytest.mark.parametrize("parts", [(HEAD, *[b"x"] * 8), (HEAD[:9], *[b"0"] * 8)], ids=["body", "head"])
def test_post_to_a_server_that_sends_a_byte_a_time_has_a_limit(
    monkeypatch: pytest.MonkeyPatch, parts: tuple[bytes, ...]
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Application() as server:
        server.parts, server.pause = parts, 0.1  # no pause is as long as the limit
        with pytest.raises(NoAnswerError, match=r"^http://127\.0\.0\.1:\d+ does not answer: timed out$"):
            post(server.check().url, {}, 0.3)


def test_post_with_a_password_sends_it_as_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with server(200) as there:
        assert post(there.url.replace("//", "//user:S3cret%21@"), {})[0] == 200
    assert there.got == [("/hook/t0ken", {})]
    assert there.authorization == ["Basic dXNlcjpTM2NyZXQh"]


def test_post_with_a_password_and_no_answer_does_not_show_it() -> None:
    with pytest.raises(NoAnswerError) as caught:
        post("http://user:S3cret@127.0.0.1:1/t0ken?key=k", {})
    assert str(caught.value).startswith("http://127.0.0.1:1 does not answer: ")
    assert not any(part in str(caught.value) for part in ("user", "S3cret", "t0ken", "key"))
