"""TLS files of agents and collectors: read and checked up front, so that each mistake gets one clear message.

gRPC itself says no more than "handshake failed". Only the standard library is used: agents have no other.
"""

import re
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fleetprof.certificate_dates import validity_s
from fleetprof.errors import InputError

MAKE_HINT = "Make new ones with: fleetprof-collector certificates --out DIR --host NAME."
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


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
    """When a certificate is valid, Unix seconds."""

    path: Path
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

    Raises InputError. Dates are not looked at: see `certificate_validity` and `ca_problem`.
    """
    if files.certificate and not files.key:
        raise InputError(f"The certificate {files.certificate} is set without its key.", "Set tls_key, too.")
    if files.key and not files.certificate:
        raise InputError(f"The key {files.key} is set without its certificate.", "Set tls_certificate, too.")
    contents = TlsContents(_read(files.ca), _read(files.certificate), _read(files.key))
    if files.ca:
        _check_authority(files.ca)
    if files.certificate and files.key:
        _check_pair(files.certificate, files.key)
    return contents


def validities(path: Path) -> list[Validity]:
    """When each certificate of a PEM file is valid, in the file's order; raises InputError."""
    try:
        ders = [ssl.PEM_cert_to_DER_cert(text) for text in _PEM.findall(path.read_text("ascii", "replace"))]
        return [Validity(path, *validity_s(der)) for der in ders]
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        raise InputError(f"The TLS file {path} is damaged: {error}.", MAKE_HINT) from None


def certificate_validity(certificate: Path) -> Validity:
    """When a certificate is valid (the first of its chain); raises InputError."""
    found = validities(certificate)
    if not found:
        raise InputError(f"The TLS file {certificate} holds no certificate.", MAKE_HINT)
    return found[0]


def ca_problem(ca: Path, now_s: float | None = None) -> str:
    """Why none of the authorities in a file can be used now, in a sentence; "" when one can."""
    problems = [validity.problem(now_s) for validity in validities(ca)]
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
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"The TLS file {path} cannot be read: {error.strerror}.",
        "Check its path and its permissions in the settings tls_*.",
    )


def _check_authority(ca: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        raise InputError(
            f"The TLS file {ca} holds no certificate that can be read (PEM).",
            "It must hold the certificate of the authority that signed the other side's.",
        ) from None


def _check_pair(certificate: Path, key: Path) -> None:
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
