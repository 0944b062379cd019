"""The stack of the end-to-end tests: its config, its updates and its traffic."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import stack_config
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.client import Answer, Endpoint, Group, Load, send
from waypoint_lab.rollout.journal import Journal

NAMESPACE = "bookinfo-backends"
UP = ("pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--suppress-progress")

BASE = ("waypoint", "accessLog")
OBJECTS = "httproute,virtualservice,authorizationpolicy,telemetry,gateway"
PYTHON = ("kubectl", "exec", "-n", "bookinfo-frontends", "deploy/productpage-v1", "--", "python3", "-c")
COMMENT = "# kept by every edit\n"
LOCK = re.compile(r"currently locked.*\(pid (?P<pid>\d+)\)", re.DOTALL)
LOCK_SECONDS = 60.0  # an update whose test was interrupted may still run
Done = subprocess.CompletedProcess[str]


def lab(*arguments: str) -> tuple[str, ...]:
    """Return the command line of a `lab` command."""
    return (sys.executable, "-m", "waypoint_lab.cli", *arguments)


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until a condition holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not after {seconds:g} s: {what}"
        time.sleep(0.1)


def runs(pid: str) -> bool:
    """Return True for a process that has not ended, whether its parent knows of the end or not."""
    try:
        return bool(Path("/proc", pid, "cmdline").read_bytes())
    except OSError:
        return False


def failures(answers: Sequence[Answer]) -> Counter[str]:
    """Return the failed requests by status or reason."""
    return Counter(one.outcome for one in answers if one.status != 200)


class Scene:
    """One stack of a project, and the commands of a shell that uses the cluster."""

    def __init__(self, folder: Path, environment: dict[str, str], stack: str = "dev") -> None:
        """Name the stack; its file holds no setting yet."""
        self.folder, self.environment, self.stack = folder, environment, stack
        self.file = folder / f"Pulumi.{stack}.yaml"
        self.journal = Journal(folder, stack)
        self.write_settings()

    def run(self, *command: str, seconds: float = 120) -> Done:
        """Run a command in the project, after the stack's lock that an interrupted test left is removed."""
        done = self._run(command, seconds)
        if command[0] == "pulumi" and (lock := LOCK.search(done.stdout + done.stderr)):
            until(lambda: not runs(lock["pid"]), LOCK_SECONDS, f"the update of process {lock['pid']} has ended")
            self._run(("pulumi", "cancel", "--yes", "--non-interactive", "--stack", self.stack), seconds)
            done = self._run(command, seconds)
        return done

    def _run(self, command: Sequence[str], seconds: float) -> Done:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def shell(self, command: str, seconds: float = 120) -> Done:
        """Run a command of a document in the project, as a shell does; it must succeed."""
        done = self.run("sh", "-c", command, seconds=seconds)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def lab(self, *arguments: str, seconds: float = 120) -> Done:
        """Run a `lab` command on the stack."""
        return self.run(*lab(*arguments, "--stack", self.stack), seconds=seconds)

    def pulumi(self, *arguments: str) -> str:
        """Run a Pulumi command on the stack; it must succeed."""
        done = self.run("pulumi", *arguments, "--non-interactive", "--stack", self.stack, seconds=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def write_settings(self, **settings: object) -> None:
        """Write the stack's file with these settings objects alone, below a comment."""
        document = yaml.safe_load(self.file.read_text()) if self.file.exists() else {}
        document["config"] = {f"waypoint-lab:{key}": value for key, value in settings.items()}
        self.file.write_text(COMMENT + yaml.safe_dump(document))

    def write(self, *on: str, **settings: object) -> LabConfig:
        """Write these toggles beside waypoint and access log, and these settings objects."""
        self.write_settings(stages=dict.fromkeys((*BASE, *on), True), **settings)
        return self.config()

    def config(self) -> LabConfig:
        """Return the config of the stack's file."""
        return stack_config(self.folder, self.stack)

    def apply(self, *more: str) -> Done:
        """Run `pulumi up`, which may fail."""
        return self.run(*UP, *more, "--stack", self.stack)

    def up(self, *on: str, **settings: object) -> str:
        """Write the config, apply it, and wait for Envoy. Return the output of Pulumi."""
        config = self.write(*on, **settings)
        done = self.apply()
        assert done.returncode == 0, done.stdout + done.stderr
        envoy_config.wait(config)
        return done.stdout

    def assert_unchanged(self) -> None:
        """Check that another update changes nothing."""
        done = self.apply("--expect-no-changes")
        assert done.returncode == 0, done.stdout + done.stderr

    def clear(self) -> None:
        """Remove all resources of the stack, and its history."""
        self.write_settings()
        if json.loads(self.pulumi("stack", "export"))["deployment"].get("resources"):
            self.pulumi("destroy", "--yes", "--skip-preview")
        self.journal.file.unlink(missing_ok=True)

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """Return the measurements of `lab verify` by name; all of them must pass."""
        done = self.lab("verify", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return {item["what"]: item for item in json.loads(done.stdout)["verdicts"]}

    def send(self, requests: int, *, workers: int = 8, method: str = "GET", **headers: str) -> list[Answer]:
        """Send requests to the Service."""
        endpoint = Endpoint(headers={name.replace("_", "-"): value for name, value in headers.items()}, method=method)
        return send(self.config(), [Group((endpoint,), requests, workers)])[0]

    def share(self, status: int, requests: int, *, workers: int = 8, method: str = "GET", **headers: str) -> float:
        """Return the share of requests that are answered with a status."""
        answers = self.send(requests, workers=workers, method=method, **headers)
        return sum(one.status == status for one in answers) / requests

    def load(self, seconds: float = 300, workers: int = 3, fresh_workers: int = 1) -> Load:
        """Start requests in the background, some on kept connections and some on new ones."""
        return Load(self.config(), seconds, workers, fresh_workers)

    def objects(self) -> list[str]:
        """Return the objects of Istio and the Gateway API in the namespace."""
        return self.run("kubectl", "get", OBJECTS, "-n", NAMESPACE, "-o", "name").stdout.split()

    def gateways(self) -> list[str]:
        """Return the names of the namespace's Gateways."""
        return [name.rpartition("/")[2] for name in self.objects() if name.startswith("gateway.gateway")]

    def enrollment(self) -> dict[str, str]:
        """Return the labels and annotations that enroll the namespace."""
        said = self.run("kubectl", "get", "namespace", NAMESPACE, "-o", "json").stdout
        found = json.loads(said)["metadata"]
        both = {**found["labels"], **found.get("annotations", {})}
        return {name: value for name, value in both.items() if name.startswith("istio.io/use-waypoint")}
