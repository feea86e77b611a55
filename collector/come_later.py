"""Tells a gRPC client to come again, and when."""

from typing import NoReturn

import grpc

from collector.ingest.refusal import Later


def abort_for_now(context: grpc.ServicerContext, later: Later, *more: tuple[str, str | bytes]) -> NoReturn:
    """End the call with the pause that gRPC's own retries honour (gRFC A6) and `more` trailing metadata."""
    context.set_trailing_metadata((("grpc-retry-pushback-ms", str(later.retry_ms)), *more))
    code = grpc.StatusCode.RESOURCE_EXHAUSTED if later.overloaded else grpc.StatusCode.UNAVAILABLE
    context.abort(code, later.message)
