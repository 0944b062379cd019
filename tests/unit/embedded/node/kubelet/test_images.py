"""The table of images."""

import subprocess
from pathlib import Path

import pytest

from embedded.node.kubelet import images
from tests.unit.embedded.node.documents import CONFIG


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("python", "docker.io/library/python"),
        ("python:3.12", "docker.io/library/python"),
        ("docker.io/python:3.12", "docker.io/library/python"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox"),
        ("index.docker.io/curlimages/curl", "docker.io/curlimages/curl"),
        ("istio/proxyv2:1.30", "docker.io/istio/proxyv2"),
        ("host:5000/a/b:1@sha256:0f", "host:5000/a/b"),
    ],
)
def test_full_name_short_image_gets_registry_and_repository(image: str, name: str) -> None:
    assert name == images.full_name(image)


def test_find_bookinfo_image_runs_its_version() -> None:
    image = images.find(CONFIG, "docker.io/istio/examples-bookinfo-reviews-v3:1.20.3")
    assert image.argv([], [])[1:] == ["-m", "embedded.bookinfo", "reviews", "--version", "v3"]


def test_find_unknown_image_is_refused_by_name() -> None:
    with pytest.raises(images.UnknownImage, match=r"ghcr\.io/no/such:1"):
        images.find(CONFIG, "ghcr.io/no/such:1")


def test_image_argv_command_replaces_entry_point_and_args_defaults() -> None:
    image = images.Image(["envoy"], ["-c", "default"])
    assert image.argv([], []) == ["envoy", "-c", "default"]
    assert image.argv([], ["-c", "mine"]) == ["envoy", "-c", "mine"]
    assert image.argv([], ["envoy", "-c", "mine"]) == ["envoy", "-c", "mine"]
    assert image.argv(["sh"], []) == ["sh"]


@pytest.mark.parametrize(("image", "argv"), [("busybox", ["sh"]), ("alpine:3.20", ["sh"])])
def test_find_image_of_a_shell_runs_the_shell_of_the_machine_and_says_so(image: str, argv: list[str]) -> None:
    found = images.find(CONFIG, image)
    assert found.argv([], []) == argv
    assert "of this machine" in found.note


@pytest.mark.parametrize(
    ("image", "command"), [("nginx", "nginx"), ("fortio/fortio", "fortio"), ("curlimages/curl", "curl")]
)
def test_find_image_of_a_missing_command_names_it(image: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.shutil, "which", lambda name, path: None)
    with pytest.raises(images.UnknownImage, match=f"command {command} stands in for this image.*install {command}"):
        images.find(CONFIG, image)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["-s", "http://x"], "curl -s http://x"),
        (["sh"], "sh"),
        (["http://x"], "curl http://x"),
        (["echo", "a"], "echo a"),
    ],
)
def test_curl_image_takes_options_and_commands(
    args: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that print their own names stand in for those that the entry script executes."""
    for name in ("curl", "sh", "echo"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(images.shutil, "which", lambda name, path: f"/usr/bin/{name}")
    shell, *rest = images.find(CONFIG, "curlimages/curl:8").argv([], args)
    assert shell == "sh"
    script = rest[1].replace('exec "$@"', f'exec {tmp_path}/"$@"').replace("exec curl", f"exec {tmp_path}/curl")
    done = subprocess.run(["/bin/sh", "-c", script, *rest[2:]], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
