"""What the pack reads of the outside, with stand-ins for kubectl, pulumi and istioctl."""

import json
from pathlib import Path

import pytest

from policies.guard import live
from policies.guard.live import Cannot, Target, without
from policies.guard.reading import UNKNOWN, Reading, analysed
from tests.policies.scenes import ENROLLED, namespace, route, rule, service, thing, world

HERE = Target()


class Commands:
    """A folder first on PATH; each command in it keeps a count of its runs and what it was given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, out: str, said: str = "", status: int = 0) -> None:
        (self.folder / f"{name}.out").write_text(out)
        (self.folder / f"{name}.said").write_text(said)
        command = self.folder / name
        at = self.folder / name
        lines = ["#!/bin/sh", f'echo "$@" >> {at}.calls', f"cat > {at}.in", f"cat {at}.said >&2", f"cat {at}.out"]
        command.write_text("\n".join([*lines, f"exit {status}\n"]))
        command.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        return (self.folder / f"{name}.calls").read_text().splitlines()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Commands(tmp_path)


def listed(*items: object) -> str:
    return json.dumps({"items": items})


def exported(*resources: tuple[str, object]) -> str:
    rows = [{"type": token, "urn": f"urn:{number}", "outputs": out} for number, (token, out) in enumerate(resources)]
    return json.dumps({"deployment": {"resources": rows}})


ROUTE = {"kind": "HTTPRoute", "metadata": {"name": "r", "namespace": "n"}}
OTHER = {"kind": "HTTPRoute", "metadata": {"name": "other", "namespace": "n"}}


def test_what_the_stack_applied_before_is_not_somebody_elses() -> None:
    kept = without([route(rule(1)), route(rule(1), name="other")], [route(rule(2))])
    assert [item.name for item in kept] == ["other"]


def test_labels_that_the_stack_patched_in_are_not_the_objects_own() -> None:
    (left,) = without([namespace(tier="a", **ENROLLED)], [namespace(patch=True, **ENROLLED)])
    assert left.labels == {"tier": "a"}


def test_a_stack_and_a_cluster_are_read_once_for_all_rules(commands: Commands) -> None:
    commands.add("kubectl", listed(ROUTE, OTHER))
    token = "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
    commands.add("pulumi", exported((token, ROUTE), ("pulumi:pulumi:Stack", {})))
    reading = Reading()
    for _ in range(3):
        assert [item.name for item in reading.before((service(),), "dev", HERE).live] == ["r", "other"]
        assert [item.name for item in reading.whole((service(),), "dev", HERE).live] == ["other"]
    assert len(commands.calls("kubectl")) == 1
    assert commands.calls("pulumi") == ["stack export --stack dev --non-interactive"]


def test_a_kubeconfig_may_be_a_path_or_its_own_text(commands: Commands) -> None:
    commands.add("kubectl", listed())
    commands.add("pulumi", exported())
    Reading().before((), "dev", Target("/some/where", "there"))
    reading = Reading()
    world = reading.before((), "dev", Target("apiVersion: v1\nkind: Config\n"))
    assert world.problem == ""
    first, second = sorted(commands.calls("kubectl"), key=lambda call: "/dev/fd/" in call)
    assert "--context=there --kubeconfig=/some/where" in first
    assert "--kubeconfig=/dev/fd/" in second


@pytest.mark.parametrize("broken", ["kubectl", "pulumi"])
def test_where_something_cannot_be_read_the_reason_is_kept_and_nothing_is_compared(
    commands: Commands, broken: str
) -> None:
    commands.add("kubectl", listed(ROUTE))
    commands.add("pulumi", exported())
    commands.add(broken, "", "error: refused\n", 1)
    found = Reading().whole((service(),), "dev", HERE)
    assert found.problem == f"{broken}: refused"
    assert list(found.live) == []


def test_a_cluster_that_is_made_by_the_same_stack_is_not_read(commands: Commands) -> None:
    commands.add("pulumi", exported())
    assert Reading().whole((service(),), "dev", None).problem == UNKNOWN


def test_a_command_that_is_missing_or_slow_is_said(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Cannot, match="nothing-here is not on PATH"):
        live._ask(["nothing-here"])
    monkeypatch.setattr(live, "LIMIT_SECONDS", 0.05)
    with pytest.raises(Cannot, match=r"sleep gave no answer within 0\.05 s"):
        live._ask(["sleep", "5"])


def test_istioctl_is_shown_objects_as_kubernetes_writes_them(commands: Commands) -> None:
    told = [{"code": "IST0109", "level": "Error", "origin": "Service n/s", "message": "no"}]
    commands.add("istioctl", json.dumps(told), "\t* error processing -[0]: not this\n")
    given = thing("Service", "s", {"ports": [{"port": 80.0, "weight": 0.5, "nothing": None}], "__fieldManager": "m"})
    given = type(given)("Service", {**given.properties, "apiVersion": "v1"})
    found = analysed(world(given, namespace(patch=True)))
    assert [message["message"] for message in found.messages] == ["no", "not this"]
    assert found.messages[1]["origin"] == "Service n/s"
    shown = json.loads((commands.folder / "istioctl.in").read_text())
    assert shown["spec"] == {"ports": [{"port": 80, "weight": 0.5}]}


def test_without_istioctl_nothing_is_claimed_and_one_that_fails_is_said(commands: Commands) -> None:
    given = type(service())("Service", {**service().properties, "apiVersion": "v1"})
    assert analysed(world(given)).messages == []
    commands.add("istioctl", "", "Error: what?\n", 1)
    with pytest.raises(Cannot, match=r"istioctl: Error: what\?"):
        analysed(world(given))
