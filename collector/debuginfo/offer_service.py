"""fleetprof.v1.DebugOfferService (see fleetprof/v1/debuginfo.proto): agents offer debug files and send them."""

from collections.abc import Callable

import grpc

from collector.come_later import abort_for_now
from collector.debuginfo.arrival import Damaged
from collector.debuginfo.offered import read_offers
from collector.debuginfo.offers import SELDOM_MS, Answer, Offers, Unknown, retry_ms
from collector.ingest.refusal import Later
from fleetprof.errors import InputError, UnavailableError
from fleetprof.v1 import debuginfo_pb2, debuginfo_pb2_grpc

NAME = debuginfo_pb2.DESCRIPTOR.services_by_name["DebugOfferService"].full_name
_AGAIN_MS = 10_000

_Status = debuginfo_pb2.DebugInfoAnswer
_STATUS = {
    Answer.WANTED: _Status.STATUS_WANTED,
    Answer.BUSY: _Status.STATUS_LATER,
    Answer.UNNEEDED: _Status.STATUS_LATER,
    Answer.NEVER: _Status.STATUS_NEVER,
}
_Sent = debuginfo_pb2.SendDebugInfoPartResponse


class DebugOfferService(debuginfo_pb2_grpc.DebugOfferServiceServicer):
    """Answers from `offers`. `pay` takes bytes from the limits of the call's token, and may raise Later."""

    def __init__(self, offers: Offers, pay: Callable[[int], None] = lambda _: None) -> None:
        self._offers, self._pay = offers, pay

    def Offer(
        self, request: debuginfo_pb2.OfferDebugInfoRequest, context: grpc.ServicerContext
    ) -> debuginfo_pb2.OfferDebugInfoResponse:
        """Say which files are wanted."""
        try:
            question = read_offers(request)
        except InputError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if refusal := self._offers.refusal:
            return debuginfo_pb2.OfferDebugInfoResponse(reason=refusal, retry_ms=SELDOM_MS)
        try:
            answers = self._offers.ask(question)
        except UnavailableError as error:
            abort_for_now(context, Later(str(error), _AGAIN_MS))
        return debuginfo_pb2.OfferDebugInfoResponse(
            accepting=True,
            answers=[_Status(status=_STATUS[answer], claim=claim) for answer, claim in answers],
            retry_ms=retry_ms([answer for answer, _ in answers]),
            limit_bytes=self._offers.limit_bytes,
        )

    def SendPart(
        self, request: debuginfo_pb2.SendDebugInfoPartRequest, context: grpc.ServicerContext
    ) -> debuginfo_pb2.SendDebugInfoPartResponse:
        """Take a part of a file."""
        try:
            kept = self._offers.take_part(
                request.claim, request.offset, request.data, request.crc32, request.digest, self._pay
            )
        except Unknown as unknown:
            context.abort(grpc.StatusCode.NOT_FOUND, str(unknown))
        except Damaged as damaged:
            context.abort(grpc.StatusCode.DATA_LOSS, str(damaged))
        except InputError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except UnavailableError as error:
            abort_for_now(context, Later(str(error), _AGAIN_MS))
        except Later as later:
            abort_for_now(context, later)
        if kept is None:
            return _Sent(status=_Sent.STATUS_NEXT)
        return _Sent(status=_Sent.STATUS_NOT_NEEDED if kept.better else _Sent.STATUS_KEPT)
