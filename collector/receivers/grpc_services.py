"""The foreign services on the collector's gRPC port. Requests arrive as bytes: what is none is counted, too."""

from collections.abc import Callable
from typing import NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from collector.come_later import abort_for_now, code_of
from collector.ingest.refusal import Later, Refused
from collector.receivers import otlp, pyroscope
from collector.receivers.inbox import Inbox
from collector.receivers.otlp import Otlp
from fleetprof.losses import DropReason
from fleetprof.pyroscope import push_pb2

SERVICES = (otlp.PROFILES, otlp.TRACES, pyroscope.SERVICE)
"""Those that can be used; the former name of OTLP profiles is answered, too."""

Take = Callable[[bytes, str], Message]


def grpc_handlers(inbox: Inbox, foreign: Otlp) -> tuple[grpc.GenericRpcHandler, ...]:
    """Handlers for `grpc.Server.add_generic_rpc_handlers`."""

    def push(data: bytes, peer: str) -> Message:
        pyroscope.take_push(inbox, data, peer)
        return push_pb2.PushResponse()

    def old(data: bytes, peer: str) -> Message:
        foreign.old_profiles()
        raise AssertionError("old profiles are refused")

    return (
        _handler(otlp.PROFILES, "Export", foreign.profiles),
        _handler(otlp.TRACES, "Export", foreign.traces),
        _handler(otlp.OLD_PROFILES, "Export", old),
        _handler(pyroscope.SERVICE, "Push", push),
    )


def _handler(service: str, method: str, take: Take) -> grpc.GenericRpcHandler:
    def answer(data: bytes, context: grpc.ServicerContext) -> Message:
        try:
            return take(data, peer_host(context.peer()))
        except Refused as refused:
            unknown = refused.reason is DropReason.PROTOCOL_VERSION
            code = grpc.StatusCode.UNIMPLEMENTED if unknown else grpc.StatusCode.INVALID_ARGUMENT
            context.abort(code, refused.message)
        except Later as later:
            _abort_with_details(context, later)

    method_handler: grpc.RpcMethodHandler[bytes, Message]
    method_handler = grpc.unary_unary_rpc_method_handler(answer, None, _serialize)
    return grpc.method_handlers_generic_handler(service, {method: method_handler})


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _abort_with_details(context: grpc.ServicerContext, later: Later) -> NoReturn:
    """Answer "later", with the pause that OTLP's clients honour (RetryInfo)."""
    retry = RetryInfo()
    retry.retry_delay.FromMilliseconds(later.retry_ms)
    detail = AnyMessage()
    detail.Pack(retry)
    status = Status(code=code_of(later).value[0], message=later.message, details=[detail])
    abort_for_now(context, later, ("grpc-status-details-bin", status.SerializeToString()))


def peer_host(peer: str) -> str:
    """The address of gRPC's peer, "ipv4:10.0.0.1:4242" → "10.0.0.1"; "" for others."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    return rest.rpartition(":")[0].removeprefix("[").removesuffix("]").replace("%5B", "").replace("%5D", "")
