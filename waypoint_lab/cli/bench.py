"""`lab bench`: what a weight step costs beside an idle up, an empty program and kubectl; and the cluster's idle memory.

Ratios of one run are what counts: the rounds are interleaved, so that a busy machine slows all alike.
"""

import argparse
import json
import os
import statistics as numbers
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from msgspec import structs

from embedded import cluster
from waypoint_lab.cli.run import RunError, Walk, kept
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import use_target
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.probe import ProbeError, kubectl
from waypoint_lab.pulumi_cli import UpdateError, pulumi
from waypoint_lab.stages.table import Step

STACK = "dev"  # on the embedded cluster
ROUNDS = 5
RATIO_LIMIT = 1.5
MEMORY_LIMIT_MIB = 1536.0
EMPTY = "name: empty\nruntime: python\n"


def _route(config: LabConfig, weight: int) -> tuple[str, dict[str, Any]]:
    """The stack's own route at another weight, and the field manager that owns it: nobody else may take it over."""
    found = subprocess.run(
        kubectl(
            config,
            "get",
            "httproute",
            config.app.service,
            "-n",
            config.app.namespace,
            "-o",
            "json",
            "--show-managed-fields",
        ),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    route: dict[str, Any] = json.loads(found.stdout)
    managers = [item["manager"] for item in route["metadata"]["managedFields"]]
    manager = next(name for name in managers if name.startswith("pulumi-kubernetes"))
    for backend in route["spec"]["rules"][-1]["backendRefs"]:
        backend["weight"] = weight if backend["name"] == config.app.backends.canary.service else 100 - weight
    meta = {
        key: route["metadata"][key]
        for key in ("name", "namespace", "labels", "annotations")
        if key in route["metadata"]
    }
    return manager, {"apiVersion": route["apiVersion"], "kind": "HTTPRoute", "metadata": meta, "spec": route["spec"]}


def _apply(config: LabConfig, weight: int) -> float:
    """Seconds of a `kubectl apply` of another weight until it is live; the stack's weight is put back afterwards."""
    taken = []
    for value in (weight, int(config.canary.weight)):
        manager, route = _route(config, value)
        command = kubectl(config, "apply", "--server-side", f"--field-manager={manager}", "-f", "-")
        began = time.monotonic()
        subprocess.run(command, input=json.dumps(route), text=True, capture_output=True, check=True, timeout=60)
        envoy_config.wait(structs.replace(config, canary=structs.replace(config.canary, weight=value)))
        taken.append(time.monotonic() - began)
    return taken[0]


def _pulumi(folder: Path, *arguments: str) -> float:
    began = time.monotonic()
    pulumi(folder, *arguments, "--stack", STACK)
    return time.monotonic() - began


def _up(folder: Path) -> float:
    return _pulumi(folder, "up", "--yes", "--skip-preview", "--suppress-progress")


def rounds(folder: Path, count: int) -> dict[str, list[float]]:
    """Seconds of each kind of step, interleaved; the stack is left as the walk leaves it, with nothing on."""
    seen: dict[str, list[float]] = {
        "kubectl apply": [],
        "weight step": [],
        "up without changes": [],
        "empty program": [],
    }
    with tempfile.TemporaryDirectory() as empty, kept(folder / f"Pulumi.{STACK}.yaml"):
        (Path(empty) / "Pulumi.yaml").write_text(EMPTY)
        (Path(empty) / "__main__.py").write_text("")
        _pulumi(Path(empty), "stack", "select", "--create")
        _up(Path(empty))
        walk = Walk(folder)
        on = ("waypoint", "canary")
        try:
            config = walk.edit(Step(on, {"canary.weight": 10}))
            _up(folder)
            envoy_config.wait(config)
            for number in range(count):
                print(f"bench: round {number + 1} of {count}", file=sys.stderr, flush=True)
                config = walk.edit(Step(on, {"canary.weight": 20 + number}))
                began = time.monotonic()
                _up(folder)
                envoy_config.wait(config)
                seen["weight step"].append(time.monotonic() - began)
                seen["up without changes"].append(_up(folder))
                seen["empty program"].append(_up(Path(empty)))
                seen["kubectl apply"].append(_apply(config, 60 + number))
        finally:
            walk.edit(Step(()))
            walk.up()
            _pulumi(Path(empty), "destroy", "--yes", "--skip-preview", "--remove")
    return seen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lab bench`."""
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how often each step is timed (default {ROUNDS})")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def main(given: argparse.Namespace) -> int:
    """0 if the ratios and the memory are within their limits."""
    use_target(given.state, LabConfig())
    os.environ["PULUMI_SKIP_UPDATE_CHECK"] = "true"
    try:
        memory = cluster.memory(given.state) / 2**20
        seen = rounds(cluster.PROJECT_FOLDER, max(1, given.rounds))
    except (RunError, UpdateError, ConfigError, ProbeError, envoy_config.NotLive, subprocess.SubprocessError) as error:
        print(f"lab bench: {error}", file=sys.stderr)
        return 1
    middle = {name: numbers.median(values) for name, values in seen.items()}
    ratios = {
        "weight step / up without changes": middle["weight step"] / middle["up without changes"],
        "up without changes / empty program": middle["up without changes"] / middle["empty program"],
    }
    missed = [f"{name} is {value:.2f}, above {RATIO_LIMIT}" for name, value in ratios.items() if value > RATIO_LIMIT]
    if memory > MEMORY_LIMIT_MIB:
        missed.append(f"idle memory is {memory:.0f} MiB, above {MEMORY_LIMIT_MIB:.0f}")
    if memory == 0:
        missed.append("idle memory could not be measured: the embedded cluster does not run")
    if given.json:
        print(
            json.dumps({"seconds": seen, "medians": middle, "ratios": ratios, "memory_mib": memory, "missed": missed})
        )
        return 1 if missed else 0
    for name, values in seen.items():
        print(f"{name:<36}{middle[name]:>8.2f} s   ({min(values):.2f}-{max(values):.2f}, {len(values)} rounds)")
    for name, value in ratios.items():
        print(f"{name:<36}{value:>8.2f}     (at most {RATIO_LIMIT})")
    print(f"{'idle memory of the cluster':<36}{memory:>6.0f} MiB   (at most {MEMORY_LIMIT_MIB:.0f})")
    for line in missed:
        print(f"MISS  {line}")
    return 1 if missed else 0
