"""The table of images."""

import pytest

from embedded.node.kubelet import images
from tests.unit.embedded.node.documents import CONFIG


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("python", "docker.io/library/python"),
        ("python:3.12", "docker.io/library/python"),
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
