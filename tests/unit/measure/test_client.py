"""The reader of the client script, with a kubectl that runs the script on this machine."""

import time
from pathlib import Path

import pytest

from tests.unit.configs import lab_config
from tests.unit.measure.servers import install, serving
from waypoint_lab.config.app_models import AppSettings
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError, ProbeError
from waypoint_lab.measure import client
from waypoint_lab.measure.client import Client, Endpoint, Group, Load, send


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the script here, and let the Service be on this machine."""
    install(tmp_path, monkeypatch)
    task = client.task

    def near(config: LabConfig, group: Group) -> dict[str, object]:
        found = task(config, group)
        for endpoint in found["endpoints"]:  # type: ignore[attr-defined]
            endpoint["host"] = "127.0.0.1"
        return found

    monkeypatch.setattr(client, "task", near)


@pytest.mark.usefixtures("local")
def test_send_returns_the_answers_of_each_group() -> None:
    with serving() as server:
        config = LabConfig(app=AppSettings(port=server.server_port))
        first, second = send(config, [Group(rounds=30), Group(rounds=5, endpoints=(Endpoint(method="HEAD"),))])
    assert [(one.status, one.identity) for one in first] == [(200, "red")] * 30
    assert [one.status for one in second] == [501] * 5


@pytest.mark.usefixtures("local")
def test_client_streams_rounds_and_ends_with_its_context() -> None:
    with serving() as server:
        began = time.monotonic()
        pair = Group(endpoints=(Endpoint("reviews-a"), Endpoint("reviews-b")), workers=2)
        with Client(LabConfig(app=AppSettings(port=server.server_port)), [pair], 60) as running:
            rounds = []
            while len(rounds) < 20:
                rounds += running.read(5.0) or []
        assert time.monotonic() - began < 10
    assert {2} == {len(answers) for answers in rounds}


@pytest.mark.usefixtures("local")
def test_load_lasts_until_it_is_stopped() -> None:
    with serving() as server:
        load = Load(LabConfig(app=AppSettings(port=server.server_port)), 600, workers=2, fresh_workers=1)
        server.wait_for(20)
        found = load.stop()
    assert len(found) > 5
    assert {"200"} == {one.outcome for one in found}


@pytest.mark.usefixtures("local")
def test_load_outlasts_the_limit_of_the_change() -> None:
    with serving() as server:
        load = Load(LabConfig(app=AppSettings(port=server.server_port)), 0.1, workers=1)
        server.wait_for(1)
        time.sleep(0.5)
        assert load.stop()


@pytest.mark.usefixtures("local")
def test_load_that_ended_before_the_change_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LOAD_MARGIN_SECONDS", 0.0)
    with serving() as server:
        load = Load(LabConfig(app=AppSettings(port=server.server_port)), 0.1, workers=1)
        load._client._process.wait(10)
        with pytest.raises(ProbeError, match=r"^background requests: they ended before the change; "):
            load.stop()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo a >&2; echo forbidden >&2; exit 1", "cannot send requests: forbidden"),
        (
            """echo 'exec failed: "python3": executable file not found in $PATH' >&2; echo end >&2; exit 1""",
            "it has no python3; set app.client to a workload that has, or remove app.client for a probe Pod",
        ),
        ("exit 1", "cannot send requests: the client script ended too early"),
        (
            """printf '[[[200, "a", true'; echo 'error: connection reset by peer' >&2; exit 1""",
            "cannot send requests: error: connection reset by peer",
        ),
        ("echo no answer", "cannot send requests: the client script ended too early"),
        ("echo '[]'", "cannot send requests: the client script ended too early"),
    ],
)
def test_send_without_a_complete_answer_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    install(tmp_path, monkeypatch, f"#!/bin/sh\n{script}\n")
    with pytest.raises(ProbeError) as caught:
        send(LabConfig(), [Group(rounds=1)])
    assert f"deploy/productpage-v1 in bookinfo-frontends: {said}" == str(caught.value)


def test_send_with_a_kubectl_that_does_not_end_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "#!/bin/sh\necho forbidden >&2\nexec sleep 60 >&-\n")
    monkeypatch.setattr(client, "END_SECONDS", 0.1)
    with pytest.raises(ProbeError, match=r"cannot send requests: forbidden$"):
        send(LabConfig(), [Group(rounds=1)])


def test_client_exit_ends_the_children_of_a_wrapper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "#!/bin/sh\nsleep 60\n:\n")
    began = time.monotonic()
    with Client(LabConfig(), [Group()], 60):
        pass
    assert time.monotonic() - began < 30


def test_send_with_a_wrapper_that_fails_before_its_children_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "#!/bin/sh\nsleep 60 >&- &\necho forbidden >&2\nexit 1\n")
    began = time.monotonic()
    with pytest.raises(ProbeError, match=r"cannot send requests: forbidden$"):
        send(LabConfig(), [Group(rounds=1)])
    assert time.monotonic() - began < 30


@pytest.mark.usefixtures("local")
def test_send_text_that_is_not_ascii() -> None:
    with serving() as server:
        config = lab_config(app={"port": server.server_port, "request": {"headers": {"User-Agent": "日本 müller"}}})
        send(config, [Group(rounds=1)])
    assert [agent.encode("latin-1").decode() for agent in server.agents] == ["日本 müller"]


def test_client_that_does_not_end_in_time_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(client, "END_SECONDS", -60.0)
    with (
        Client(LabConfig(), [Group()], 0.0) as running,
        pytest.raises(ProbeError, match="the client script did not end in time"),
    ):
        running.read(0.01)


def test_client_that_is_silent_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(client, "SILENT_SECONDS", 0.1)
    with Client(LabConfig(), [Group()], 60) as running:
        time.sleep(0.2)
        with pytest.raises(ProbeError, match="no line from the client script for"):
            running.read(0.01)


def test_send_without_kubectl_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KubectlError, match=r"^kubectl is not on PATH; "):
        send(LabConfig(), [Group(rounds=1)])
