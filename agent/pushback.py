"""The pause that a collector asks for: the trailer `grpc-retry-pushback-ms` of an answer that means "later".

See gRFC A6, https://github.com/grpc/proposal/blob/master/A6-client-retries.md.
"""

import math
from typing import Any

import grpc

LONGEST_ASKED_S = 300.0
"""A pause that a collector asks for is kept up to this."""
_PUSHBACK = "grpc-retry-pushback-ms"


def asked_s(error: grpc.RpcError) -> float:
    """The pause in seconds; 0 where none is asked for."""
    trailers: Any = error.trailing_metadata() or ()
    text = next((value for key, value in trailers if key == _PUSHBACK), "")
    try:
        asked_ms = float(text)
    except ValueError:
        return 0.0
    return min(asked_ms / 1000, LONGEST_ASKED_S) if math.isfinite(asked_ms) and asked_ms > 0 else 0.0
