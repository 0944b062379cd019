"""`lab bench`: time a weight step beside an unchanged update, an empty program and kubectl; sum up idle memory.

Compare ratios of one run: the rounds are interleaved, so that a busy machine slows all steps alike.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from msgspec import structs

from embedded import cluster
from waypoint_lab import kubectl
from waypoint_lab.cli import output
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.settings import PROJECT, LabConfig
from waypoint_lab.config.target import use_target
from waypoint_lab.errors import ConfigError, LabError
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.restore import recover, restored, selected
from waypoint_lab.measure.stage_run import set_step
from waypoint_lab.pulumi_cli import PulumiStack, pulumi
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.stages.table import Step

STACK = "dev"  # on the embedded cluster
STEPS = ("kubectl apply", "weight step", "unchanged update", "empty program")
# An unchanged update starts the Kubernetes provider, which reads the API's schema first; an empty program does not.
RATIO_LIMITS = {("weight step", "unchanged update"): 1.5, ("unchanged update", "empty program"): 2.0}
MEMORY_LIMIT_MIB = 1536.0
WEIGHTS = 40  # of one step, so that the two steps of a round never have the same one
EMPTY = "name: empty\nruntime: python\n"


def _route(config: LabConfig, weight: int) -> tuple[str, dict[str, Any]]:
    """Return the field manager that owns the stack's route, and the route with another weight."""
    where = ("httproute", config.app.service, "-n", config.app.namespace, "--show-managed-fields")
    route = kubectl.get(config.target, *where)
    managers = [item["manager"] for item in route["metadata"]["managedFields"]]
    manager = next(name for name in managers if name.startswith("pulumi-kubernetes"))
    for backend in route["spec"]["rules"][-1]["backendRefs"]:
        backend["weight"] = weight if backend["name"] == config.app.canary.service else 100 - weight
    meta = {
        key: route["metadata"][key]
        for key in ("name", "namespace", "labels", "annotations")
        if key in route["metadata"]
    }
    return manager, {"apiVersion": route["apiVersion"], "kind": "HTTPRoute", "metadata": meta, "spec": route["spec"]}


def _apply(config: LabConfig, weight: int) -> float:
    """Return the seconds from a `kubectl apply` of another weight until it is in sync, and restore the weight."""
    taken = []
    for value in (weight, int(config.canary.weight)):
        manager, route = _route(config, value)
        apply = ("apply", "--server-side", f"--field-manager={manager}", "-f", "-")
        began = time.monotonic()
        kubectl.run(config.target, *apply, stdin=json.dumps(route), limit_seconds=60)
        envoy_config.wait(structs.replace(config, canary=structs.replace(config.canary, weight=value)))
        taken.append(time.monotonic() - began)
    return taken[0]


def _pulumi(folder: Path, *arguments: str) -> float:
    began = time.monotonic()
    pulumi(folder, *arguments, "--stack", STACK)
    return time.monotonic() - began


def _up(folder: Path) -> float:
    return _pulumi(folder, "up", "--yes", "--skip-preview", "--suppress-progress")


def rounds(stack: PulumiStack, count: int, report: Callable[[str], None], seen: dict[str, list[float]]) -> None:
    """Add the seconds of each kind of step to `seen`, interleaved. The stack is restored in the end.

    Args:
        stack: The stack, on the embedded cluster.
        count: Number of rounds.
        report: Shows one line.
        seen: Seconds by the step's name. It has those of all rounds before an error.
    """
    recover(stack, report)
    with tempfile.TemporaryDirectory() as name, selected(stack), restored(stack, report):
        empty = Path(name)
        (empty / "Pulumi.yaml").write_text(EMPTY)
        (empty / "__main__.py").write_text("")
        _pulumi(empty, "stack", "select", "--create")
        _up(empty)
        on = ("waypoint", "canary")
        base = {"trafficApi": "gateway-api"}  # `kubectl apply` is timed on an HTTPRoute
        try:
            config = set_step(stack, Step(on, {**base, "canary.weight": 10}))
            _up(stack.folder)
            envoy_config.wait(config)
            for number in range(count):
                report(f"round {number + 1} of {count}")
                config = set_step(stack, Step(on, {**base, "canary.weight": 20 + number % WEIGHTS}))
                seen["weight step"].append(_up(stack.folder))
                envoy_config.wait(config, 0)  # the update itself has waited for Envoy
                seen["unchanged update"].append(_up(stack.folder))
                seen["empty program"].append(_up(empty))
                seen["kubectl apply"].append(_apply(config, 60 + number % WEIGHTS))
        finally:
            set_step(stack, Step(()))
            stack.up()
            _pulumi(empty, "destroy", "--yes", "--skip-preview", "--remove")


@click.command()
@click.option("--rounds", "count", type=click.IntRange(1, 1000), default=5, show_default=True, help="Number of rounds.")
@output.json_option
@click.pass_obj
def bench(invocation: Invocation, count: int, as_json: bool) -> int:
    """Time a weight step beside an unchanged update, an empty program and kubectl; sum up the cluster's idle memory.

    It uses stack dev on the embedded cluster. Exit status 1 where a ratio or the memory is above its limit.
    """
    stack = PulumiStack(cluster.PROJECT_FOLDER, STACK)
    if stack.file.exists() and (kind := stack.target_kind()) != "embedded":
        raise ConfigError(f"{PROJECT}:target.kind: stack {STACK} is on {kind}; lab bench is for the embedded cluster")
    use_target(invocation.state, "embedded")
    os.environ["PULUMI_SKIP_UPDATE_CHECK"] = "true"
    memory = cluster.memory(invocation.state) / 2**20
    seen: dict[str, list[float]] = {name: [] for name in STEPS}
    try:
        with Journal(stack.folder, STACK).locked():
            rounds(stack, count, output.reporter("bench"), seen)
    except LabError:
        if all(seen.values()):
            _show(seen, memory, as_json=as_json)
        raise
    return _show(seen, memory, as_json=as_json)


def _show(seen: dict[str, list[float]], memory: float, *, as_json: bool) -> int:
    """Print the times and the memory in MiB; return 1 where a ratio or the memory is above its limit."""
    median = {name: statistics.median(values) for name, values in seen.items()}
    limits = {f"{step} / {base}": limit for (step, base), limit in RATIO_LIMITS.items()}
    ratios = {f"{step} / {base}": median[step] / median[base] for step, base in RATIO_LIMITS}
    missed = [f"{name} is {value:.2f}, above {limits[name]}" for name, value in ratios.items() if value > limits[name]]
    if memory > MEMORY_LIMIT_MIB:
        missed.append(f"idle memory is {memory:.0f} MiB, above {MEMORY_LIMIT_MIB:.0f}")
    if memory == 0:
        missed.append("idle memory was not measured: the embedded cluster does not run")
    if as_json:
        output.print_json(
            {"seconds": seen, "medians": median, "ratios": ratios, "memory_mib": memory, "missed": missed}
        )
        return 1 if missed else 0
    rows = [
        (name, f"{median[name]:.2f} s", f"{min(values):.2f}-{max(values):.2f} s, {len(values)} rounds")
        for name, values in seen.items()
    ]
    rows += [(name, f"{value:.2f}", f"at most {limits[name]}") for name, value in ratios.items()]
    rows.append(("idle memory of the cluster", f"{memory:.0f} MiB", f"at most {MEMORY_LIMIT_MIB:.0f} MiB"))
    output.print_table(("step", ">median", "range or limit"), rows)
    for line in missed:
        click.echo(f"FAILED  {line}")
    return 1 if missed else 0
