"""What agents say of themselves: registrations and heartbeats, up to the blocks that are written of them."""

from collections.abc import Callable

from google.protobuf.message import DecodeError, Message

from collector.agents.blocks import agents_block
from collector.agents.checking import check_heartbeat, check_registration
from collector.agents.state import AgentState, Beat, Registration
from collector.ingest.refusal import Refused
from fleetprof.protocol import PROTOCOL_VERSION
from fleetprof.v1 import agent_pb2
from tests.fuzz.mutate import Mutator
from tests.fuzz.seeds import NOW_S
from tests.fuzz.subject import Subject, Wrong

_KNOWN = Registration("agent-1", 7, "box", PROTOCOL_VERSION, float(NOW_S))


def _registration() -> agent_pb2.RegisterRequest:
    request = agent_pb2.RegisterRequest(
        agent_id="agent-1", run_id=7, host="box", protocol_version=PROTOCOL_VERSION, agent_version="1.0",
        kernel="6.1.0", architecture="x86_64", cpu_count=4, memory_bytes=1 << 34, backend="core",
        started_unix_ns=(NOW_S - 60) * 10**9,
    )  # fmt: skip
    request.hooks.add(name="sched_switch", available=False, reason="not in this kernel", is_program=True)
    request.configuration.add(name="frequency", value="99", source="default")
    return request


def _heartbeat() -> agent_pb2.HeartbeatRequest:
    request = agent_pb2.HeartbeatRequest(
        agent_id="agent-1", run_id=7, clock_unix_ns=NOW_S * 10**9, queue_windows=3, windows_closed=9,
        acknowledged_start_unix_ns=(NOW_S - 20) * 10**9, windows_acknowledged=6,
    )  # fmt: skip
    request.cost.cpu_ns = request.cost.rss_bytes = 1 << 26
    request.losses.add(reason=1, count=4)
    return request


def _feed_registration(data: bytes) -> bool:
    found = check_registration(agent_pb2.RegisterRequest.FromString(data), float(NOW_S))
    _check([found.host, found.agent_version, found.kernel, found.backend])
    return bool(agents_block([AgentState(found, Beat(received_at_s=float(NOW_S)))]))


def _feed_heartbeat(data: bytes) -> bool:
    found = check_heartbeat(agent_pb2.HeartbeatRequest.FromString(data), float(NOW_S))
    return bool(agents_block([AgentState(_KNOWN, found)]))


def _check(texts: list[str]) -> None:
    if any(len(text.encode()) > 255 or "\0" in text for text in texts):
        raise Wrong(f"texts {texts}")


def _refusing(feed: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    def refusing(data: bytes) -> bool:
        try:
            return feed(data)
        except (DecodeError, Refused):
            return False

    return refusing


def _subject(feed: Callable[[bytes], bool], seed: Message) -> Subject:
    seeds = [seed.SerializeToString()]
    return Subject(_refusing(feed), seeds, lambda chance: Mutator(chance, seeds, True, False))


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "registration": lambda: _subject(_feed_registration, _registration()),
    "heartbeat": lambda: _subject(_feed_heartbeat, _heartbeat()),
}
