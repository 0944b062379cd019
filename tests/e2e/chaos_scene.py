"""A stack on the embedded cluster whose config a test sets, and its traffic."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded import cluster
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import stack_config
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.client import Answer, Endpoint, Group, send

CLONE = cluster.PROJECT_FOLDER
STACK_FILE = CLONE / "Pulumi.dev.yaml"
UP = ("up", "--yes", "--skip-preview", "--non-interactive", "--suppress-progress")
BASE = ("waypoint", "accessLog")


class Scene:
    """The lab's stack `dev`, and the commands of a shell that uses the cluster."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def run(self, *command: str, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=CLONE, capture_output=True, text=True, timeout=seconds, check=False)

    def lab(self, *args: str, seconds: float = 120) -> "subprocess.CompletedProcess[str]":
        return self.run(sys.executable, "-m", "waypoint_lab.cli", "--state", str(self._state), *args, seconds=seconds)

    def write(self, *on: str, **settings: object) -> LabConfig:
        """Writes the stack's config: these toggles beside the waypoint, and these settings objects."""
        document = yaml.safe_load(STACK_FILE.read_text()) or {}
        given = {f"waypoint-lab:{key}": value for key, value in settings.items()}
        document["config"] = {"waypoint-lab:stages": dict.fromkeys((*BASE, *on), True), **given}
        STACK_FILE.write_text(yaml.safe_dump(document))
        return stack_config(CLONE)

    def up(self, *on: str, **settings: object) -> str:
        """`write`, then `pulumi up`, until the waypoint has it all; returns what Pulumi said."""
        config = self.write(*on, **settings)
        done = self.run("pulumi", *UP)
        assert done.returncode == 0, done.stdout + done.stderr
        envoy_config.wait(config)
        return done.stdout

    def again(self) -> "subprocess.CompletedProcess[str]":
        """The same up once more, which must change nothing."""
        return self.run("pulumi", *UP, "--expect-no-changes")

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """What `lab verify` measured, by name; all of it passed."""
        done = self.lab("verify", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return {item["what"]: item for item in json.loads(done.stdout)["verdicts"]}

    def send(
        self, requests: int, *, method: str = "GET", headers: dict[str, str] | None = None, **group: Any
    ) -> list[Answer]:
        endpoint = Endpoint(headers=headers or {}, method=method)
        return send(stack_config(CLONE), [Group((endpoint,), rounds=requests, **group)])[0]

    def share(self, status: int, requests: int, **group: Any) -> float:
        seen = Counter(row.status for row in self.send(requests, **group))
        return seen[status] / requests


def until(condition: Any, seconds: float, what: str) -> float:
    """Asks again and again until `condition` holds; returns the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not after {seconds:g} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - began


@contextmanager
def opened(state: Path, environment: dict[str, str]) -> Iterator[Scene]:
    """The scene in the cluster's environment; the stack is destroyed afterwards, its file put back."""
    before = STACK_FILE.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            if os.environ.get(name) != value:
                patch.setenv(name, value)
        scene = Scene(state)
        assert scene.run("pulumi", "stack", "select", "--create", "dev").returncode == 0
        try:
            yield scene
        finally:
            gone = scene.run("pulumi", "destroy", "--yes", "--skip-preview", "--non-interactive")
            STACK_FILE.write_bytes(before)
        assert gone.returncode == 0, gone.stdout + gone.stderr
