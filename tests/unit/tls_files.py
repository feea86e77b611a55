"""Certificates for tests: made by the product's own code, good and bad ones."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from collector.certificates import Pair, Validity, make_agent, make_authority, make_server
from fleetprof.tls import TlsFiles

NOW = datetime.now(UTC)
VALID = Validity(NOW - timedelta(days=1), NOW + timedelta(days=30))
PAST = Validity(NOW - timedelta(days=9), NOW - timedelta(days=2))
FUTURE = Validity(NOW + timedelta(days=2), NOW + timedelta(days=9))


@dataclass(frozen=True)
class Authority:
    """An authority and the folder where what it signs is written."""

    folder: Path
    pair: Pair

    @classmethod
    def make(cls, folder: Path, validity: Validity = VALID) -> "Authority":
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder, make_authority(validity))
        made.ca.write_bytes(made.pair.certificate_pem)
        return made

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def server(self, name: str = "server", host: str = "127.0.0.1", validity: Validity = VALID) -> TlsFiles:
        """Files of a collector that is `host`; any agent may connect."""
        return self._write(name, make_server(self.pair, [host], validity), None)

    def agent(self, name: str = "agent", validity: Validity = VALID) -> TlsFiles:
        """Files of an agent that trusts this authority."""
        return self._write(name, make_agent(self.pair, "some-agent", validity), self.ca)

    def _write(self, name: str, pair: Pair, ca: Path | None) -> TlsFiles:
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(pair.certificate_pem)
        key.write_bytes(pair.key_pem)
        return TlsFiles(ca, certificate, key)
