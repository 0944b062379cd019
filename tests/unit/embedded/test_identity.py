"""Proof that a kubeconfig leads to the embedded cluster."""

import json
import os
from pathlib import Path

import pytest

from embedded.control_plane.credentials import make_credentials
from embedded.errors import ClusterError
from embedded.identity import is_embedded, verify_identity


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a cluster, which no test changes."""
    folder = tmp_path_factory.mktemp("identity") / "state"
    make_credentials(folder, 16443)
    return folder


def changed(state: Path, **cluster: object) -> str:
    document = json.loads((state / "kubeconfig").read_text())
    document["clusters"][0]["cluster"].update(cluster)
    file = state.parent / "changed"
    file.write_text(json.dumps(document))
    return str(file)


def test_kubeconfig_of_the_state_folder_is_embedded(state: Path) -> None:
    assert is_embedded(state, str(state / "kubeconfig"))
    assert is_embedded(state, str(state / "pki" / "inner.kubeconfig"))
    verify_identity(state, str(state / "kubeconfig"), "waypoint-lab")


def test_kubeconfig_with_the_authority_as_a_file_is_embedded(state: Path) -> None:
    changes = {"certificate-authority-data": None, "certificate-authority": "state/pki/ca.crt"}
    assert is_embedded(state, changed(state, **changes))


def test_environment_names_the_kubeconfig_where_none_is_given(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(state / "kubeconfig"))
    assert is_embedded(state)


def test_cluster_of_another_state_folder_is_not_embedded(state: Path, tmp_path: Path) -> None:
    make_credentials(tmp_path / "other", 16443)
    assert not is_embedded(state, str(tmp_path / "other" / "kubeconfig"))
    assert not is_embedded(tmp_path / "never-started", str(state / "kubeconfig"))


@pytest.mark.parametrize(
    "cluster",
    [
        {"insecure-skip-tls-verify": True},
        {"server": "http://127.0.0.1:8080"},
        {"certificate-authority-data": "no base64"},
        {"certificate-authority-data": None},
        {"certificate-authority-data": None, "certificate-authority": "missing.crt"},
    ],
)
def test_kubeconfig_whose_server_needs_no_such_certificate_is_not_embedded(
    state: Path, cluster: dict[str, object]
) -> None:
    assert not is_embedded(state, changed(state, **cluster))


@pytest.mark.parametrize("text", ["", "[]", "{}", "current-context: gone", "clusters: [{name: x}]"])
def test_kubeconfig_without_a_cluster_is_not_embedded(state: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    assert not is_embedded(state, str(tmp_path / "config"))


def test_first_of_several_kubeconfigs_chooses_the_context(state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(
        "current-context: prod\ncontexts: [{name: prod, context: {cluster: prod}}]\n"
        "clusters: [{name: prod, cluster: {server: 'https://prod.example', certificate-authority-data: cHJvZA==}}]\n"
    )
    both = os.pathsep.join([str(other), str(tmp_path / "missing"), str(state / "kubeconfig")])
    assert not is_embedded(state, both)
    assert is_embedded(state, both, "waypoint-lab")
    with pytest.raises(ClusterError, match=r"context prod is not the embedded cluster of .*/state; run `lab up`"):
        verify_identity(state, both)


def test_damaged_kubeconfig_is_named(state: Path, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a: [")
    with pytest.raises(ClusterError, match=f"^{tmp_path}/config: .*; choose another kubeconfig$"):
        is_embedded(state, str(tmp_path / "config"))
