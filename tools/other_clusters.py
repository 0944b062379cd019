"""Name the state and the journals that `make clean` would delete although a cluster needs them."""

import json
import re
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedded import processes

STACK = "pulumi:pulumi:Stack"
PROVIDER = "pulumi:providers:kubernetes"
PROJECT = "waypoint-lab"
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
# As YAML, or as JSON text. No other mention of a target is understood: `make clean` has no parser of YAML.
_EMBEDDED = re.compile(rf"""{PROJECT}:target["']?:[\s{{"'\\]*kind["'\\]*:\s*["'\\]*embedded\b""")


def on_other_clusters(state: Path) -> list[str]:
    """Return the stacks of a state folder that have resources on a cluster other than the embedded one.

    Args:
        state: State folder of the embedded cluster, which holds Pulumi's file backend. It is in the project folder.
    """
    files = sorted((state / "pulumi" / ".pulumi" / "stacks").glob("*/*.json"))
    return [f"{file.parent.name}/{file.stem}" for file in files if _on_other_cluster(file, state.absolute().parent)]


def _on_other_cluster(file: Path, project: Path) -> bool:
    try:
        resources: list[dict[str, Any]] = json.loads(file.read_text())["checkpoint"]["latest"].get("resources") or []
    except (ValueError, KeyError, TypeError, AttributeError):
        return file.stat().st_size > 0
    outputs = next((item.get("outputs") or {} for item in resources if item["type"] == STACK), {})
    providers = [item.get("inputs") or {} for item in resources if item["type"] == PROVIDER]
    try:
        embedded = outputs["declared"]["target"]["kind"] == "embedded"
    except (KeyError, TypeError):  # the first update failed, or there is a secret in the stack's config
        embedded = file.parent.name == PROJECT and _declares_embedded(project, file.stem)
    elsewhere = not embedded or any({"kubeconfig", "context"} & set(inputs) for inputs in providers)
    return len(resources) > 1 and elsewhere


def _declares_embedded(project: Path, stack: str) -> bool:
    """Return True if the files of a stack and of the project name no other target. No target means `embedded`."""
    name = f"Pulumi.{stack}.yaml"
    files = [*project.glob(name), *project.glob(f"examples/*/{name}")]  # projects of one name share their state
    try:
        texts = [file.read_text() for file in (*files, project / "Pulumi.yaml")]
    except (OSError, ValueError):
        return False
    others = [text for text in texts if re.search(r"\btarget\b", _EMBEDDED.sub("", _COMMENT.sub("", text)))]
    return bool(files) and not others


def needed_history(project: Path) -> list[str]:
    """Return the files in `.lab-history` of the project and its examples that stacks on other clusters need.

    These are the backups of a stack's file, and the journals whose last promotion or migration has not ended.
    """
    found = []
    for suffix in (".before.json", ".before.yaml", ".jsonl"):
        files = [*project.glob(f".lab-history/*{suffix}"), *project.glob(f"examples/*/.lab-history/*{suffix}")]
        for file in sorted(files):
            if suffix != ".jsonl" or _has_not_ended(file):
                found += [] if _declares_embedded(project, file.name.removesuffix(suffix)) else [str(file)]
    return found


def _has_not_ended(journal: Path) -> bool:
    promotion, canary = "end", ""
    for line in journal.read_bytes().splitlines():
        with suppress(ValueError, KeyError, TypeError):  # a kill may cut off a record
            record = json.loads(line)
            if record["kind"] == "migration":
                canary = record["step"]["canary"]  # the last step has none
            else:
                promotion = record["kind"]
    return promotion != "end" or bool(canary)


def main() -> int:
    """Print a line for each thing that is in the way (stacks, files, a running cluster), and return 1; else 0."""
    found = on_other_clusters(Path(".lab"))
    if found:
        print(
            f".lab: it holds the state of {', '.join(found)}, with resources that are or may be on another cluster; "
            "run `pulumi destroy` on them first, or move .lab away",
            file=sys.stderr,
        )
    if kept := needed_history(Path()):
        print(
            f"{', '.join(kept)}: a promotion, a migration or `lab run` of a stack that is or may be on another cluster "
            f"has not ended; end it, or delete what is left of it: rm {shlex.join(kept)}",
            file=sys.stderr,
        )
    running = not Path(".venv/bin/lab").exists() and processes.read_living(Path(".lab/run/watchdog"))
    if running:
        print(
            ".lab: its cluster runs, and .venv/bin/lab, which stops it, is missing; run `make .venv/.installed` first",
            file=sys.stderr,
        )
    return 1 if found or kept or running else 0


if __name__ == "__main__":
    sys.exit(main())
