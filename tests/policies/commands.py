"""Stand-ins for kubectl, pulumi and istioctl."""

import json
from pathlib import Path


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


def listed(*items: object) -> str:
    return json.dumps({"items": items})


def exported(*resources: tuple[str, object], inputs: object = None) -> str:
    rows = [{"type": token, "urn": f"urn:{number}", "outputs": out} for number, (token, out) in enumerate(resources)]
    given = [{**row, "inputs": inputs} if inputs else row for row in rows]
    return json.dumps({"deployment": {"resources": given}})
