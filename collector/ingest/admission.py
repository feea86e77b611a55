"""Checks a request against the contract (fleetprof/v1/ingest.proto) and the limits, before it is kept."""

import re
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from collector.ingest.limits import Limits
from collector.ingest.refusal import Refused, malformed
from collector.ingest.window import U32, AgentCost, Rows, Window, WindowKey
from fleetprof.losses import DropReason
from fleetprof.profile_types import OFFSET_STEP_NS, WINDOW_NS, ProfileType
from fleetprof.protocol import PROTOCOL_VERSION
from fleetprof.v1 import ingest_pb2

_STEPS = WINDOW_NS // OFFSET_STEP_NS
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TYPES = np.array(ProfileType, np.uint8)
_REASONS = {int(reason) for reason in DropReason}


def receive(data: bytes, limits: Limits) -> ingest_pb2.PushRequest:
    """The request that `data` encodes; raises Refused (TOO_LARGE, MALFORMED, PROTOCOL_VERSION)."""
    if len(data) > limits.message_bytes:
        raise Refused(
            DropReason.TOO_LARGE,
            f"The request has {len(data)} bytes; this collector takes up to {limits.message_bytes}.",
        )
    try:
        request = ingest_pb2.PushRequest.FromString(data)
    except DecodeError:
        raise malformed("The request is not a fleetprof.v1.PushRequest.") from None
    if request.protocol_version != PROTOCOL_VERSION:
        raise Refused(
            DropReason.PROTOCOL_VERSION,
            f"The request speaks protocol version {request.protocol_version}; this collector speaks "
            f"{PROTOCOL_VERSION}. Install the agent and the collector from the same release.",
        )
    return request


def admit(request: ingest_pb2.PushRequest, limits: Limits, now_s: float) -> Window:
    """The request's window, checked; raises Refused."""
    window = request.window
    _check_name("agent_id", request.agent_id, limits.agent_id_bytes)
    _check_name("window.host", window.host, limits.host_bytes)
    if not request.run_id or not request.sequence:
        raise malformed("run_id and sequence must not be 0.")
    if window.covered_ns > limits.covered_ns or window.cpu_count > 1 << 20 or window.period_ns >= 1 << 63:
        raise malformed("covered_ns, cpu_count or period_ns is out of range.")
    return Window(
        key=WindowKey(request.agent_id, request.run_id, request.sequence),
        start_s=_start_s(window.start_unix_ns, limits, now_s),
        host=window.host,
        covered_ns=window.covered_ns,
        cpu_count=window.cpu_count,
        cpu_exact=window.cpu_exact,
        period_ns=window.period_ns,
        series_ids=_ids(window.series_ids, limits.series, DropReason.SERIES_LIMIT, "series"),
        stack_ids=_ids(window.stack_ids, limits.stacks, DropReason.STACK_LIMIT, "stacks"),
        rows=_rows(window, limits),
        losses=_losses(window),
        cost=_cost(window.cost),
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
    return start_s


def _ids(ids: Any, limit: int, reason: DropReason, name: str) -> list[int]:
    if len(ids) > limit:
        raise Refused(reason, f"The window has {len(ids)} {name}; this collector takes up to {limit}.")
    return list(ids)


def _rows(window: ingest_pb2.Window, limits: Limits) -> Rows:
    samples = window.samples
    if len(samples.value) > limits.rows:
        raise Refused(
            DropReason.TOO_LARGE,
            f"The window has {len(samples.value)} rows; this collector takes up to {limits.rows}.",
        )
    series, stack, type_ = _u32(samples.series), _u32(samples.stack), _types(samples.type)
    value = np.fromiter(samples.value, np.uint64, len(samples.value))
    captures = _u32(samples.captures)
    if not len(series) == len(stack) == len(type_) == len(value) == len(captures):
        raise malformed("The columns of window.samples differ in length.")
    if _largest(series) >= len(window.series_ids) or _largest(stack) >= len(window.stack_ids):
        raise malformed("A sample refers to a series or stack that the window does not list.")
    if _largest(value) > limits.value:
        raise malformed(f"A sample's value is larger than {limits.value}.")
    offset_count, offsets = _offsets(samples, len(value))
    _check_idle(window, stack, type_)
    return Rows(series, stack, type_, value, captures, offset_count, offsets)


def _u32(column: Any) -> U32:
    return np.fromiter(column, np.uint32, len(column))


def _types(column: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    types = np.fromiter(column, np.int32, len(column))
    if len(types) and not (_TYPES.min() <= types.min() and types.max() <= _TYPES.max()):
        raise malformed("A sample has an unknown profile type.")
    return types.astype(np.uint8)


def _largest(column: "np.ndarray[Any, np.dtype[Any]]") -> int:
    return int(column.max()) if len(column) else -1


def _offsets(samples: ingest_pb2.Samples, rows: int) -> tuple[U32, "np.ndarray[Any, np.dtype[np.uint16]]"]:
    """Counts and absolute offsets, from differences inside each row."""
    if not len(samples.offset_count) and not len(samples.offsets):
        return np.zeros(rows, np.uint32), np.empty(0, np.uint16)
    counts = _u32(samples.offset_count)
    steps = np.fromiter(samples.offsets, np.uint64, len(samples.offsets))
    if len(counts) != rows or int(counts.sum(dtype=np.uint64)) != len(steps):
        raise malformed("window.samples.offset_count does not fit the rows or the offsets.")
    sums = np.concatenate([np.zeros(1, np.uint64), steps.cumsum(dtype=np.uint64)])
    starts = np.concatenate([np.zeros(1, np.int64), counts.cumsum(dtype=np.int64)])[:-1]
    absolute = sums[1:] - np.repeat(sums[starts], counts)
    if _largest(absolute) >= _STEPS:
        raise malformed("A sample's offset lies outside its window.")
    return counts, absolute.astype(np.uint16)


def _check_idle(window: ingest_pb2.Window, stack: U32, type_: "np.ndarray[Any, np.dtype[np.uint8]]") -> None:
    idle = stack[type_ == ProfileType.IDLE]
    if any(window.stack_ids[place] for place in np.unique(idle).tolist()):
        raise malformed("Idle time has a stack.")


def _losses(window: ingest_pb2.Window) -> dict[DropReason, int]:
    losses: dict[DropReason, int] = {}
    for loss in window.losses:
        if loss.reason not in _REASONS:
            raise malformed(f"Loss reason {loss.reason} is unknown.")
        if loss.count >= 1 << 48:
            raise malformed("A loss count is out of range.")
        reason = DropReason(loss.reason)
        losses[reason] = losses.get(reason, 0) + loss.count
    return losses


def _cost(cost: ingest_pb2.AgentCost) -> AgentCost:
    return AgentCost(cost.cpu_ns, cost.bpf_ns, cost.rss_bytes, cost.map_bytes)
