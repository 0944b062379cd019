"""Keys and certificates of one cluster: made once, in files that only their owner can read."""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
LEAF_DAYS = 365


def write_private(path: Path, data: bytes) -> None:
    """Writes a file that only its owner can read, from its first byte on."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *, pkcs8: bool = False) -> bytes:
    form = serialization.PrivateFormat.PKCS8 if pkcs8 else serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _name(common: str, organization: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


class Authority:
    """A certificate authority kept in two files, `NAME.crt` and `NAME.key`; made if they are not there."""

    def __init__(self, folder: Path, name: str, common: str) -> None:
        """Loads or makes the authority `name` in `folder`."""
        self.cert_file, self.key_file = folder / f"{name}.crt", folder / f"{name}.key"
        if self.cert_file.exists() and self.key_file.exists():
            self.cert = x509.load_pem_x509_certificate(self.cert_file.read_bytes())
            key = serialization.load_pem_private_key(self.key_file.read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            self._key = key
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        self.cert = (
            x509.CertificateBuilder()
            .subject_name(_name(common))
            .issuer_name(_name(common))
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=True,
                    crl_sign=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write_private(self.key_file, _pem(self._key, pkcs8=True))
        write_private(self.cert_file, self.cert.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        common: str,
        *,
        organization: str | None = None,
        dns: tuple[str, ...] = (),
        ips: tuple[str, ...] = (),
        uri: str | None = None,
        days: float = LEAF_DAYS,
    ) -> tuple[bytes, bytes]:
        """A new (certificate, key) in PEM for both client and server use; `days` is how long it lasts."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
        if uri:
            names.append(x509.UniformResourceIdentifier(uri))
        builder = (
            x509.CertificateBuilder()
            # A SPIFFE certificate has no subject; its URI is then critical (RFC 5280, 4.1.2.6).
            .subject_name(x509.Name([]) if uri else _name(common, organization))
            .issuer_name(self.cert.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=bool(uri))
        cert = builder.sign(self._key, hashes.SHA256())
        return cert.public_bytes(serialization.Encoding.PEM), _pem(key, pkcs8=True)


def issue_files(authority: Authority, folder: Path, name: str, common: str, **options: object) -> None:
    """Issues `NAME.crt` and `NAME.key` into `folder`, unless both are there."""
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    if cert_file.exists() and key_file.exists():
        return
    cert, key = authority.issue(common, **options)  # type: ignore[arg-type]
    write_private(key_file, key)
    write_private(cert_file, cert)


def service_account_keys(folder: Path) -> None:
    """The pair that signs and checks service account tokens: `sa.key`, `sa.pub`."""
    if (folder / "sa.pub").exists():
        return
    key = rsa.generate_private_key(65537, 2048)
    write_private(folder / "sa.key", _pem(key))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_private(folder / "sa.pub", public)
