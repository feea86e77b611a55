"""The collector's side of TLS: its certificate, whose agents it takes; renewed files without a restart."""

import logging
import threading
import time

import grpc

from collector.tls_connections import TlsConnections
from fleetprof.errors import InputError
from fleetprof.tls import (
    MAKE_HINT,
    TlsContents,
    TlsFiles,
    Validity,
    ca_problem,
    certificate_validity,
    day,
    read_files,
)

log = logging.getLogger("fleetprof.tls")

LOOK_EVERY_S = 1.0
"""The files are looked at when an agent connects, at most so often."""
WARN_DAYS = 14


class ServerCertificates:
    """The files of a collector: `certificate` and `key` are its own, `ca` that of its agents (None: any).

    gRPC asks for them at each handshake, so that renewed files need no restart; files that cannot be used
    are reported once, and those read before stay in use.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files; raises InputError for what cannot be used, or is not valid now."""
        self._files = files
        self.connections = TlsConnections()
        self._lock = threading.Lock()
        if not files.certificate or not files.key:
            missing = "tls_certificate" if not files.certificate else "tls_key"
            raise InputError(
                f"TLS is on, but {missing} is not set.",
                f"A collector needs its own certificate and key. {MAKE_HINT}",
            )
        self._fingerprint = files.fingerprint()
        self._looked_s = 0.0
        self._contents, self.validity = self._read()
        self._warn_before_expiry()

    def credentials(self) -> grpc.ServerCredentials:
        """What a port is opened with."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._contents),
            self._renewed,  # type: ignore[arg-type]  # None means "as before" (gRPC's documentation)
            self._files.ca is not None,
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """gRPC's question at each handshake: the configuration when it has changed, else None."""
        self.connections.begun()
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._looked_s < LOOK_EVERY_S:
                return None
            self._looked_s = now_s
            fingerprint = self._files.fingerprint()
            if fingerprint == self._fingerprint:
                return None
            self._fingerprint = fingerprint
            try:
                self._contents, self.validity = self._read()
            except InputError as error:
                log.error("The renewed TLS files cannot be used; the old ones stay: %s", error.message)
                return None
            log.info(
                "The TLS files have changed and are in use, valid until %s.", day(self.validity.not_after_s)
            )
            return _configuration(self._contents)

    def _read(self) -> tuple[TlsContents, Validity]:
        contents = read_files(self._files)
        assert self._files.certificate
        validity = certificate_validity(self._files.certificate)
        if problem := validity.problem():
            raise InputError(problem, f"It is the collector's own (tls_certificate). {MAKE_HINT}")
        if self._files.ca and (problem := ca_problem(self._files.ca)):
            raise InputError(problem, "It is the authority of the agents' certificates (tls_client_ca).")
        return contents, validity

    def _warn_before_expiry(self) -> None:
        left_days = (self.validity.not_after_s - time.time()) / 86400
        if left_days < WARN_DAYS:
            log.warning(
                "The certificate %s expires on %s, in %.0f days. %s",
                self.validity.path, day(self.validity.not_after_s), left_days, MAKE_HINT,
            )  # fmt: skip


def _configuration(contents: TlsContents) -> grpc.ServerCertificateConfiguration:
    assert contents.key
    assert contents.certificate
    return grpc.ssl_server_certificate_configuration([(contents.key, contents.certificate)], contents.ca)
