"""What an agent tells a collector about itself and its host when it registers."""

import os
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence

from agent.backends.interface import Unavailable
from agent.config import AgentConfig
from agent.push import Sender
from fleetprof import __version__
from fleetprof.protocol import PROTOCOL_VERSION
from fleetprof.settings import Loaded
from fleetprof.v1 import agent_pb2

_REASON_BYTES, _VALUE_BYTES = 1024, 8192
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def registration(
    sender: Sender,
    loaded: Loaded[AgentConfig],
    backend: str,
    unavailable: Sequence[Unavailable],
    hooks: Mapping[str, str],
) -> agent_pb2.RegisterRequest:
    """The request. `hooks`: hook → "ok" or why it is missing, as agent.backends.hooks finds them."""
    return agent_pb2.RegisterRequest(
        protocol_version=PROTOCOL_VERSION,
        agent_id=sender.agent_id,
        run_id=sender.run_id,
        host=sender.host,
        agent_version=__version__,
        kernel=platform.release(),
        architecture=platform.machine(),
        cpu_count=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        backend=backend,
        hooks=[*_programs(unavailable), *_hooks(hooks)],
        configuration=list(_configuration(loaded)),
        started_unix_ns=time.time_ns(),
    )


def _programs(unavailable: Sequence[Unavailable]) -> Iterator[agent_pb2.Hook]:
    for missing in unavailable:
        yield agent_pb2.Hook(
            name=missing.program, available=False, reason=_cut(missing.why, _REASON_BYTES), is_program=True
        )


def _hooks(hooks: Mapping[str, str]) -> Iterator[agent_pb2.Hook]:
    for name, state in hooks.items():
        reason = "" if state == "ok" else _cut(state, _REASON_BYTES)
        yield agent_pb2.Hook(name=name, available=state == "ok", reason=reason)


def _configuration(loaded: Loaded[AgentConfig]) -> Iterator[agent_pb2.ConfigurationSetting]:
    for setting in loaded.table:
        value = setting.kind.to_toml(getattr(loaded.config, setting.field))
        yield agent_pb2.ConfigurationSetting(
            name=setting.name,
            value="(secret)" if setting.secret else _cut(value, _VALUE_BYTES),
            source=_cut(loaded.sources[setting.name], _REASON_BYTES),
        )


def _cut(text: str, limit_bytes: int) -> str:
    """`text` on one line and within the limit."""
    line = _CONTROL.sub(" ", text)
    return line.encode("utf-8", "replace")[:limit_bytes].decode("utf-8", "ignore")
