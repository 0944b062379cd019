"""`lab chaos`: says which requests a fault hits, measures the one that is on, or walks a schedule of faults."""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from embedded import cluster
from waypoint_lab.chaos import blast_radius
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import stack_config, use_target
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure import envoy_config, verify
from waypoint_lab.measure.probe import ProbeError
from waypoint_lab.pulumi_cli import UpdateError, deployed_config
from waypoint_lab.stages import fault_expiry
from waypoint_lab.stages.table import expectations

LIVE_SECONDS = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lab chaos`."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="only say which requests the declared fault would hit")
    what.add_argument("--schedule", type=Path, metavar="FILE", help="walk a YAML file of faults with times")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    parser.add_argument("--stack", default="dev", help="the stack whose config declares the fault (default: dev)")


def _report(config: LabConfig, *, measured: bool) -> dict[str, Any]:
    """What the declared fault does, what is in its way, and what it did."""
    document: dict[str, Any] = {"hits": blast_radius.described(config), "obstacles": blast_radius.obstacles(config)}
    seen = blast_radius.traffic(config)
    document["traffic"] = asdict(seen) if seen else None
    if not measured or document["obstacles"]:
        return document
    try:
        envoy_config.wait(config, LIVE_SECONDS)
    except envoy_config.NotLive as error:
        document["obstacles"] = [str(error)]
        return document
    document["verdicts"] = [asdict(item) for item in verify.measure(config, expectations(config))]
    return document


def _lines(document: dict[str, Any], config: LabConfig, *, measured: bool) -> list[str]:
    lines = [*document["hits"], *(f"HITS NOTHING: {why}" for why in document["obstacles"])]
    seen = document["traffic"]
    if seen is None:
        lines.append("how many requests the application makes is not known: stages.accessLog is off")
    elif not seen["requests"]:
        lines.append(f"no request of anybody else in the last {blast_radius.WINDOW_SECONDS} s: nobody would notice")
    else:
        of = f"{seen['requests']} requests of others in the last {blast_radius.WINDOW_SECONDS} s"
        lines.append(f"{of}, {seen['hit']} of them hit" if measured else f"{of} went to {config.app.service}")
    if "verdicts" in document:
        lines.append(verify.table([verify.Verdict(**item) for item in document["verdicts"]]))
    return lines


def main(given: argparse.Namespace) -> int:
    """0 if the fault hits what it names; 1 if it hits nothing, or something else than declared."""
    try:
        config = stack_config(cluster.PROJECT_FOLDER, given.stack)
        use_target(given.state, config)
        if not given.schedule and not given.dry_run:
            config = deployed_config(cluster.PROJECT_FOLDER, given.stack)
        if given.schedule:
            from waypoint_lab.chaos import schedule  # imports Pulumi

            return schedule.walk(cluster.PROJECT_FOLDER, schedule.read(given.schedule), config, given.stack)
        document = _report(config, measured=not given.dry_run)
    except (ConfigError, UpdateError, ProbeError, subprocess.SubprocessError) as error:
        print(f"lab chaos: {error}", file=sys.stderr)
        return 1
    passed = not document["obstacles"] and all(item["passed"] for item in document.get("verdicts", []))
    if given.json:
        print(json.dumps({"passed": passed, "fault": fault_expiry.fault_id(config), **document}, indent=1))
    else:
        print("\n".join(_lines(document, config, measured=not given.dry_run)))
    return 0 if passed else 1
