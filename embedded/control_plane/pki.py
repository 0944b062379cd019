"""Keys and certificates of one cluster: made once, made again before they expire or where a file is damaged."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from embedded.files import write_private

__all__ = ["Authority", "is_valid", "issue_files", "service_account_keys", "write_private"]
CA_DAYS = 3650
LEAF_DAYS = 365
RENEW_DAYS = 60  # a certificate with less time left is made again
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _key_pem(key: PrivateKey) -> bytes:
    form = serialization.PrivateFormat
    kind = form.PKCS8 if isinstance(key, ec.EllipticCurvePrivateKey) else form.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())


def _public_pem(key: PrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def _name(common: str, organization: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey, days: float) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _load(cert_file: Path, key_file: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """Return the pair in two files, or None if one is missing, damaged, not valid for long, or they do not match."""
    try:
        cert = x509.load_pem_x509_certificate(cert_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return None
    now = datetime.datetime.now(datetime.UTC)
    # One from the future was made while the clock was ahead.
    if cert.not_valid_before_utc > now or cert.not_valid_after_utc - now < datetime.timedelta(days=RENEW_DAYS):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return None
    return (cert, key) if cert.public_key() == key.public_key() else None


def is_valid(folder: Path, name: str) -> bool:
    """Return True if `NAME.crt` and `NAME.key` are a pair that is valid now and for RENEW_DAYS."""
    return _load(folder / f"{name}.crt", folder / f"{name}.key") is not None


class Authority:
    """A certificate authority in two files, `NAME.crt` and `NAME.key`."""

    def __init__(self, folder: Path, name: str, common: str) -> None:
        """Load the authority `name` of `folder`, or make it."""
        self.cert_file, self.key_file = folder / f"{name}.crt", folder / f"{name}.key"
        if pair := _load(self.cert_file, self.key_file):
            self.cert, self._key = pair
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        ) | {"encipher_only": False, "decipher_only": False}
        self.cert = (
            _builder(_name(common), _name(common), self._key, CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write_private(self.key_file, _key_pem(self._key))
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
        """Issue a certificate for both client and server use.

        Args:
            common: Common name; a certificate with a `uri` has none.
            organization: Organization; Kubernetes takes it as the user's group.
            dns: DNS names of the subject.
            ips: IP addresses of the subject.
            uri: SPIFFE id of the subject.
            days: Validity from now.

        Returns:
            Certificate and private key in PEM.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
        if uri:
            names.append(x509.UniformResourceIdentifier(uri))
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        # A SPIFFE certificate has no subject; its URI is then critical (RFC 5280, 4.1.2.6).
        subject = x509.Name([]) if uri else _name(common, organization)
        builder = (
            _builder(subject, self.cert.subject, key, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=bool(uri))
        cert = builder.sign(self._key, hashes.SHA256())
        return cert.public_bytes(serialization.Encoding.PEM), _key_pem(key)

    def issued(self, cert: x509.Certificate) -> bool:
        """Check that this authority signed `cert`."""
        try:
            cert.verify_directly_issued_by(self.cert)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True


def issue_files(authority: Authority, folder: Path, name: str, common: str, **options: object) -> bool:
    """Keep a valid certificate of `authority` in `NAME.crt` and `NAME.key`. Return True if it is a new one."""
    cert_file, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    pair = _load(cert_file, key_file)
    if pair and authority.issued(pair[0]):
        return False
    cert, key = authority.issue(common, **options)  # type: ignore[arg-type]
    write_private(key_file, key)
    write_private(cert_file, cert)
    return True


def service_account_keys(folder: Path) -> None:
    """Keep a pair of keys that signs and checks service account tokens: `sa.key`, `sa.pub`."""
    try:
        key = serialization.load_pem_private_key((folder / "sa.key").read_bytes(), None)
        if isinstance(key, rsa.RSAPrivateKey) and _public_pem(key) == (folder / "sa.pub").read_bytes():
            return
    except (OSError, ValueError, TypeError):
        pass
    key = rsa.generate_private_key(65537, 2048)
    write_private(folder / "sa.key", _key_pem(key))
    write_private(folder / "sa.pub", _public_pem(key))
