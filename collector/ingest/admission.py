"""Checks a request against the contract (fleetprof/v1/ingest.proto) and the limits, before it is queued.

Columns and definitions are decoded and checked later, those of many windows at a time (rows.py,
decode_definitions.py).
"""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from collector.ingest.limits import Limits
from collector.ingest.packed import check_definitions, parse_packed
from collector.ingest.places import decode_places
from collector.ingest.refusal import Refused, malformed
from collector.ingest.varint import BadVarint, decode_varints, signed
from collector.ingest.window import AgentCost, Columns, Sender, Window, WindowKey
from collector.ingest.wire_numbers import WireNumbers
from fleetprof.losses import DropReason
from fleetprof.profile_types import WINDOW_NS
from fleetprof.protocol import PROTOCOL_VERSION

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REASONS = {int(reason): reason for reason in DropReason}
_ID_BYTES = 8
_LONGEST_STEP = 5
"""Bytes of a sint32."""


def receive(data: bytes, limits: Limits) -> Any:
    """The request that `data` encodes, with its columns as bytes (packed.py).

    Raises Refused (TOO_LARGE, MALFORMED, PROTOCOL_VERSION).
    """
    if len(data) > limits.message_bytes:
        raise Refused(
            DropReason.TOO_LARGE,
            f"The request has {len(data)} bytes; this collector takes up to {limits.message_bytes}.",
        )
    try:
        request = parse_packed(data)
    except DecodeError:
        raise malformed("The request is not a fleetprof.v1.PushRequest.") from None
    if request.protocol_version != PROTOCOL_VERSION:
        raise Refused(
            DropReason.PROTOCOL_VERSION,
            f"The request speaks protocol version {request.protocol_version}; this collector speaks "
            f"{PROTOCOL_VERSION}. Install the agent and the collector from the same release.",
        )
    return request


def admit(
    request: Any,
    limits: Limits,
    now_s: float,
    numbers: WireNumbers | None = None,
) -> Window:
    """The request's window; raises Refused.

    Raises NumbersLost for a request that names stacks by numbers that are not in `numbers`.
    """
    window = request.window
    _check_name("agent_id", request.agent_id, limits.agent_id_bytes)
    _check_name("window.host", window.host, limits.host_bytes)
    if not request.run_id or not request.sequence:
        raise malformed("run_id and sequence must not be 0.")
    if window.covered_ns > limits.covered_ns or window.cpu_count > 1 << 20 or window.period_ns >= 1 << 63:
        raise malformed("covered_ns, cpu_count or period_ns is out of range.")
    start_s = _start_s(window.start_unix_ns, limits, now_s)
    key = WindowKey(request.agent_id, request.run_id, request.sequence)
    definitions = b"".join(request.definitions)
    check_definitions(definitions)
    columns = _columns(window, limits, key.sender, numbers or WireNumbers())
    return Window(
        key=key,
        start_s=start_s,
        host=window.host,
        covered_ns=window.covered_ns,
        cpu_count=window.cpu_count,
        cpu_exact=window.cpu_exact,
        period_ns=window.period_ns,
        losses=_losses(window),
        cost=_cost(window.cost),
        columns=columns,
        rows=_row_count(columns, limits),
        definitions=definitions,
        places=decode_places(b"".join(window.places), columns, limits),
    )


def _check_name(field: str, text: str, limit_bytes: int) -> None:
    if not text or len(text.encode("utf-8")) > limit_bytes or _CONTROL.search(text):
        raise malformed(f"{field} must be 1 to {limit_bytes} bytes without control characters.")


def _start_s(start_unix_ns: int, limits: Limits, now_s: float) -> int:
    if start_unix_ns % WINDOW_NS:
        raise malformed("window.start_unix_ns is not a multiple of 10 seconds.")
    start_s = start_unix_ns // 10**9
    if start_s > now_s + limits.future_s:
        raise Refused(
            DropReason.IN_FUTURE,
            f"The window starts {start_s - now_s:.0f} s in the future; set the clocks right.",
        )
    if start_s < now_s - limits.oldest_s:
        raise Refused(
            DropReason.TOO_OLD,
            f"The window is {(now_s - start_s) / 86400:.1f} days old; samples are kept for "
            f"{limits.oldest_s / 86400:g} days.",
        )
    return int(start_s)


def _columns(window: Any, limits: Limits, sender: Sender, numbers: WireNumbers) -> Columns:
    samples = window.samples
    if samples.stack and samples.stack_steps:
        raise malformed("window.samples has both stack and stack_steps.")
    return Columns(
        series_ids=_ids(window.series_ids, limits.series, DropReason.SERIES_LIMIT, "series"),
        stack_ids=_ids(
            [_stack_ids(window, limits, sender, numbers)], limits.stacks, DropReason.STACK_LIMIT, "stacks"
        ),
        series=b"".join(samples.series),
        stack=b"".join(samples.stack) or b"".join(samples.stack_steps),
        stack_is_steps=bool(samples.stack_steps),
        type=b"".join(samples.type),
        value=b"".join(samples.value),
        captures=b"".join(samples.captures),
        offset_count=b"".join(samples.offset_count),
        offsets=b"".join(samples.offsets),
    )


def _stack_ids(window: Any, limits: Limits, sender: Sender, numbers: WireNumbers) -> bytes:
    """The window's stack ids, numbered ones first."""
    listed, steps = b"".join(window.stack_ids), b"".join(window.stack_numbers)
    if len(listed) % _ID_BYTES:
        raise malformed("The window's stacks are not whole numbers of 8 bytes.")
    if len(steps) > _LONGEST_STEP * limits.stacks:
        raise Refused(DropReason.STACK_LIMIT, "The window has too many stack numbers.")
    if not steps:
        return numbers.take(sender, np.empty(0, np.int64), window.first_stack_number, listed, 0)
    try:
        moves = signed(decode_varints([steps])[0])
    except BadVarint:
        raise malformed("window.stack_numbers is cut off inside a number.") from None
    return numbers.take(sender, moves, window.first_stack_number, listed, window.stack_check)


def _ids(pieces: Iterable[bytes], limit: int, reason: DropReason, name: str) -> bytes:
    ids = b"".join(pieces)
    count, rest = divmod(len(ids), _ID_BYTES)
    if rest:
        raise malformed(f"The window's {name} are not whole numbers of 8 bytes.")
    if count > limit:
        raise Refused(reason, f"The window has {count} {name}; this collector takes up to {limit}.")
    return ids


def _row_count(columns: Columns, limits: Limits) -> int:
    """How many numbers column `value` holds: each ends with a byte below 128."""
    rows = int(np.count_nonzero(np.frombuffer(columns.value, np.int8) >= 0))
    if rows > limits.rows:
        raise Refused(
            DropReason.TOO_LARGE, f"The window has {rows} rows; this collector takes up to {limits.rows}."
        )
    return rows


def _losses(window: Any) -> dict[DropReason, int]:
    losses: dict[DropReason, int] = {}
    for loss in window.losses:
        if loss.reason not in _REASONS:
            raise malformed(f"Loss reason {loss.reason} is unknown.")
        if loss.count >= 1 << 48:
            raise malformed("A loss count is out of range.")
        reason = _REASONS[loss.reason]
        losses[reason] = losses.get(reason, 0) + loss.count
    return losses


def _cost(cost: Any) -> AgentCost:
    return AgentCost(cost.cpu_ns, cost.bpf_ns, cost.rss_bytes, cost.map_bytes)
