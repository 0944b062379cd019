import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components._internal import waits
from components._internal.waits import Access


def route(generation: int = 2, **statuses: tuple[str, int]) -> dict[str, Any]:
    conditions = [
        {"type": kind, "status": status, "observedGeneration": seen, "message": "why"}
        for kind, (status, seen) in statuses.items()
    ]
    ref = {"name": "cart"}
    return {
        "metadata": {"generation": generation},
        "spec": {"parentRefs": [ref]},
        "status": {"parents": [{"parentRef": ref, "conditions": conditions}]},
    }


def test_run_kubectl_with_bytes_that_are_no_text_replaces_them() -> None:
    assert waits.run_kubectl(["printf", r"ag\377ent"]).stdout == "ag\ufffdent"


def test_route_problem_of_a_current_accepted_route_is_empty() -> None:
    assert waits.route_problem(route(Accepted=("True", 2), ResolvedRefs=("True", 2))) == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (route(Accepted=("True", 1), ResolvedRefs=("True", 2)), "Accepted is of generation 1, not of 2"),
        (route(Accepted=("True", 2)), "ResolvedRefs is not reported"),
        (route(Accepted=("True", 2), ResolvedRefs=("False", 2)), "ResolvedRefs is False: why"),
        (
            route(Accepted=("True", 2), ResolvedRefs=("True", 2), ResolvedWaypoints=("True", 1)),
            "ResolvedWaypoints is of generation 1, not of 2",
        ),
        (
            {"metadata": {"generation": 1}, "spec": {"parentRefs": [{"name": "cart"}]}},
            "no controller has reported on parent cart; does the Service have a waypoint?",
        ),
    ],
)
def test_route_problem_of_an_older_or_unmet_condition_names_it(given: dict[str, Any], said: str) -> None:
    assert waits.route_problem(given) == said


def deployment(wanted: int, generation: int = 1, **status: int) -> dict[str, Any]:
    seen = {"observedGeneration": 1, **status}
    return {"metadata": {"generation": generation}, "spec": {"replicas": wanted}, "status": seen}


def test_rollout_problem_counts_new_and_old_replicas() -> None:
    done = {"updatedReplicas": 2, "availableReplicas": 2, "replicas": 2}
    assert waits.rollout_problem(deployment(2, **done)) == ""
    assert waits.rollout_problem(deployment(2, generation=2, **done)) == "its newest generation is not observed"
    assert waits.rollout_problem(deployment(2, **{**done, "replicas": 3})) == "2 of 2 replicas available, 2 updated"
    assert waits.rollout_problem(deployment(2)) == "0 of 2 replicas available, 0 updated"
    going = deployment(2, **done)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert waits.rollout_problem(going) == "it is being deleted"


def test_rollout_problem_of_a_refused_pod_gives_the_reason() -> None:
    given = deployment(1)
    refused = 'pods "waypoint-1" is forbidden: violates PodSecurity "restricted:latest"'
    given["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": refused}]
    assert waits.rollout_problem(given) == f"0 of 1 replicas available, 0 updated: {refused}"
    given["status"]["conditions"][0]["status"] = "False"
    assert waits.rollout_problem(given) == "0 of 1 replicas available, 0 updated"


def test_endpoints_problem_names_backends_without_ready_pod() -> None:
    def piece(service: str, *conditions: dict[str, bool]) -> dict[str, Any]:
        endpoints = [{"conditions": item} for item in conditions]
        return {"metadata": {"labels": {"kubernetes.io/service-name": service}}, "endpoints": endpoints}

    problem = waits.endpoints_problem(["a", "b", "c", "d"])
    given = {"items": [piece("a", {"ready": True}), piece("b", {"ready": False}), piece("c"), piece("d", {})]}
    assert problem(given) == "no Pod of b, c is ready"


class Answers:
    """Stands in for kubectl: one answer after the other, the last one again and again."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers, self.commands = list(answers), list[list[str]]()

    def __call__(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        self.commands.append(command)
        code, text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return subprocess.CompletedProcess(command, code, "" if code else text, text if code else "")


def _why(item: dict[str, Any]) -> str:
    return str(item["why"])


async def wait(cluster: Access, problem: waits.Problem, limit: float, run: waits.Run | None = None) -> None:
    """Wait until `problem` finds none in a route, as the hooks of the components do."""
    session = waits.Session(cluster, "n", limit, run, where="HTTPRoute n/r")

    async def check() -> str:
        return problem(await session.get("httproute", "r"))

    await session.until(check)


def test_wait_ends_without_a_problem() -> None:
    answers = Answers((1, "not found"), (0, json.dumps({"why": "early"})), (0, json.dumps({"why": ""})))
    asyncio.run(wait(Access("/k", "c"), _why, 5, answers))
    assert len(answers.commands) == 3
    want = "kubectl --kubeconfig=/k --context=c --request-timeout=10s get --namespace n httproute r --output json"
    assert " ".join(answers.commands[0]) == want


def test_access_expands_the_home_folder() -> None:
    async def command() -> list[str]:
        return await Access("~/a", "").kubectl("get")

    assert asyncio.run(command())[1] == f"--kubeconfig={Path.home() / 'a'}"


def test_wait_leaves_the_event_loop_free() -> None:
    done = asyncio.Event()

    def still(item: dict[str, Any]) -> str:
        return "" if done.is_set() else "the other one has not come yet"

    async def other() -> None:
        done.set()

    async def both() -> None:
        waiting = wait(Access(), still, 5, Answers((0, "{}")))
        await asyncio.gather(waiting, other())

    asyncio.run(both())


def test_wait_past_the_limit_gives_object_and_problem() -> None:
    with pytest.raises(RuntimeError, match=r"^HTTPRoute n/r: waited 0\.2 s: still wrong$"):
        asyncio.run(wait(Access(), _why, 0.2, Answers((0, '{"why": "still wrong"}'))))


def test_wait_without_kubectl_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="kubectl is not on PATH"):
        asyncio.run(wait(Access(), _why, 1))


def test_route_problem_names_a_parent_without_report() -> None:
    given = route(Accepted=("True", 2), ResolvedRefs=("True", 2))
    given["spec"]["parentRefs"].append({"name": "till"})
    assert waits.route_problem(given) == "no controller has reported on parent till; does the Service have a waypoint?"


def test_condition_problem_with_a_generation_as_text_compares_the_number() -> None:
    condition = {"type": "WaypointAccepted", "status": "True", "observedGeneration": "1"}
    check = waits.condition_problem("WaypointAccepted")
    assert not check({"metadata": {"generation": 1}, "status": {"conditions": [condition]}})
    assert "of generation 1, not of 2" in check({"metadata": {"generation": 2}, "status": {"conditions": [condition]}})
