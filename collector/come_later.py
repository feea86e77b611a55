"""Tells a gRPC client to come again, and when."""

from typing import NoReturn

import grpc

from collector.ingest.refusal import Later


def code_of(later: Later) -> grpc.StatusCode:
    """What a client is told: that there is too much to do, or that something is away."""
    return grpc.StatusCode.RESOURCE_EXHAUSTED if later.overloaded else grpc.StatusCode.UNAVAILABLE


def pause(later: Later) -> tuple[str, str]:
    """The metadata that says when."""
    return "grpc-retry-pushback-ms", str(later.retry_ms)


def abort_for_now(context: grpc.ServicerContext, later: Later, *more: tuple[str, str | bytes]) -> NoReturn:
    """End the call with the pause that gRPC's own retries honour (gRFC A6) and `more` trailing metadata."""
    context.set_trailing_metadata((pause(later), *more))
    context.abort(code_of(later), later.message)
