"""The service's messages, to and from what they stand for."""

from collector.debuginfo.files import DebugFile, DebugFiles, Kept
from fleetprof.v1 import debuginfo_pb2


def file_message(file: DebugFile) -> debuginfo_pb2.DebugInfoFile:
    """A kept file."""
    return debuginfo_pb2.DebugInfoFile(
        build_id=file.build_id,
        name=file.name,
        size=file.size,
        has_lines=file.lines,
        uploaded_unix_ns=round(file.uploaded_s * 1e9),
        used_unix_ns=round((file.used_s or file.uploaded_s) * 1e9),
        problem=file.problem,
        origin=f"{file.origin} {file.sender}".strip(),
    )


def kept_message(kept: Kept) -> debuginfo_pb2.UploadDebugInfoResponse:
    """The answer to an upload."""
    status = debuginfo_pb2.UploadDebugInfoResponse.Status
    return debuginfo_pb2.UploadDebugInfoResponse(
        status=status.STATUS_HAS_BETTER if kept.better else status.STATUS_KEPT,
        file=file_message(kept.file),
        evicted=kept.evicted,
    )


def list_message(files: DebugFiles) -> debuginfo_pb2.ListDebugInfoResponse:
    """All files."""
    return debuginfo_pb2.ListDebugInfoResponse(
        files=map(file_message, files.all()),
        limit_bytes=files.limit_bytes,
        used_bytes=files.used_bytes(),
    )
