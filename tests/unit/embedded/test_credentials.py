"""Keys and certificates are kept while they are valid, and made again otherwise."""

import asyncio
import datetime
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from embedded.control_plane import pki
from embedded.control_plane.credentials import authorities_valid, make_credentials, renew_certificates
from embedded.files import write_private
from embedded.supervisor import supervisor

LEAVES = ("apiserver.crt", "apiserver-kubelet.crt", "kubelet.crt")


def contents(state: Path) -> dict[str, bytes]:
    return {str(file.relative_to(state)): file.read_bytes() for file in sorted(state.rglob("*")) if file.is_file()}


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name in before | after if before.get(name) != after.get(name)}


@pytest.fixture(scope="module", autouse=True)
def _short_keys() -> Iterator[None]:
    """Make and check RSA keys in less time."""
    make = pki.rsa.generate_private_key
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pki.rsa, "generate_private_key", lambda exponent, _size: make(exponent, 1024))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_credentials(folder, 16443)
    return folder


@pytest.fixture
def state(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "state")


def test_valid_credentials_are_kept(state: Path) -> None:
    before = contents(state)
    make_credentials(state, 16443)
    assert before == contents(state)
    assert renew_certificates(state) is False


@pytest.mark.parametrize("text", [b"", b"half a file"])
def test_damaged_file_is_made_again(state: Path, text: bytes) -> None:
    for name in contents(state):
        before = contents(state)
        (state / name).write_bytes(text)
        make_credentials(state, 16443)
        after = contents(state)
        assert after[name] not in (b"", text), name
        assert name in changed(before, after) or name.endswith((".kubeconfig", ".pem", ".csv", "kubeconfig", "token"))
        authority = x509.load_pem_x509_certificate(after["pki/ca.crt"])
        for leaf in LEAVES:
            x509.load_pem_x509_certificate(after[f"pki/{leaf}"]).verify_directly_issued_by(authority)
        assert after["pki/cacerts/root-cert.pem"] == after["pki/cacerts/mesh.crt"]
        assert after["pki/cacerts/ca-key.pem"] == after["pki/cacerts/mesh.key"]


@pytest.mark.parametrize("name", ["apiserver.crt", "kubelet.crt"])
def test_certificate_is_renewed_before_it_expires(state: Path, name: str) -> None:
    authority = pki.Authority(state / "pki", "ca", "waypoint-lab")
    cert, key = authority.issue("soon", days=pki.RENEW_DAYS - 1)
    write_private(state / "pki" / name, cert)
    write_private(state / "pki" / name.replace(".crt", ".key"), key)
    assert renew_certificates(state) is True
    renewed = x509.load_pem_x509_certificate((state / "pki" / name).read_bytes())
    left = renewed.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert left > datetime.timedelta(days=pki.LEAF_DAYS - 1)


def test_credentials_from_the_future_are_made_again(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ahead(datetime.datetime):
        """A clock that is half a day ahead."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Ahead":
            return super().now(tz) + datetime.timedelta(hours=12)

    shutil.rmtree(state / "pki")
    monkeypatch.setattr(pki.datetime, "datetime", Ahead)
    make_credentials(state, 16443)
    monkeypatch.undo()
    assert renew_certificates(state) is True
    now = datetime.datetime.now(datetime.UTC)
    for name in ("ca.crt", "cacerts/mesh.crt", *LEAVES):
        assert x509.load_pem_x509_certificate((state / "pki" / name).read_bytes()).not_valid_before_utc < now, name


def test_expired_authority_renews_its_certificates_too(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(state)
    monkeypatch.setattr(pki, "RENEW_DAYS", pki.CA_DAYS + 1)
    pki.Authority(state / "pki", "ca", "waypoint-lab")
    monkeypatch.undo()
    make_credentials(state, 16443)
    assert {"pki/ca.crt", "kubeconfig", *(f"pki/{leaf}" for leaf in LEAVES)} <= changed(before, contents(state))


def test_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    write_private(file, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(file, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert file.read_bytes() == b"old"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["ca", "cacerts/mesh"])
def test_supervisor_renews_no_authority(state: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert authorities_valid(state)
    (state / "pki" / f"{name}.crt").write_bytes(b"damaged")
    assert not authorities_valid(state)
    before, waits = contents(state), []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 1:
            raise asyncio.CancelledError

    running = supervisor.Supervisor.__new__(supervisor.Supervisor)
    running._state = state
    monkeypatch.setattr(supervisor.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(running._renew_certificates())
    assert before == contents(state)
