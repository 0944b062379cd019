"""Name the stacks whose state `make clean` would delete although they have resources on another cluster."""

import json
import sys
from pathlib import Path
from typing import Any

STACK = "pulumi:pulumi:Stack"
PROVIDER = "pulumi:providers:kubernetes"


def on_other_clusters(state: Path) -> list[str]:
    """Return the stacks of a state folder that have resources on a cluster other than the embedded one.

    Args:
        state: State folder of the embedded cluster, which holds Pulumi's file backend.
    """
    files = sorted((state / "pulumi" / ".pulumi" / "stacks").glob("*/*.json"))
    return [f"{file.parent.name}/{file.stem}" for file in files if _on_other_cluster(file)]


def _on_other_cluster(file: Path) -> bool:
    try:
        resources: list[dict[str, Any]] = json.loads(file.read_text())["checkpoint"]["latest"].get("resources") or []
    except (ValueError, KeyError, TypeError, AttributeError):
        return file.stat().st_size > 0
    outputs = next((item.get("outputs") or {} for item in resources if item["type"] == STACK), {})
    providers = [item.get("inputs") or {} for item in resources if item["type"] == PROVIDER]
    try:
        elsewhere = outputs["declared"]["target"]["kind"] != "embedded"
    except (KeyError, TypeError):  # an older stack, or a secret in its config
        elsewhere = any({"kubeconfig", "context"} & set(inputs) for inputs in providers)
    return len(resources) > 1 and elsewhere


def main() -> int:
    """Print one line for the stacks that are in the way, and return 1; 0 where there is none."""
    found = on_other_clusters(Path(".lab"))
    if found:
        print(
            f".lab: it holds the state of {', '.join(found)}, with resources on another cluster; "
            "run `pulumi destroy` on them first, or move .lab away",
            file=sys.stderr,
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
