"""Updates beside a lock or a signal."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from waypoint_lab import masking, pulumi_cli
from waypoint_lab.errors import ConfigError, PulumiError
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.signals import SIGNALS, handled
from waypoint_lab.signals import interrupt as raise_interrupt

FILE = "config:\n  waypoint-lab:canary: {weight: 20}\n  waypoint-lab:stages:\n    waypoint: true\n"
LOCKED = (
    "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the "
    "lock file with `pulumi cancel`.\n  file:///x.json: created by me@{host} (pid {pid}) at 2026-01-01T00:00:00Z"
)


def pulumi(folder: Path, monkeypatch: pytest.MonkeyPatch, lock_of: str, host: str = "$(hostname)") -> Path:
    """A stand-in that is locked until `pulumi cancel`; returns the file with its calls."""
    (folder / "Pulumi.dev.yaml").write_text(FILE.replace("waypoint: true", "waypoint: true\n    canary: true"))
    text = LOCKED.replace("`", "").replace("{host}", host).replace("{pid}", lock_of)
    calls = folder / "calls"
    (folder / "locked").touch()
    (folder / "pulumi").write_text(
        f'#!/bin/sh\necho "$1" >> {calls}\n[ "$1" != cancel ] || rm {folder}/locked\n'
        f'[ ! -e {folder}/locked ] || {{ echo "{text}"; exit 255; }}\n'
    )
    (folder / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return calls


def test_up_with_lock_of_ended_process_removes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    calls = pulumi(tmp_path, monkeypatch, str(gone.pid))
    PulumiStack(tmp_path, "dev").up_unchecked()
    assert calls.read_text().split() == ["up", "cancel", "up"]


def test_up_with_lock_of_ended_process_that_its_parent_has_not_read_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ended").mkdir()
    script = tmp_path / "ended" / "pulumi"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    with subprocess.Popen([str(script)]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        calls = pulumi(tmp_path, monkeypatch, str(ended.pid))
        PulumiStack(tmp_path, "dev").up_unchecked()
    assert calls.read_text().split() == ["up", "cancel", "up"]


def test_up_with_lock_of_running_process_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pulumi(tmp_path, monkeypatch, str(os.getpid()))
    monkeypatch.setattr(pulumi_cli, "LOCK_SECONDS", 0.3)
    monkeypatch.setattr(pulumi_cli, "_is_pulumi", lambda _pid: True)
    with pytest.raises(PulumiError, match="the stack is currently locked"):
        PulumiStack(tmp_path, "dev").up_unchecked()
    assert "cancel" not in calls.read_text().split()


def test_rollback_with_a_stop_request_waits_for_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pulumi(tmp_path, monkeypatch, str(os.getpid()))
    runs = [False, True, True]

    def is_pulumi(_pid: int) -> bool:
        if len(runs) == 1:
            (tmp_path / "locked").unlink()
        return runs.pop()

    monkeypatch.setattr(pulumi_cli, "_is_pulumi", is_pulumi)
    PulumiStack(tmp_path, "dev", lambda: "SIGINT").up_unchecked()
    assert calls.read_text().split() == ["up", "up"]


def test_up_with_a_stop_request_does_not_wait_for_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [""]
    pulumi(tmp_path, monkeypatch, str(os.getpid()))
    monkeypatch.setattr(pulumi_cli, "_is_pulumi", lambda _pid: not asked.append("SIGINT"))
    began = time.monotonic()
    with pytest.raises(PulumiError, match="the stack is currently locked"):
        PulumiStack(tmp_path, "dev", lambda: asked[-1]).up()
    assert time.monotonic() - began < 10


def test_up_with_output_that_is_no_text_replaces_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pulumi(tmp_path, monkeypatch, "1")
    (tmp_path / "pulumi").write_text("#!/bin/sh\nprintf 'error: ag\\377ent\\n'; exit 1\n")
    with pytest.raises(PulumiError, match=r"^ag\ufffdent$"):
        PulumiStack(tmp_path, "dev").up_unchecked()
    with pytest.raises(PulumiError, match=r"^pulumi stack failed: ag\ufffdent$"):
        pulumi_cli.pulumi(tmp_path, "stack")


def test_up_with_lock_of_another_machine_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pulumi(tmp_path, monkeypatch, "1", host="elsewhere")
    with pytest.raises(PulumiError, match="the stack is currently locked"):
        PulumiStack(tmp_path, "dev").up_unchecked()
    assert calls.read_text().split() == ["up"]


SLOW = """#!/bin/sh
trap 'sleep 0.3; echo state written >> {calls}; exit 1' INT
touch {folder}/running
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_interrupted_waits_for_pulumi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    calls = pulumi(tmp_path, monkeypatch, "1")
    (tmp_path / "pulumi").write_text(SLOW.format(calls=calls, folder=tmp_path))

    def interrupt() -> None:
        while not (tmp_path / "running").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)
        time.sleep(0.1)
        os.kill(os.getpid(), number)  # a second signal changes nothing

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt), handled(raise_interrupt, SIGNALS):
        PulumiStack(tmp_path, "dev").up_unchecked()
    sender.join()
    assert calls.read_text() == "state written\n"


def test_up_past_the_limit_is_stopped_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pulumi(tmp_path, monkeypatch, "1")
    (tmp_path / "pulumi").write_text(SLOW.format(calls=calls, folder=tmp_path))
    monkeypatch.setattr(pulumi_cli, "UP_SECONDS", 0.5)
    with pytest.raises(PulumiError, match=r"did not end within 0\.5 s and was stopped"):
        PulumiStack(tmp_path, "dev").up_unchecked()
    assert calls.read_text() == "state written\n"


def test_reason_returns_the_line_of_the_cause() -> None:
    output = 'warning: x\n    error: update failed\n  error: before hook "g" failed: gate at 5 %: share\n'
    assert pulumi_cli.reason(output) == 'before hook "g" failed: gate at 5 %: share'
    assert pulumi_cli.reason("") == "no message"


ROTATED = """config:
  waypoint-lab:stages: {waypoint: true, canary: true}
  waypoint-lab:canary: {weight: 20, cohort: {path: /new}, requestHeaders: {x-plain: same}}
"""


@pytest.mark.parametrize(("file", "shown"), [(ROTATED, "[secret] same"), ("config: {a: 1, a: 2}", "[secret] [secret]")])
def test_deployed_secret_that_the_file_does_not_have_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, shown: str
) -> None:
    monkeypatch.setattr(masking, "_known", set())
    (tmp_path / "Pulumi.dev.yaml").write_text(file)
    marks = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}
    old, same = ({**marks, "plaintext": json.dumps(text)} for text in ("/old", "same"))
    canary = {"cohort": {"path": old}, "requestHeaders": {"x-plain": same}}
    declared = {"stages": {"waypoint": True, "canary": True}, "canary": canary}
    root = {"type": "pulumi:pulumi:Stack", "outputs": {"declared": declared}}
    state = json.dumps({"deployment": {"resources": [root]}})
    monkeypatch.setattr(pulumi_cli, "pulumi", lambda *_arguments: state)
    found = PulumiStack(tmp_path, "dev").deployed()
    assert found.canary.cohort
    assert found.canary.cohort.path == "/old"
    assert masking.hidden("/old same") == shown


def test_set_in_a_file_with_a_key_twice_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    file, text = tmp_path / "Pulumi.dev.yaml", "config: {waypoint-lab:canary: {}, waypoint-lab:canary: {weight: 5}}"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"^Pulumi.dev.yaml: .*waypoint-lab:canary is there twice"):
        PulumiStack(tmp_path, "dev").set({"canary.weight": 7})
    assert file.read_text() == text
