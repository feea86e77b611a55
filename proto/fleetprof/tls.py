"""TLS files of agents and collectors: read and checked up front, so that each mistake gets one clear message.

gRPC itself says no more than "handshake failed". Only the standard library is used: certificates are read by
OpenSSL, through a handshake of the file with itself in memory.
"""

import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fleetprof.errors import InputError

MAKE_HINT = "Make new ones with: fleetprof-collector certificates --out DIR --host NAME."
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of openssl/x509_vfy.h."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files; None for those not configured. `certificate` may hold its chain, leaf first."""

    ca: Path | None = None
    """Whom to trust: of the collector (on an agent), of agents (on a collector)."""
    certificate: Path | None = None
    key: Path | None = None

    @property
    def on(self) -> bool:
        """TLS is used as soon as one of them is set."""
        return any((self.ca, self.certificate, self.key))

    def fingerprint(self) -> tuple[tuple[int, int], ...]:
        """Changes when a file does; (0, 0) stands for a file that is not there."""
        return tuple(_stat(path) for path in (self.ca, self.certificate, self.key) if path)


@dataclass(frozen=True, slots=True)
class TlsContents:
    """What the files hold, as gRPC takes it."""

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Validity:
    """Whom a certificate is for and when it is valid, Unix seconds."""

    path: Path
    names: tuple[str, ...]
    not_before_s: float
    not_after_s: float

    def problem(self, now_s: float | None = None) -> str:
        """Why it cannot be used now, in a sentence; "" when it can."""
        now = time.time() if now_s is None else now_s
        if now > self.not_after_s:
            return f"The certificate {self.path} expired on {day(self.not_after_s)}."
        if now < self.not_before_s:
            since = moment(self.not_before_s)
            return f"The certificate {self.path} is not valid before {since}, and it is {moment(now)} here."
        return ""


def read_files(files: TlsFiles) -> TlsContents:
    """The content of the files, each checked to be what it should be, and the key to fit the certificate.

    Raises InputError. Dates are not looked at: see `own_validity` and `ca_validities`.
    """
    if files.certificate and not files.key:
        raise InputError(f"The certificate {files.certificate} is set without its key.", "Set tls_key, too.")
    if files.key and not files.certificate:
        raise InputError(f"The key {files.key} is set without its certificate.", "Set tls_certificate, too.")
    contents = TlsContents(_read(files.ca), _read(files.certificate), _read(files.key))
    if files.ca:
        _trusting(files.ca)
    if files.certificate and files.key:
        _holding(files.certificate, files.key)
    return contents


def own_validity(certificate: Path, key: Path) -> Validity:
    """Whom the certificate is for, and when; raises InputError where the files do not fit."""
    server = _holding(certificate, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cafile=certificate)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    found = _handshake_in_memory(server, client)
    names = tuple(str(value) for _, value in _pairs(found.get("subjectAltName")))
    return Validity(certificate, names, _time(found, "notBefore"), _time(found, "notAfter"))


def ca_validities(ca: Path) -> list[Validity]:
    """The certificate authorities in a file, and when each is valid; raises InputError."""
    authorities = _trusting(ca).get_ca_certs()
    return [Validity(ca, (), _time(found, "notBefore"), _time(found, "notAfter")) for found in authorities]


def ca_problem(ca: Path, now_s: float | None = None) -> str:
    """Why none of the authorities in a file can be used now, in a sentence; "" when one can."""
    problems = [validity.problem(now_s) for validity in ca_validities(ca)]
    return problems[0] if problems and all(problems) else ""


def day(seconds: float) -> str:
    """Such as "2026-11-19"."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def moment(seconds: float) -> str:
    """Such as "2026-11-19 12:00:05 UTC"."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The TLS file {path} cannot be read: {error.strerror}.",
            "Check its path and its permissions in the settings tls_*.",
        ) from None


def _trusting(ca: Path) -> ssl.SSLContext:
    """A context that trusts what is in the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        raise InputError(
            f"The TLS file {ca} holds no certificate that can be read (PEM).",
            "It must hold the certificate of the authority that signed the other side's.",
        ) from None
    return context


def _holding(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context that shows the certificate."""
    if b"ENCRYPTED" in key.read_bytes():
        raise InputError(
            f"The key {key} is protected by a passphrase, which nobody can type here.",
            "Store it without one (openssl pkey -in … -out …), readable by this user only.",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InputError(
                f"The key {key} does not belong to the certificate {certificate}.",
                "Set tls_certificate and tls_key to files that were made together.",
            ) from None
        bad = certificate if b"-----BEGIN CERTIFICATE-----" not in certificate.read_bytes() else key
        raise InputError(
            f"The TLS file {bad} cannot be understood: it is not PEM, or damaged.",
            MAKE_HINT,
        ) from None
    return context


def _handshake_in_memory(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, object]:
    """The server's certificate as its client sees it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    done = [False, False]
    while not all(done):
        for place, end in enumerate(ends):
            try:
                end.do_handshake()
                done[place] = True
            except ssl.SSLWantReadError:
                continue
    found: dict[str, object] = dict(ends[0].getpeercert() or {})
    return found


def _pairs(value: object) -> list[tuple[str, str]]:
    return list(value) if isinstance(value, tuple) else []


def _time(certificate: object, field: str) -> float:
    assert isinstance(certificate, dict)
    return float(ssl.cert_time_to_seconds(str(certificate[field])))
