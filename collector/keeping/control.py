"""The socket in the data folder on which a running collector does what its commands ask (control.proto).

The embedded store belongs to one process, so a backup of it must come from the collector that has it. The commands
write the files: the collector's own rights may end at its data folder.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

from collector.keeping.backup_pieces import BackupPieces
from fleetprof.errors import FleetprofError, UnavailableError
from fleetprof.v1 import control_pb2 as pb
from fleetprof.v1 import control_pb2_grpc as rpc

log = logging.getLogger("fleetprof.collector")

SOCKET = "control.sock"
_ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


Hold = Callable[[Collection[str]], BackupPieces]
"""Fingerprints of what an earlier backup has → a backup's content as of now."""


class ControlServer:
    """Answers until `stop`."""

    def __init__(self, data: Path, hold: Hold) -> None:
        """Listen on the socket in `data`. `hold` makes a backup's content, while nothing is stored.

        Without it the collector works; so what is in the way is logged only.
        """
        self._folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
        self._server = grpc.server(ThreadPoolExecutor(4, thread_name_prefix="control"), options=_ANY_SIZE)
        rpc.add_ControlServiceServicer_to_server(_Control(hold), self._server)  # type: ignore[no-untyped-call]
        try:
            self._server.add_insecure_port(_address(self._folder))
            (data / SOCKET).chmod(0o600)
        except (RuntimeError, OSError) as error:
            log.warning("Commands cannot reach this collector (%s): %s", data / SOCKET, error)
        self._server.start()

    def stop(self, grace_s: float) -> None:
        """End; a backup under way is given `grace_s`, and is not whole then."""
        self._server.stop(grace_s).wait()
        os.close(self._folder)


@contextmanager
def running_collector(data: Path) -> Iterator["RunningCollector | None"]:
    """The collector that runs on the data folder; None where none does."""
    if not (data / SOCKET).is_socket():
        yield None
        return
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not _listens(folder):  # it was killed
            yield None
            return
        with grpc.insecure_channel(_address(folder), options=_ANY_SIZE) as channel:
            yield RunningCollector(channel)
    finally:
        os.close(folder)


class RunningCollector:
    """A collector, asked through its socket."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = rpc.ControlServiceStub(channel)  # type: ignore[no-untyped-call]

    def backup(self, have: Collection[str] = ()) -> Iterator[pb.BackupPiece]:
        """The pieces of a backup, but for those with these fingerprints; raises UnavailableError."""
        try:
            yield from self._stub.Backup(pb.BackupRequest(have=have))
        except grpc.RpcError as error:
            raise UnavailableError(
                f"The collector gave the backup up: {error.details()}", "Try again."
            ) from error


class _Control(rpc.ControlServiceServicer):
    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._one = threading.Lock()

    def Backup(self, request: pb.BackupRequest, context: grpc.ServicerContext) -> Iterator[pb.BackupPiece]:
        """See control.proto."""
        if not self._one.acquire(blocking=False):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "another backup is being made.")
        try:
            pieces = self._hold(request.have)
            try:
                yield from pieces
            finally:
                pieces.close()
        except FleetprofError as error:
            log.error("Cannot make a backup: %s", error)
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        finally:
            self._one.release()


def _path(folder: int) -> str:
    """The socket by way of the folder's descriptor: a socket's path has 107 bytes at most."""
    return f"/proc/self/fd/{folder}/{SOCKET}"


def _address(folder: int) -> str:
    return f"unix:{_path(folder)}"


def _listens(folder: int) -> bool:
    """Whether there is a collector behind the socket; raises UnavailableError where this user may not ask it."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(_path(folder))
        except PermissionError:
            raise UnavailableError(
                "A collector runs on this data folder, and takes commands of its own user only.",
                "Run this as that user, or as root.",
            ) from None
        except OSError:
            return False
    return True
