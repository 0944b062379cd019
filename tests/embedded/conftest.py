"""Fixtures of the tests of the Pulumi plugins."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Kubectl
from tests.embedded.documents import NAMESPACE
from tests.embedded.pulumi_program import Program


@pytest.fixture(scope="session")
def _namespace(kubectl: Kubectl) -> Iterator[None]:
    kubectl("create", "namespace", NAMESPACE)
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def program(tmp_path: Path, cluster_environment: dict[str, str], _namespace: None) -> Iterator[Program]:
    """Return a small Pulumi program on the embedded cluster; its resources are destroyed afterwards."""
    made = Program(tmp_path, cluster_environment)
    yield made
    made.destroy()
