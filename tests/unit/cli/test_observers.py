from pathlib import Path

import pytest

from tests.unit.rollout.test_notify import server
from waypoint_lab import masking
from waypoint_lab.cli import observers
from waypoint_lab.errors import ConfigError
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.rollout.journal import Journal

SECRET = "config:\n  waypoint-lab:notify:\n    webhook:\n      secure: v1:abc\n"


def stack(folder: Path, text: str) -> PulumiStack:
    (folder / "Pulumi.dev.yaml").write_text(text)
    return PulumiStack(folder, "dev")


def test_observed_without_settings_adds_no_observer(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "dev")
    with observers.observed(journal, stack(tmp_path, "config: {}\n"), print):
        assert journal.observers == []


def test_observed_notifies_the_secret_webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    journal = Journal(tmp_path, "dev")
    with server(200) as there:
        monkeypatch.setattr(PulumiStack, "_read_secrets", lambda stack: stack._secrets.update({"v1:abc": there.url}))
        with observers.observed(journal, stack(tmp_path, SECRET), print):
            journal.append("rollback", "p", why="by hand")
    assert [one["text"] for _, one in there.got] == ["dev, bookinfo-backends/reviews: rolling back: by hand"]


def test_observed_with_a_bad_secret_is_one_line_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(stack: PulumiStack) -> None:
        stack._secrets["v1:abc"] = "file:///etc/t0ken"
        masking.remember(stack._secrets.values())

    monkeypatch.setattr(masking, "_known", set())
    monkeypatch.setattr(PulumiStack, "_read_secrets", read)
    with (
        pytest.raises(
            ConfigError, match=r'^waypoint-lab:notify\.webhook: "\[secret\]" is not valid; use empty, or an http'
        ) as caught,
        observers.observed(Journal(tmp_path, "dev"), stack(tmp_path, SECRET), print),
    ):
        pass
    assert "t0ken" not in str(caught.value)


def test_observed_keeps_the_file_of_metrics(tmp_path: Path) -> None:
    journal, file = Journal(tmp_path, "dev"), tmp_path / "lab.prom"
    with observers.observed(journal, stack(tmp_path, "config: {}\n"), print, metrics_file=file):
        journal.append("start", "p", **{"from": {"weight": 0, "cohort": ""}}, steps=[{"weight": 5, "cohort": ""}])
    assert 'waypoint_lab_promotion_steps{stack="dev"} 1' in file.read_text()
