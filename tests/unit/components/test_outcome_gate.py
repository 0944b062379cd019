"""`OutcomeObservation` and `OutcomeGate`: the commands that they register."""

import shlex
import subprocess
from typing import Any

import pulumi
import pytest

from components import OutcomeGate, OutcomeObservation
from tests.unit.components.recording import Recording, run

OBSERVATION: dict[str, Any] = {"namespace": "shop", "triggers": ["v1"]}
GATE: dict[str, Any] = {"observation": "{}"}


def words(record: Recording, name: str) -> list[str]:
    """Return the words of the `lab` command of a component."""
    text = record.inputs(f"{name}-command")["create"]
    return shlex.split(text.partition("exec ")[2])


def test_observation_runs_lab_with_its_arguments() -> None:
    args = {**OBSERVATION, "seconds": 60, "context": "my cluster", "kubeconfig": "/k"}
    record = run(lambda: OutcomeObservation("before", args))
    observe = ["lab", "outcome", "observe", "--namespace", "shop", "--seconds", "60"]
    assert words(record, "before") == [*observe, "--kubeconfig", "/k", "--context", "my cluster"]
    found = record.inputs("before-command")
    assert (found["triggers"], found["logging"], found["addPreviousOutputInEnv"]) == (["v1"], "stderr", False)
    assert record.made["before-command"].typ == "command:local:Command"


def test_gate_compares_with_the_observation_and_runs_again_for_a_new_one() -> None:
    records = [run(lambda text=text: OutcomeGate("after", {"observation": text})) for text in ("a", "a", "b")]
    inputs = [record.inputs("after-command") for record in records]
    assert [found["stdin"] for found in inputs] == ["a", "a", "b"]
    assert inputs[0]["triggers"] == inputs[1]["triggers"] != inputs[2]["triggers"]
    assert words(records[0], "after") == ["lab", "outcome", "compare", "--json"]


@pytest.mark.parametrize(("component", "args"), [(OutcomeObservation, OBSERVATION), (OutcomeGate, GATE)])
def test_command_with_other_text_and_the_same_triggers_does_not_run_again(component: Any, args: Any) -> None:
    records = [run(lambda given=given: component("one", {**args, **given})) for given in ({}, {"seconds": 60})]
    first, second = (record.inputs("one-command") for record in records)
    ignored = set(records[0].requests["one-command"].ignoreChanges)
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"create"} <= ignored
    assert not {"triggers", "stdin"} & ignored


def test_gate_passes_its_rules_on() -> None:
    args = {
        **GATE,
        "seconds": 10.0,
        "share_points": 3,
        "failure_points": 0.5,
        "p99_factor": 2,
        "error_rate": 5,
        "expect": {"cart-v2": 20},
        "allow_silent": ["cart-v1.shop"],
        "allow_inconclusive": True,
    }
    found = words(run(lambda: OutcomeGate("after", args)), "after")
    assert (
        shlex.split(
            "--seconds 10 --share-points 3 --failure-points 0.5 --p99-factor 2 --error-rate 5 "
            "--expect cart-v2=20 --allow-silent cart-v1.shop --allow-inconclusive"
        )
        == found[found.index("--seconds") :]
    )


def test_command_without_lab_on_path_is_one_line() -> None:
    found = run(lambda: OutcomeGate("after", GATE)).inputs("after-command")
    environment = {**found["environment"], "PATH": ""}
    done = subprocess.run(
        ["/bin/sh", "-c", found["create"]], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("OutcomeGate: lab is not on PATH; install Waypoint Lab")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("component", "args", "said"),
    [
        (OutcomeObservation, {**OBSERVATION, "triggers": []}, "triggers is []: it must be at least one value"),
        (OutcomeObservation, {"namespace": "shop"}, "triggers is missing"),
        (OutcomeObservation, {**OBSERVATION, "namespace": "Shop"}, 'namespace is "Shop": it must be a DNS label'),
        (OutcomeObservation, {**OBSERVATION, "seconds": 1}, "seconds is 1: it must be a number from 5 to 3600"),
        (OutcomeGate, {}, "observation is missing"),
        (OutcomeGate, {"observation": ""}, 'observation is "": it must be text that is not empty'),
        (OutcomeGate, {**GATE, "expect": {"cart": 101}}, "expect.cart is 101: it must be a number from 0 to 100"),
        (OutcomeGate, {**GATE, "expect": {"a=b": 1}}, 'a name in expect is "a=b": it must be a DNS label'),
        (OutcomeGate, {**GATE, "allow_silent": ["--x"]}, 'allow_silent is "--x": it must be a DNS label'),
        (OutcomeGate, {**GATE, "error_rate": 0}, "error_rate is 0: it must be a number from"),
    ],
)
def test_bad_arguments_are_one_line_before_anything_is_registered(component: Any, args: Any, said: str) -> None:
    with pytest.raises(pulumi.RunError) as error:
        run(lambda: component("gate", args))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("contents", ["apiVersion: v1\nkind: Config\n", '{"kind": "Config"}'])
def test_kubeconfig_as_contents_is_refused_and_not_shown(contents: str) -> None:
    with pytest.raises(pulumi.RunError, match=r"OutcomeGate: kubeconfig is .* the path of the file") as error:
        run(lambda: OutcomeGate("after", {**GATE, "kubeconfig": contents}))
    assert "kind" not in str(error.value)
