"""Facts of a report: the commit, and the command line without what is secret in its addresses."""

import subprocess
from pathlib import Path

import pytest

from waypoint_lab.config.models import EmbeddedTarget, ExistingTarget
from waypoint_lab.report import context

URL = "https://ci:s3cr3t@ci.example.com/a?token=T0K"
SHOWN = "https://ci.example.com/[secret]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (URL, SHOWN),
        (f"--approve-url={URL}", f"--approve-url={SHOWN}"),
        (f"curl {URL} && HTTP{URL[5:]}", f"curl {SHOWN} && http{SHOWN[5:]}"),
        ("--url=https://ci:s3'cr3t@ci.example.com/a", f"--url={SHOWN}"),
        ("https://ci:s3cr3t@ci.example.com:port/", "[secret]"),
        ("http://prometheus.istio-system:9090", "http://prometheus.istio-system:9090"),
        ("git+https://T0K@git.example.com/r", "git+https://git.example.com/[secret]"),
        ("oci://ci:s3cr3t@charts.example.com/shop", "oci://[secret]@charts.example.com/shop"),
        ("file:///srv/charts@2/shop.tgz", "file:///srv/charts@2/shop.tgz"),
    ],
)
def test_without_secrets_shows_of_an_address_the_server_only(text: str, shown: str) -> None:
    assert context.without_secrets(text) == shown


def test_command_line_has_no_secret_of_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["lab", "canary", "promote", f"--approve-url={URL}"])
    assert context.command_line() == f"lab canary promote '--approve-url={SHOWN}'"


def test_commit_is_of_the_clone_that_runs_and_of_no_other_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message=a"], check=True)
    done = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True)
    checkout = f"git checkout {done.stdout.strip()}"
    monkeypatch.chdir(tmp_path)
    assert checkout not in context.repeat("", EmbeddedTarget())
    monkeypatch.setattr(context, "CLONE", tmp_path)  # as of an installed package in somebody's repository
    assert context.repeat("", EmbeddedTarget())[0].startswith("make lab ")
    (tmp_path / "Pulumi.yaml").touch()
    assert context.repeat("", EmbeddedTarget())[0] == checkout


@pytest.mark.parametrize(
    ("stack", "before"),
    [
        ("", []),
        (
            "staging",
            [
                "make .venv/.installed",
                "# put the settings below into Pulumi.staging.yaml",
                'eval "$(.venv/bin/lab env --stack staging)"',
            ],
        ),
    ],
)
def test_repeat_on_a_cluster_of_the_user_starts_and_names_no_other(
    monkeypatch: pytest.MonkeyPatch, stack: str, before: list[str]
) -> None:
    monkeypatch.setattr(context, "_commit", lambda: "")
    monkeypatch.setattr("sys.argv", ["lab", "run"])
    assert context.repeat(stack, ExistingTarget(kubeconfig="/k")) == [*before, "lab run"]
