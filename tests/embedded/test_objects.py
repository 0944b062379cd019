"""Objects of accepted arguments of any shape: the API server and Istio take each that a component registers."""

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pulumi
import pytest

from components import OutcomeGate, OutcomeObservation
from policies.pack.fields import plain
from tests.conftest import Kubectl
from tests.unit import shapes
from tests.unit.components.recording import run
from tests.unit.components.test_properties import COMPONENTS, arguments

CASES = shapes.CASES // 2  # of each component
CHUNK = 200  # objects of one command
MAKERS = [component for component in COMPONENTS if component not in (OutcomeGate, OutcomeObservation)]  # run commands


def registered(component: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects of the cases that the component accepts, in a namespace that exists, with different names."""
    numbers = itertools.count()
    for case in range(CASES):
        given = arguments(Random(case), component)
        try:
            record = run(lambda given=given: component("t", given))
        except pulumi.RunError:
            continue
        for name in record.kinds():
            document = plain(record.inputs(name))
            if "apiVersion" in document and not record.made[name].typ.endswith("Patch"):
                metadata = document["metadata"]
                metadata |= {"namespace": "default", "name": f"{metadata['name']}-{next(numbers)}"}
                yield document


@pytest.mark.timeout(300 + CASES)
@pytest.mark.parametrize("component", MAKERS)
def test_objects_of_accepted_arguments_are_accepted_by_api_server_and_istio(
    component: Any, kubectl: Kubectl, cluster_environment: dict[str, str], tmp_path: Path
) -> None:
    found = [*registered(component)]
    assert len(found) > CASES / 10
    for start in range(0, len(found), CHUNK):
        items = {"apiVersion": "v1", "kind": "List", "items": found[start : start + CHUNK]}
        kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", given=json.dumps(items))
    file = tmp_path / "objects.yaml"
    file.write_text("\n---\n".join(json.dumps(item) for item in found if ".istio.io" in item["apiVersion"]))
    command = ["istioctl", "validate", "--filename", str(file)]
    done = subprocess.run(command, env=cluster_environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0 or not file.read_text(), done.stderr
    print(f"{len(found)} objects of {CASES} cases")
