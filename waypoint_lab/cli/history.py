"""`lab history`: what promotions and rolls of waypoints decided, when, and on what evidence."""

import argparse
import json

from embedded import cluster
from waypoint_lab.rollout.journal import Journal, Record
from waypoint_lab.rollout.state import Target, standing

SHOWN = ("start", "decision", "back", "end", "roll")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `lab history`."""
    parser.add_argument("--stack", default="dev", help="the stack (default: dev)")
    parser.add_argument("--json", action="store_true", help="all lines of the journal as one JSON document")


def _row(record: Record) -> str:
    where, what, why = (_roll if record["kind"] == "roll" else _promotion)(record)
    return f"{record['at'][:19]:<20} {record['promotion']:<16} {where:<10} {what:<12} {why}"


def _roll(record: Record) -> tuple[str, str, str]:
    step = record["step"]
    where = f"{step['weight']} %" if step["canary"] else "all"
    return where, record["verdict"], f"through {step['canary'] or step['name']}: {record['why']}"


def _promotion(record: Record) -> tuple[str, str, str]:
    target = Target.read(record["from"] if record["kind"] == "start" else record) if _placed(record) else None
    what = record.get("verdict") or record.get("result") or record["kind"]
    why = record.get("why") or ""
    if record["kind"] == "start":
        why = "to " + ", ".join(str(Target.read(item)) for item in record["targets"])
    return str(target or ""), what, why


def _placed(record: Record) -> bool:
    return record["kind"] == "start" or "weight" in record


def table(records: list[Record]) -> str:
    """Lines for people."""
    rows = [_row(record) for record in records if record["kind"] in SHOWN]
    return "\n".join([f"{'at (UTC)':<20} {'promotion':<16} {'weight':<10} {'what':<12} why", *rows])


def main(given: argparse.Namespace) -> int:
    """Always 0: no history is one, too."""
    records = Journal(cluster.PROJECT_FOLDER, given.stack).records()
    if given.json:
        print(json.dumps(records, indent=1))
        return 0
    if not records:
        print(f"stack {given.stack} was never promoted")
        return 0
    print(table(records))
    now = standing(records)
    if now and not now.result:
        print(f"not ended: {now}")
    return 0
