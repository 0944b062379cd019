"""The Gateway API's mesh conformance suite, unchanged, on the embedded cluster.

Its echo image is Istio's echo server. Both are built from their Go modules, which takes minutes.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from embedded.control_plane.pki import Authority
from embedded.node.kubelet.images import CONFORMANCE
from embedded.toolchain.build import FLAGS, root
from embedded.toolchain.go import find_go, run_go
from tests.conftest import Kubectl

MODULE = Path(__file__).parents[1] / "conformance"
ECHO = "istio.io/istio/pkg/test/echo/cmd/"
NAMESPACES = ("gateway-conformance-mesh", "gateway-conformance-mesh-consumer")
LABELS = {"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"}
# All that the suite has for meshes, but for MeshConsumerRoute, which Istio leaves out for ambient.
# Source: istio, tests/integration/ambient/gateway_conformance_test.go.
FEATURES = [
    "Mesh",
    "HTTPRoute",
    "GRPCRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteParentRefPort",
    "HTTPRouteResponseHeaderModification",
    "MeshClusterIPMatching",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
]
TESTS = 21
SECONDS = 1800


def build() -> Path:
    """Return the folder of the suite, and of the echo server and client with a certificate."""
    folder = root() / CONFORMANCE
    folder.mkdir(exist_ok=True)
    go = find_go()
    for name in ("server", "client"):
        run_go(go, "build", *FLAGS, "-o", str(folder / name), f"{ECHO}{name}", folder=MODULE)
    run_go(go, "test", "-c", *FLAGS, "-o", str(folder / "mesh.test"), ".", folder=MODULE)
    Authority(folder, "cert", "echo")
    return folder


def gateway(namespace: str) -> dict[str, object]:
    listener = {"name": "mesh", "port": 15008, "protocol": "HBONE"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "waypoint", "namespace": namespace},
        "spec": {"gatewayClassName": "istio-waypoint", "listeners": [listener]},
    }


@pytest.mark.soak
@pytest.mark.timeout(2 * SECONDS)
def test_mesh_conformance_passes(kubectl: Kubectl, cluster_environment: dict[str, str], tmp_path: Path) -> None:
    suite = build() / "mesh.test"
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": LABELS}} for name in NAMESPACES
    ]
    kubectl("apply", "-f", "-", given=yaml.safe_dump_all([*namespaces, *map(gateway, NAMESPACES)]))
    for name in NAMESPACES:
        kubectl("wait", "-n", name, "--for=condition=Programmed", "gateway/waypoint", "--timeout=60s")
    labels = ",".join(f"{key}={value}" for key, value in LABELS.items())
    command = [str(suite), "-test.v", f"-test.timeout={SECONDS}s", f"-namespace-labels={labels}"]
    command += [
        "-conformance-profiles=MESH-HTTP,MESH-GRPC",
        "-allow-crds-mismatch",
        f"-supported-features={','.join(FEATURES)}",
    ]
    log = tmp_path / "conformance.log"
    with log.open("w") as output:
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **cluster_environment}, stdout=output, stderr=output, check=False
        )
    found = re.findall(r"^    --- (PASS|FAIL): TestConformance/(\S+)", log.read_text(), re.MULTILINE)
    print(f"{len(found)} tests of {suite.name}: {found}")
    assert done.returncode == 0, [name for result, name in found if result == "FAIL"] or log.read_text()[-2000:]
    assert len(found) == TESTS
