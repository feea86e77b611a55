"""fleetprof.v1.DebugInfoService (see fleetprof/v1/debuginfo.proto)."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from collector.debuginfo.files import DebugFiles
from collector.debuginfo.intake import CHUNK_BYTES, Intake
from collector.debuginfo.messages import kept_message, list_message
from fleetprof.errors import InputError, UnavailableError
from fleetprof.v1 import debuginfo_pb2, debuginfo_pb2_grpc

log = logging.getLogger("fleetprof.debuginfo")

NAME = debuginfo_pb2.DESCRIPTOR.services_by_name["DebugInfoService"].full_name
MAX_UPLOADS = 4
"""At a time; others are told to come later."""
UPLOAD_S = 1800.0
"""How long one may take: an uploader that stalls must not hold a place for ever."""

_Upload = debuginfo_pb2.UploadDebugInfoRequest


class DebugInfoService(debuginfo_pb2_grpc.DebugInfoServiceServicer):
    """Answers from the kept files. `changed` is called when there is a new one."""

    def __init__(self, files: DebugFiles, intake: Intake, changed: Callable[[], None]) -> None:
        self._files, self._intake, self._changed = files, intake, changed
        self._places = threading.Semaphore(MAX_UPLOADS)

    def Upload(
        self, request_iterator: Iterator[_Upload], context: grpc.ServicerContext
    ) -> debuginfo_pb2.UploadDebugInfoResponse:
        """Keep a file."""
        if not self._places.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many uploads at once; try again later.")
        overdue = threading.Timer(UPLOAD_S, context.cancel)
        overdue.daemon = True
        overdue.start()
        try:
            with _errors_told(context):
                header = _header(request_iterator)
                kept = self._intake.take(header.name, header.size, _parts(request_iterator), header.build_id)
        finally:
            overdue.cancel()
            self._places.release()
        if not kept.better:
            log.info("Keeping debug file %s (%s).", kept.file.build_id, kept.file.name)
            self._changed()
        return kept_message(kept)

    def List(
        self, request: debuginfo_pb2.ListDebugInfoRequest, context: grpc.ServicerContext
    ) -> debuginfo_pb2.ListDebugInfoResponse:
        """All files."""
        with _errors_told(context):
            return list_message(self._files)

    def Remove(
        self, request: debuginfo_pb2.RemoveDebugInfoRequest, context: grpc.ServicerContext
    ) -> debuginfo_pb2.RemoveDebugInfoResponse:
        """Remove a file."""
        with _errors_told(context):
            found = self._files.remove(request.build_id)
        if not found:
            context.abort(grpc.StatusCode.NOT_FOUND, "There is no debug file of this build id.")
        return debuginfo_pb2.RemoveDebugInfoResponse()


def _header(requests: Iterator[_Upload]) -> debuginfo_pb2.UploadDebugInfoHeader:
    first = next(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InputError("An upload begins with its header.", "")
    return first.header


def _parts(requests: Iterator[_Upload]) -> Iterator[bytes]:
    for request in requests:
        if request.WhichOneof("part") != "data" or len(request.data) > CHUNK_BYTES:
            raise InputError("An upload's parts are data, of at most 1 MiB each.", "")
        yield request.data


@contextmanager
def _errors_told(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except UnavailableError as error:
        context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
