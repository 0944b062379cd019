"""Schedules of faults: the file, and the settings of a fault."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.configs import lab_config, of_step
from waypoint_lab.chaos import health_checks, schedule
from waypoint_lab.chaos.health_checks import HealthMonitor
from waypoint_lab.chaos.schedule import step_of
from waypoint_lab.chaos.schedule_file import HealthCheck, Schedule, ScheduledFault, load
from waypoint_lab.config.settings import SKIP_GATE, LabConfig
from waypoint_lab.config.traffic_models import AbortSettings, DelaySettings, HeaderSettings
from waypoint_lab.errors import ConfigError, NotSyncedError, PulumiError
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.verify import Measurement, Verdict
from waypoint_lab.pulumi_cli import PulumiStack

HEALTH = "health: {url: 'http://127.0.0.1:1/'}\n"
CHECK = HealthCheck(url="http://127.0.0.1:1/")
FAULT = ScheduledFault(start_seconds=0, duration_seconds=60, abort=AbortSettings())
BEFORE = "config:\n  waypoint-lab:stages:\n    waypoint: true\n"
# An update that starts a fault runs until it is stopped.
PULUMI = f"""#!/bin/sh
[ "$1" = up ] || exit 0
[ -z "${SKIP_GATE}" ] || exec touch removed
touch started
exec sleep 60
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("faults: []\n", "exactly the keys health and faults"),
        ("health: {url: nowhere}\nfaults: [{startSeconds: 0, durationSeconds: 5, abort: {percent: 1}}]", "health.url"),
        (HEALTH + "faults: []", "a list of at least one fault"),
        (HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5}]", "faults.0.: it has no effect"),
        (HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5, abort: {procent: 1}}]", "did you mean percent"),
        (
            HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5000, abort: {}}]",
            "5000 is not valid",
        ),
        (HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5, abort: {percent: 101}}]", "abort.percent: 101"),
        (
            HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5, abort: {}}, "
            "{startSeconds: 4, durationSeconds: 5, abort: {}}]",
            "the fault before ends later; use ",
        ),
    ],
)
def test_load_bad_schedule_names_the_entry(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "schedule.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(file)


@pytest.mark.parametrize(
    "content",
    [
        b"# f\xfcr Montag\nfaults: []\n",
        f"{HEALTH}faults:\n- startSeconds: 0\n  startSeconds: 5\n".encode(),
    ],
)
def test_load_file_that_is_not_utf_8_or_has_a_key_twice_is_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "schedule.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^{file}: it cannot be read: .*$"):
        load(file)


@pytest.mark.parametrize("text", ["12:30", "on", "0o", "2026-13-01"])
def test_load_reads_text_as_the_file_of_a_stack_does(tmp_path: Path, text: str) -> None:
    file = tmp_path / "schedule.yaml"
    file.write_text(
        f"{HEALTH}faults: [{{startSeconds: 0, durationSeconds: 5, abort: {{}}, header: {{name: a, value: {text}}}}}]"
    )
    (fault,) = load(file).faults
    assert fault.header
    assert fault.header.value == text


def test_step_of_fault_has_expiry_and_keeps_the_canary(tmp_path: Path) -> None:
    file = tmp_path / "schedule.yaml"
    file.write_text(
        HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5, abort: {percent: 1.5}, "
        "header: {name: end-user, value: jane}}]"
    )
    (entry,) = load(file).faults
    step = step_of(entry, lab_config("waypoint", "canary"), "now")
    found = of_step(step.on, step.settings)
    assert (found.fault.duration_seconds, found.fault.start) == (35.0, "now")
    assert found.uses_virtual_service
    assert found.fault.header_pair == ("end-user", "jane")
    assert found.stages.on == {"waypoint", "canary", "abort"}


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PulumiStack:
    """Return a stack whose application is healthy until the first fault is applied."""
    (tmp_path / "pulumi").write_text(PULUMI)
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(health_checks, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(HealthMonitor, "problem", lambda _self: "down" if (tmp_path / "started").exists() else "")
    made = PulumiStack(tmp_path, "dev")
    made.file.write_text(BEFORE)
    return made


def run(stack: PulumiStack) -> tuple[int, list[str]]:
    """Run a schedule of one fault. Return its exit status and its lines."""
    said = list[str]()
    plan = Schedule(health=CHECK, faults=(FAULT,))
    return schedule.run(stack, plan, stack.config(), said.append, lambda _verdicts: None), said


def test_run_unhealthy_during_an_update_stops_the_update(stack: PulumiStack) -> None:
    began = time.monotonic()
    assert run(stack) == (1, ["the stack is restored", "stopped: down"])
    assert time.monotonic() - began < 30
    assert (stack.folder / "removed").exists()
    assert stack.file.read_text() == BEFORE


@pytest.mark.parametrize(
    ("results", "status", "shown"),
    [
        ([Verdict.PASSED, Verdict.PASSED], 0, ["abort", "delay"]),
        ([Verdict.FAILED, Verdict.PASSED], 1, ["abort", "delay"]),
        ([None, Verdict.PASSED], 1, ["delay"]),
    ],
    ids=["as declared", "one is not", "one is not measured"],
)
def test_run_measures_each_fault_and_removes_it_before_the_next(
    stack: PulumiStack,
    monkeypatch: pytest.MonkeyPatch,
    results: list[Verdict | None],
    status: int,
    shown: list[str],
) -> None:
    updates, said, verdicts = list[set[str]](), list[str](), iter(results)

    def measured(config: LabConfig, _expects: object) -> list[Measurement]:
        name, found = *(config.stages.on & {"abort", "delay"}), next(verdicts)
        return [Measurement(name, found, 10, 0.5, 0.5, (0.4, 0.6), {})] if found else []

    def show(items: Sequence[Measurement]) -> None:
        found.extend(item.what for item in items)

    monkeypatch.setattr(HealthMonitor, "problem", lambda _self: "")
    monkeypatch.setattr(PulumiStack, "up", lambda one: updates.append({*one.config().stages.on}))
    monkeypatch.setattr(PulumiStack, "up_unchecked", lambda one: updates.append({*one.config().stages.on}))
    monkeypatch.setattr(schedule, "_wait", lambda *_arguments: None)
    monkeypatch.setattr(schedule, "measure", measured)
    faults = (
        ScheduledFault(start_seconds=0, duration_seconds=0.3, abort=AbortSettings(percent=50)),
        ScheduledFault(start_seconds=0.5, duration_seconds=0.3, delay=DelaySettings(seconds=2)),
    )
    found, began = list[str](), time.monotonic()
    plan = Schedule(health=CHECK, faults=faults)
    assert schedule.run(stack, plan, stack.config(), said.append, show) == status
    assert time.monotonic() - began >= 0.8
    assert (shown, stack.file.read_text()) == (found, BEFORE)
    plain = {"waypoint"}
    assert updates[:4] == [plain | {"abort"}, plain, plain | {"delay"}, plain]
    assert said[0] == "fault is on for 0.3 s: 50 % answered with 503"
    missing = ["the fault ended before it was measured; give it more seconds"] * (None in results)
    assert [line for line in said if "fault is on" not in line] == [*missing, "the stack is restored"]


@pytest.mark.parametrize(
    ("on", "why"),
    [(("waypoint", "abort"), r"^stages\.delay or stages\.abort is on; "), ((), r"^stages\.waypoint is off; ")],
)
def test_run_with_a_fault_or_without_a_waypoint_is_refused(stack: PulumiStack, on: tuple[str, ...], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        schedule.run(stack, Schedule(health=CHECK, faults=(FAULT,)), lab_config(*on), print, print)
    assert stack.file.read_text() == BEFORE


def test_run_of_an_update_that_fails_says_why_and_restores_the_stack(
    stack: PulumiStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_stack: PulumiStack) -> float:
        raise PulumiError("no answer")

    monkeypatch.setattr(PulumiStack, "up", fail)
    assert run(stack) == (1, ["no answer"])
    assert stack.file.read_text() == BEFORE


@pytest.mark.parametrize("cause", ["interrupted", "unhealthy"])
def test_run_not_restored_says_so_and_fails(stack: PulumiStack, monkeypatch: pytest.MonkeyPatch, cause: str) -> None:
    def interrupt(*_arguments: object) -> bool:
        raise KeyboardInterrupt

    def fail() -> float:
        raise PulumiError("no answer")

    if cause == "interrupted":
        monkeypatch.setattr(schedule, "_run_fault", interrupt)
    monkeypatch.setattr(stack, "up_unchecked", fail)
    status, said = run(stack)
    assert status == 1
    assert said[0].startswith("Pulumi.dev.yaml is restored, but the stack's resources are not: no answer; run ")
    assert said[1:] == ([] if cause == "interrupted" else ["stopped: down"])


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"abort": AbortSettings(percent=0)}, "it hits nothing: fault.abort.percent is 0; "),
        ({"delay": DelaySettings(), "at": "upstream"}, "it hits nothing: no request goes to reviews-baseline, "),
        ({"delay": DelaySettings(), "header": HeaderSettings("X-Tenant", "qa")}, "fault.header: app.request has this"),
    ],
)
def test_run_fault_that_cannot_be_measured_is_refused_before_the_first(
    stack: PulumiStack, fault: dict[str, Any], why: str
) -> None:
    base = lab_config(
        "waypoint",
        "canary",
        canary={"weight": 100},
        app={"request": {"path": "/reviews/0", "headers": {"x-tenant": "qa"}}},
    )
    plan = Schedule(health=CHECK, faults=(FAULT, ScheduledFault(start_seconds=60, duration_seconds=5, **fault)))
    with pytest.raises(ConfigError, match=rf"^faults\[1\]: {why}"):
        schedule.run(stack, plan, base, print, print)
    assert stack.file.read_text() == BEFORE


def test_wait_unhealthy_before_the_sync_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def difference(_config: object) -> str:
        monitor.unhealthy.set()
        return "Pod w-1: the waypoint aborts 0 %"

    monitor = HealthMonitor(CHECK)
    monkeypatch.setattr(envoy_config, "difference", difference)
    began = time.monotonic()
    schedule._wait(lab_config("waypoint"), monitor)
    assert time.monotonic() - began < envoy_config.LIMIT_SECONDS / 2


def test_wait_not_in_sync_names_the_difference_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envoy_config, "difference", lambda _config: "Pod w-1: the waypoint aborts 0 %")
    monkeypatch.setattr(envoy_config, "LIMIT_SECONDS", 0.05)
    with pytest.raises(NotSyncedError) as caught:
        schedule._wait(lab_config("waypoint"), HealthMonitor(CHECK))
    assert str(caught.value) == "the declared configuration: not within 0.05 s: Pod w-1: the waypoint aborts 0 %"
