"""Checks requests of AgentService against the contract (fleetprof/v1/agent.proto) before they are kept."""

import re
from collections.abc import Iterable

from collector.agents.state import Beat, HookState, Registration, SettingValue
from collector.ingest.refusal import malformed
from fleetprof.losses import DropReason
from fleetprof.protocol import PROTOCOL_VERSION
from fleetprof.v1 import agent_pb2, ingest_pb2

AGENT_ID_BYTES = 64
TEXT_BYTES = 255
REASON_BYTES = 1024
VALUE_BYTES = 8192
HOOKS = 64
SETTINGS = 128

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REASONS = {int(reason) for reason in DropReason}
_MAX_DATETIME_S = (1 << 32) - 1


def check_registration(request: agent_pb2.RegisterRequest, now_s: float) -> Registration:
    """What the request says; raises Refused (MALFORMED).

    Of an agent of another protocol version only who it is is read: the rest may mean something else there.
    """
    _check_who(request.agent_id, request.run_id)
    _check_text("host", request.host, TEXT_BYTES)
    if not request.host:
        raise malformed("host must not be empty.")
    agent_version = request.agent_version if _is_text(request.agent_version, TEXT_BYTES) else ""
    if request.protocol_version != PROTOCOL_VERSION:
        return Registration(
            agent_id=request.agent_id,
            run_id=request.run_id,
            host=request.host,
            protocol_version=request.protocol_version,
            registered_at_s=now_s,
            agent_version=agent_version,
            refused_because=other_protocol("agent", request.protocol_version),
        )
    return Registration(
        agent_id=request.agent_id,
        run_id=request.run_id,
        host=request.host,
        protocol_version=request.protocol_version,
        registered_at_s=now_s,
        agent_version=_check_text("agent_version", request.agent_version, TEXT_BYTES),
        kernel=_check_text("kernel", request.kernel, TEXT_BYTES),
        architecture=_check_text("architecture", request.architecture, TEXT_BYTES),
        cpu_count=request.cpu_count,
        memory_bytes=request.memory_bytes,
        backend=_check_text("backend", request.backend, TEXT_BYTES),
        hooks=_hooks(request.hooks),
        configuration=_configuration(request.configuration),
        started_at_s=_seconds("started_unix_ns", request.started_unix_ns),
    )


def other_protocol(what: str, version: int) -> str:
    """The sentence for a sender of another protocol version; `what` is such as "agent"."""
    return (
        f"The {what} speaks protocol version {version}; this collector speaks {PROTOCOL_VERSION}. "
        "Install the agent and the collector from the same release."
    )


def check_heartbeat(request: agent_pb2.HeartbeatRequest, now_s: float) -> Beat:
    """What the request says; raises Refused (MALFORMED)."""
    _check_who(request.agent_id, request.run_id)
    skew_ns = request.clock_unix_ns - round(now_s * 1e9)
    return Beat(
        received_at_s=now_s,
        clock_skew_ms=round(skew_ns / 1e6),
        queue_windows=request.queue_windows,
        acknowledged_at_s=_seconds("acknowledged_start_unix_ns", request.acknowledged_start_unix_ns),
        windows_closed=request.windows_closed,
        windows_acknowledged=request.windows_acknowledged,
        cpu_ns=request.cost.cpu_ns,
        bpf_ns=request.cost.bpf_ns,
        rss_bytes=request.cost.rss_bytes,
        map_bytes=request.cost.map_bytes,
        losses=_losses(request.losses),
    )


def _check_who(agent_id: str, run_id: int) -> None:
    if not agent_id or not _is_text(agent_id, AGENT_ID_BYTES):
        raise malformed(f"agent_id must be 1 to {AGENT_ID_BYTES} bytes without control characters.")
    if not run_id:
        raise malformed("run_id must not be 0.")


def _is_text(text: str, limit_bytes: int) -> bool:
    return len(text.encode("utf-8")) <= limit_bytes and not _CONTROL.search(text)


def _check_text(field: str, text: str, limit_bytes: int) -> str:
    if not _is_text(text, limit_bytes):
        raise malformed(f"{field} must be at most {limit_bytes} bytes without control characters.")
    return text


def _seconds(field: str, unix_ns: int) -> int:
    if unix_ns // 10**9 > _MAX_DATETIME_S:
        raise malformed(f"{field} is after the year 2105.")
    return unix_ns // 10**9


def _hooks(hooks: Iterable[agent_pb2.Hook]) -> tuple[HookState, ...]:
    checked = tuple(
        HookState(
            _check_text("hooks.name", hook.name, TEXT_BYTES),
            ""
            if hook.available
            else _check_text("hooks.reason", hook.reason, REASON_BYTES) or "not available",
            hook.is_program,
        )
        for hook in hooks
    )
    if len(checked) > HOOKS:
        raise malformed(f"There are {len(checked)} hooks; at most {HOOKS} are taken.")
    return checked


def _configuration(settings: Iterable[agent_pb2.ConfigurationSetting]) -> tuple[SettingValue, ...]:
    checked = tuple(
        SettingValue(
            _check_text("configuration.name", setting.name, TEXT_BYTES),
            _check_text("configuration.value", setting.value, VALUE_BYTES),
            _check_text("configuration.source", setting.source, REASON_BYTES),
        )
        for setting in settings
    )
    if len(checked) > SETTINGS:
        raise malformed(f"There are {len(checked)} settings; at most {SETTINGS} are taken.")
    return checked


def _losses(losses: Iterable[ingest_pb2.Loss]) -> dict[DropReason, int]:
    """By reason; of a reason that a newer agent may know, nothing is kept: windows carry the losses, too."""
    found: dict[DropReason, int] = {}
    for loss in losses:
        if loss.reason in _REASONS:
            reason = DropReason(loss.reason)
            found[reason] = min(found.get(reason, 0) + loss.count, (1 << 63) - 1)
    return found
