"""Where the command `debuginfo` works: on a data folder, or through a running collector."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import grpc

from collector.config import CollectorConfig
from collector.debuginfo.assemble import open_files, open_workers
from collector.debuginfo.intake import CHUNK_BYTES, Intake
from collector.debuginfo.messages import kept_message, list_message
from fleetprof.errors import InputError, UnavailableError
from fleetprof.setting_kinds import parse_address
from fleetprof.tls import TlsFiles, read_files
from fleetprof.v1 import debuginfo_pb2, debuginfo_pb2_grpc

TOKEN_VARIABLE = "FLEETPROF_TOKEN"
_CALL_S = 60.0

Listed = debuginfo_pb2.ListDebugInfoResponse
Uploaded = debuginfo_pb2.UploadDebugInfoResponse


class Place(Protocol):
    """Where debug files are kept; every method raises InputError, UnavailableError."""

    def upload(self, name: str, size: int, file: IO[bytes]) -> Uploaded:
        """Keep a file."""
        ...

    def list(self) -> Listed:
        """All files."""
        ...

    def remove(self, build_id: str) -> bool:
        """Remove a file; false when there is none. What was found with it stays."""
        ...


class LocalFolder:
    """The data folder. A collector that runs on it sees what changes within seconds."""

    def __init__(self, config: CollectorConfig) -> None:
        self._files = open_files(config)
        self._intake = Intake(self._files, open_workers(config))

    def upload(self, name: str, size: int, file: IO[bytes]) -> Uploaded:
        """See Place."""
        return kept_message(self._intake.take(name, size, _chunks(file)))

    def list(self) -> Listed:
        """See Place."""
        return list_message(self._files)

    def remove(self, build_id: str) -> bool:
        """See Place."""
        return self._files.remove(build_id)


class RunningCollector:
    """A collector, asked over gRPC."""

    def __init__(self, name: str, channel: grpc.Channel, token: str) -> None:
        self._name = name
        self._stub = debuginfo_pb2_grpc.DebugInfoServiceStub(channel)  # type: ignore[no-untyped-call]
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def upload(self, name: str, size: int, file: IO[bytes]) -> Uploaded:
        """See Place."""
        with self._errors_told():
            answer: Uploaded = self._stub.Upload(_requests(name, size, file), metadata=self._metadata)
        return answer

    def list(self) -> Listed:
        """See Place."""
        request = debuginfo_pb2.ListDebugInfoRequest()
        with self._errors_told():
            answer: Listed = self._stub.List(request, metadata=self._metadata, timeout=_CALL_S)
        return answer

    def remove(self, build_id: str) -> bool:
        """See Place."""
        request = debuginfo_pb2.RemoveDebugInfoRequest(build_id=build_id)
        try:
            with self._errors_told():
                self._stub.Remove(request, metadata=self._metadata, timeout=_CALL_S)
        except _NotFound:
            return False
        return True

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        """Failed calls as errors for people."""
        try:
            yield
        except grpc.RpcError as error:
            details = str(error.details())
            if error.code() == grpc.StatusCode.NOT_FOUND:
                raise _NotFound from error
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                raise InputError(details) from error
            raise UnavailableError(
                f"Collector {self._name}: {details.rstrip('.')}.",
                "Check --to (the port that agents push to), --token-file and --ca.",
            ) from error


class _NotFound(Exception):
    """The collector has no such file."""


@contextmanager
def running_collector(address: str, files: TlsFiles, token_file: Path | None) -> Iterator[Place]:
    """The collector at `address`, HOST:PORT of its gRPC port; raises InputError for what cannot be used."""
    try:
        name = str(parse_address(address))
    except ValueError as error:
        raise InputError(f"--to {address} {error}.", "Example: --to 127.0.0.1:4040.") from None
    with _channel(name, files) as channel:
        yield RunningCollector(name, channel, _token(token_file))


def _channel(name: str, files: TlsFiles) -> grpc.Channel:
    if not files.on:
        return grpc.insecure_channel(name)
    contents = read_files(files)
    return grpc.secure_channel(
        name, grpc.ssl_channel_credentials(contents.ca, contents.key, contents.certificate)
    )


def _token(path: Path | None) -> str:
    try:
        return path.read_text("utf-8").strip() if path else os.environ.get(TOKEN_VARIABLE, "")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"Cannot read the token in {path}: {error}.", "Name its file: --token-file."
        ) from error


def _requests(name: str, size: int, file: IO[bytes]) -> Iterator[debuginfo_pb2.UploadDebugInfoRequest]:
    header = debuginfo_pb2.UploadDebugInfoHeader(name=name, size=size)
    yield debuginfo_pb2.UploadDebugInfoRequest(header=header)
    for part in _chunks(file):
        yield debuginfo_pb2.UploadDebugInfoRequest(data=part)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while part := file.read(CHUNK_BYTES):
        yield part
