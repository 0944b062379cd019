"""The node proxy's files and certificates."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from embedded.control_plane.pki import Authority
from embedded.node.proxy import envoy_process as proxy
from embedded.node.proxy.envoy_config import EnvoyResources

IDENTITY = "spiffe://cluster.local/ns/shop/sa/cart"


def resources(*clusters: str) -> EnvoyResources:
    return EnvoyResources(listeners={"l": {"name": "l"}}, clusters={name: {"name": name} for name in clusters})


def listed(files: proxy.EnvoyFiles) -> list[str]:
    return [item["name"] for item in json.loads((files.folder / "cds.json").read_text())["resources"]]


def test_envoy_files_unused_cluster_is_kept_until_drained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    files = proxy.EnvoyFiles(tmp_path / "proxy")
    files.write(resources("a", "b"))
    files.write(resources("a"))
    assert listed(files) == ["a", "b"]
    now += proxy.DRAIN_SECONDS + 1
    files.write(resources("a"))
    assert listed(files) == ["a"]


def test_envoy_files_cluster_used_again_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    files = proxy.EnvoyFiles(tmp_path / "proxy")
    for clusters in (("a", "b"), ("a",), ("a", "b")):
        files.write(resources(*clusters))
    now += proxy.DRAIN_SECONDS + 1
    files.write(resources("a", "b"))
    assert listed(files) == ["a", "b"]


def test_envoy_files_same_content_is_not_written(tmp_path: Path) -> None:
    files = proxy.EnvoyFiles(tmp_path / "proxy")
    files.write(resources("a"))

    def state() -> dict[Path, Any]:
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files.folder.rglob("*.json")}

    before = state()
    files.write(resources("a"))
    assert state() == before
    assert len(before) == 2


def test_certificates_identity_is_renewed_at_half_its_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path / "pki", "mesh", "mesh")
    certificates = proxy.Certificates(tmp_path / "certs", authority)
    chain, key = certificates.files(IDENTITY)
    found = x509.load_pem_x509_certificate(Path(chain).read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [IDENTITY]
    found.verify_directly_issued_by(authority.cert)
    assert Path(key).stat().st_mode & 0o077 == 0
    assert certificates.files(IDENTITY) == (chain, key)
    later = time.time() + proxy.CERTIFICATE_DAYS * 86400 * 0.51
    monkeypatch.setattr(time, "time", lambda: later)
    assert certificates.files(IDENTITY) != (chain, key)
    assert not Path(key).exists(), "keys that are out of use are not kept"
