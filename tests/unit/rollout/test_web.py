"""Posts to a server whose answer is stalled or cut."""

import pytest

from tests.unit.measure.servers import CUT, STALLED, answering
from waypoint_lab.rollout import web


@pytest.mark.parametrize("answer", [CUT, STALLED])
def test_post_with_a_stalled_or_cut_error_has_no_text(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with answering(answer) as url:
        assert web.post(url, {}, 0.2) == (503, "")
