"""Makes the certificates for TLS between agents and a collector: an authority, the collector's, the agents'.

One authority signs both sides, so that `ca.pem` is what an agent trusts (tls_ca) and what a collector may ask
its agents for (tls_client_ca). Keys are P-256; names are in subjectAltName, as RFC 6125 wants them.
"""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetprof.errors import InputError, UnavailableError

DEFAULT_DAYS = 825
MAX_DAYS = 3650
BACKDATED = timedelta(minutes=5)
"""Valid since a little before now: clocks of hosts differ."""

CA, SERVER, AGENT = "ca", "collector", "agent"
"""Names of the files: NAME.pem and NAME.key."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key as PEM (PKCS #8, no passphrase)."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@dataclass(frozen=True, slots=True)
class Validity:
    """From when until when."""

    start: datetime
    end: datetime

    @classmethod
    def of_days(cls, days: int, now: datetime | None = None) -> "Validity":
        """`days` from now on; raises InputError."""
        if not 1 <= days <= MAX_DAYS:
            raise InputError(f"Certificates cannot be valid for {days} days.", f"Give 1 to {MAX_DAYS} days.")
        since = now or datetime.now(UTC)
        return cls(since - BACKDATED, since + timedelta(days=days))


def make_authority(validity: Validity, name: str = "fleetprof authority") -> Pair:
    """A certificate authority that may sign certificates of hosts, but no further authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, name, key, validity)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def make_server(authority: Pair, hosts: Sequence[str], validity: Validity) -> Pair:
    """A certificate by which a collector shows that it is one of `hosts` (names or IP addresses)."""
    if not hosts:
        raise InputError("No host is named.", "Give --host once for each name or address agents connect to.")
    return _issue(authority, hosts[0], [_general_name(host) for host in hosts], validity, server=True)


def make_agent(authority: Pair, name: str, validity: Validity) -> Pair:
    """A certificate by which an agent shows that it belongs to the fleet."""
    return _issue(authority, name, [x509.DNSName(name)], validity, server=False)


def write_certificates(folder: Path, hosts: Sequence[str], days: int, overwrite: bool = False) -> list[Path]:
    """Make all three pairs in `folder`; returns the files. Keys can be read by their owner only.

    An authority that is there already is kept and signs the new ones: renewed certificates can then be handed
    out host by host. Raises InputError where a collector's or agent's certificate exists and `overwrite` is
    false, UnavailableError where the folder cannot be written.
    """
    validity = Validity.of_days(days)
    _refuse_overwriting(folder, overwrite)
    authority = _authority_in(folder) or make_authority(Validity.of_days(MAX_DAYS))
    pairs = {
        CA: authority,
        SERVER: make_server(authority, hosts, validity),
        AGENT: make_agent(authority, "fleetprof-agent", validity),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        return [path for name, pair in pairs.items() for path in _write(folder, name, pair)]
    except OSError as error:
        raise UnavailableError(
            f"Cannot write certificates to {folder}: {error.strerror}.", "Choose another folder with --out."
        ) from error


def _refuse_overwriting(folder: Path, overwrite: bool) -> None:
    files = [folder / f"{name}.{kind}" for name in (SERVER, AGENT) for kind in ("pem", "key")]
    there = [path for path in files if path.exists()]
    if there and not overwrite:
        raise InputError(
            f"{there[0]} exists already, and hosts may depend on it.",
            "Choose another folder, or renew the collector's and the agents' certificates with --overwrite.",
        )


def _authority_in(folder: Path) -> Pair | None:
    """The authority that is in the folder already; None when there is none. Raises InputError."""
    certificate, key = folder / f"{CA}.pem", folder / f"{CA}.key"
    if not certificate.exists() and not key.exists():
        return None
    try:
        made = serialization.load_pem_private_key(key.read_bytes(), None)
        pair = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"The authority in {folder} ({CA}.pem, {CA}.key) cannot be used: {error}.",
            "Mend it, or choose another folder with --out.",
        ) from None
    if not isinstance(made, ec.EllipticCurvePrivateKey) or made.public_key() != pair.public_key():
        raise InputError(
            f"{key} is not the key of {certificate}.", "Mend it, or choose another folder with --out."
        )
    return Pair(pair, made)


def _write(folder: Path, name: str, pair: Pair) -> list[Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    _write_file(key, pair.key_pem, 0o600)
    _write_file(certificate, pair.certificate_pem, 0o644)
    return [certificate, key]


def _write_file(path: Path, data: bytes, mode: int) -> None:
    """Write beside and rename: a running collector reads either the old or the new file, never a part."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        os.fchmod(descriptor, mode)
    part.rename(path)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    labels = host.rstrip(".").split(".")
    if not host.isascii() or not all(_is_label(label) for label in labels) or len(host) > 253:
        raise InputError(
            f'"{host}" is neither a host name nor an IP address.', "Example: --host collector.lan"
        )
    return x509.DNSName(host.rstrip("."))


def _is_label(label: str) -> bool:
    plain = label.replace("-", "a").replace("_", "a")
    return label == "*" or (0 < len(label) < 64 and plain.isalnum() and label.strip("-") == label)


def _issue(
    authority: Pair, name: str, names: Sequence[x509.GeneralName], validity: Validity, server: bool
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate.subject
    usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = _builder(name, "", key, validity).issuer_name(issuer)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, validity: Validity
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.start)
        .not_valid_after(validity.end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.issuer_name(_named(issuer)) if issuer else builder


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
