"""The foreign protocols over HTTP, apart from any web framework: a request in, an answer out.

Each protocol has its own words for an error: OTLP a google.rpc.Status in the request's encoding, Connect
(Pyroscope's Push) a JSON with a code, the others JSON as in the rest of the API.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from collector.ingest.refusal import Later, Refused, malformed
from collector.receivers.inbox import Inbox, Taken
from collector.receivers.otlp import Otlp
from collector.receivers.pyroscope import take_ingest, take_push
from collector.receivers.unpack import BODY_BYTES, decode_body
from collector.receivers.uploads import take_upload
from fleetprof.losses import DropReason

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

PATHS = (
    "/v1development/profiles",
    "/v1experimental/profiles",
    "/v1/profiles",
    "/v1/traces",
    "/push.v1.PusherService/Push",
    "/ingest",
    "/pyroscope/ingest",
    "/api/v1/ingest",
)

_INVALID_ARGUMENT, _RESOURCE_EXHAUSTED, _UNIMPLEMENTED, _UNAVAILABLE = 3, 8, 12, 14


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A POST. Header names are lower-case; `peer` is the client's address; `body` as it was sent."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    peer: str

    @property
    def kind(self) -> str:
        """The content type without its options."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def plain_body(self) -> bytes:
        """The body without its Content-Encoding; raises Refused."""
        return decode_body(self.body, self.headers.get("content-encoding", ""))


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What to answer."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpReceivers:
    """Answers the paths of PATHS. Safe to use from several threads."""

    def __init__(self, inbox: Inbox, otlp: Otlp) -> None:
        self._inbox, self._otlp = inbox, otlp
        self._answers: dict[str, Callable[[HttpRequest], HttpAnswer]] = {
            "/v1development/profiles": lambda request: self._export(request, self._otlp.profiles),
            "/v1experimental/profiles": lambda request: self._export(request, self._old_profiles),
            "/v1/profiles": lambda request: self._export(request, self._old_profiles),
            "/v1/traces": lambda request: self._export(request, self._otlp.traces),
            "/push.v1.PusherService/Push": self._connect,
            "/ingest": self._ingest,
            "/pyroscope/ingest": self._ingest,
            "/api/v1/ingest": self._upload,
        }

    def answer(self, request: HttpRequest) -> HttpAnswer:
        """The answer to a POST to one of PATHS; never raises Refused or Later."""
        return self._answers[request.path](request)

    def too_large(self) -> HttpAnswer:
        """Counts and answers a body that is not read because of its length."""
        self._inbox.ledger.count(DropReason.TOO_LARGE)
        return _plain_error(413, f"The body is larger than {BODY_BYTES} bytes.")

    def _old_profiles(self, data: bytes, peer: str, as_json: bool) -> Message:
        self._otlp.old_profiles()
        raise AssertionError("old profiles are refused")

    def _export(self, request: HttpRequest, take: Callable[[bytes, str, bool], Message]) -> HttpAnswer:
        if request.kind not in (PROTOBUF, JSON):
            with_kind = f"Content-Type {request.kind[:60]!r} is not OTLP's: {PROTOBUF} or {JSON}."
            self._inbox.ledger.count(DropReason.MALFORMED)
            return _encoded(415, Status(code=_INVALID_ARGUMENT, message=with_kind), JSON)
        try:
            data = self._plain(request)
            return _encoded(200, take(data, request.peer, request.kind == JSON), request.kind)
        except Refused as refused:
            code = _UNIMPLEMENTED if refused.reason is DropReason.PROTOCOL_VERSION else _INVALID_ARGUMENT
            return _encoded(_status(refused), Status(code=code, message=refused.message), request.kind)
        except Later as later:
            code = _RESOURCE_EXHAUSTED if later.overloaded else _UNAVAILABLE
            return _encoded(
                _later_status(later), Status(code=code, message=later.message), request.kind, _pause(later)
            )

    def _connect(self, request: HttpRequest) -> HttpAnswer:
        """https://connectrpc.com/docs/protocol: unary requests."""
        if request.kind not in ("application/proto", JSON):
            self._inbox.ledger.count(DropReason.MALFORMED)
            return _connect_error(415, "unimplemented", "Send application/proto or application/json.")
        try:
            take_push(self._inbox, self._plain(request), request.peer, request.kind == JSON)
        except Refused as refused:
            return _connect_error(400, "invalid_argument", refused.message)
        except Later as later:
            code = "resource_exhausted" if later.overloaded else "unavailable"
            return _connect_error(_later_status(later), code, later.message, _pause(later))
        return HttpAnswer(200, request.kind, b"{}" if request.kind == JSON else b"")

    def _ingest(self, request: HttpRequest) -> HttpAnswer:
        def take() -> Taken:
            kind = request.headers.get("content-type", "")
            return take_ingest(self._inbox, request.query, kind, self._plain(request), request.peer)

        return _taken(take)

    def _upload(self, request: HttpRequest) -> HttpAnswer:
        def take() -> Taken:
            body = self._plain(request)
            return take_upload(self._inbox, request.query, request.headers, body, request.peer)

        return _taken(take)

    def _plain(self, request: HttpRequest) -> bytes:
        with self._inbox.room(), self._inbox.counted():
            body = request.plain_body()
            if not body:
                raise malformed("The request has no body.")
            return body


def _taken(take: Callable[[], Taken]) -> HttpAnswer:
    try:
        taken = take()
    except Refused as refused:
        return _plain_error(_status(refused), refused.message)
    except Later as later:
        return _plain_error(_later_status(later), later.message, _pause(later))
    facts = {
        "windows_stored": taken.stored,
        "windows_known": taken.duplicates,
        "rejected": taken.rejected,
        "problems": taken.problems,
    }
    return HttpAnswer(200, JSON, json.dumps(facts).encode())


def _status(refused: Refused) -> int:
    return 413 if refused.reason is DropReason.TOO_LARGE else 400


def _later_status(later: Later) -> int:
    return 429 if later.overloaded else 503


def _pause(later: Later) -> dict[str, str]:
    return {"Retry-After": str(-(-later.retry_ms // 1000))}


def _plain_error(status: int, message: str, headers: Mapping[str, str] | None = None) -> HttpAnswer:
    body = json.dumps({"error": message, "hint": ""}).encode()
    return HttpAnswer(status, JSON, body, headers or {})


def _connect_error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> HttpAnswer:
    return HttpAnswer(status, JSON, json.dumps({"code": code, "message": message}).encode(), headers or {})


def _encoded(
    status: int, message: Message, kind: str, headers: Mapping[str, str] | None = None
) -> HttpAnswer:
    if kind == JSON:
        text = json.dumps(json_format.MessageToDict(message)).encode()
        return HttpAnswer(status, JSON, text, headers or {})
    return HttpAnswer(status, PROTOBUF, message.SerializeToString(), headers or {})
