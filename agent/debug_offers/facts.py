"""What `doctor` says about debug files: whether they are offered, and whether the collector takes them."""

import grpc

from agent.config import AgentConfig
from agent.connection import Connection
from agent.host_facts import Fact
from agent.token import Token
from fleetprof.errors import InputError
from fleetprof.v1 import debuginfo_pb2, debuginfo_pb2_grpc

NAME = "debug files"
_CALL_S = 2.0


def debug_files(config: AgentConfig) -> Fact:
    """Asks the collector, for two seconds at most."""
    if config.offer_debug_files == "off":
        return Fact(
            NAME, "turned off", True, "Set offer_debug_files = auto to name frames of stripped programs."
        )
    why = _refusal(config)
    if why:
        return Fact(NAME, f"offered, but not taken: {why.rstrip('.')}")
    return Fact(NAME, "offered; the collector asks for those it needs")


def _refusal(config: AgentConfig) -> str:
    """Why the collector takes none; "" when it does."""
    try:
        token = Token(config.token, config.token_file)
        connection = Connection(config.collector, config.tls(), config.tls_server_name, token)
    except InputError as error:
        return error.message
    try:
        stub = debuginfo_pb2_grpc.DebugOfferServiceStub(connection.channel)  # type: ignore[no-untyped-call]
        request = debuginfo_pb2.OfferDebugInfoRequest(agent_id="doctor")
        answer: debuginfo_pb2.OfferDebugInfoResponse = stub.Offer(request, timeout=_CALL_S)
    except grpc.RpcError as error:
        return _told(error)
    finally:
        connection.close()
    return "" if answer.accepting else answer.reason


def _told(error: grpc.RpcError) -> str:
    code = error.code()
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return "the collector is older than this agent"
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return "the collector does not answer"
    return str(error.details())
