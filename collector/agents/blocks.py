"""Agents' states as rows of the tables agents and heartbeats."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from collector.agents.state import AgentState, Beat

_I64_MAX = (1 << 63) - 1
_NO_BEAT = Beat(received_at_s=0)

_TEXTS = ("agent_id", "host", "agent_version", "kernel", "architecture", "backend")
_COUNTS = ("protocol_version", "cpu_count", "memory_bytes", "run_id")


def agents_block(states: Sequence[AgentState]) -> dict[str, Any]:
    """The block of table agents."""
    who = [state.registration for state in states]
    return {
        **{name: [getattr(each, name) for each in who] for name in _TEXTS},
        **{name: _numbers([getattr(each, name) for each in who]) for name in _COUNTS},
        "status": ["refused" if each.refused_because else "accepted" for each in who],
        "message": [each.refused_because for each in who],
        "hook_names": [[hook.name for hook in each.hooks] for each in who],
        "hook_states": [[hook.reason for hook in each.hooks] for each in who],
        "hook_is_program": [[int(hook.is_program) for hook in each.hooks] for each in who],
        "setting_names": [[setting.name for setting in each.configuration] for each in who],
        "setting_values": [[setting.value for setting in each.configuration] for each in who],
        "setting_sources": [[setting.source for setting in each.configuration] for each in who],
        "started_at": [each.started_at_s for each in who],
        "registered_at": [int(each.registered_at_s) for each in who],
        "seen_at": [int(state.seen_at_s) for state in states],
        "acknowledged_at": [(state.beat or _NO_BEAT).acknowledged_at_s for state in states],
        **_beats(states),
        "updated_ns": np.full(len(states), time.time_ns(), np.uint64),
    }


def heartbeats_block(states: Sequence[AgentState]) -> dict[str, Any]:
    """The block of table heartbeats; every state has one."""
    who = [state.registration for state in states]
    return {
        "ts": [int(state.beat.received_at_s) if state.beat else 0 for state in states],
        "agent_id": [each.agent_id for each in who],
        "run_id": _numbers([each.run_id for each in who]),
        "host": [each.host for each in who],
        **_beats(states),
    }


def _beats(states: Sequence[AgentState]) -> dict[str, Any]:
    """The columns that both tables have."""
    beats = [state.beat or _NO_BEAT for state in states]
    names = ("queue_windows", "windows_closed", "windows_acknowledged")
    costs = ("cpu_ns", "bpf_ns", "rss_bytes", "map_bytes")
    return {
        "clock_skew_ms": [max(-_I64_MAX, min(beat.clock_skew_ms, _I64_MAX)) for beat in beats],
        **{name: _numbers([getattr(beat, name) for beat in beats]) for name in names + costs},
        "loss_reasons": [[reason.label for reason in sorted(beat.losses)] for beat in beats],
        "loss_counts": [[beat.losses[reason] for reason in sorted(beat.losses)] for beat in beats],
    }


def _numbers(values: list[int]) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    return np.array(values, np.uint64)
