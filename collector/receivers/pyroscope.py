"""Pyroscope's two ways in: `push.v1.PusherService/Push`, and the older `POST /ingest`.

The public API: https://grafana.com/docs/pyroscope/latest/reference-server-api/. Formats of /ingest other than pprof
and folded stacks (jfr, trie, tree, speedscope) are refused by name.
"""

import re
from collections.abc import Mapping
from io import BytesIO

from google.protobuf.message import DecodeError
from multipart import MultipartError, MultipartParser, parse_options_header

from collector.ingest.refusal import Refused, malformed
from collector.receivers import labels as labelling
from collector.receivers.foreign import Foreign
from collector.receivers.inbox import Inbox, Taken
from collector.receivers.measured import Unsupported
from collector.receivers.otlp_json import parse_json
from collector.receivers.times import parse_ns
from collector.receivers.unpack import BODY_BYTES, check_parts, gunzip_if_packed, shape_of, too_large
from collector.receivers.uploads import Upload, read_file, sample_rate
from fleetprof.errors import InputError
from fleetprof.formats.stack_profile import ValueType
from fleetprof.frames import FrameKind
from fleetprof.losses import DropReason
from fleetprof.pyroscope import push_pb2

SERVICE = "push.v1.PusherService"

_SHAPE = shape_of(push_pb2.PushRequest.DESCRIPTOR)
_FOLDED = ("", "folded", "groups", "collapsed")
_NAME = re.compile(r"([^{}]*)(?:\{(.*)\})?\s*", re.S)
_TYPE_SUFFIXES = {".cpu": "cpu", ".itimer": "cpu", ".wall": "wall"}
_SPIES = {
    "pyspy": FrameKind.PYTHON,
    "gospy": FrameKind.GO,
    "javaspy": FrameKind.JVM,
    "nodespy": FrameKind.NODE,
    "pyroscope-rs": FrameKind.RUST,
    "rbspy": FrameKind.JIT,
    "phpspy": FrameKind.JIT,
    "dotnetspy": FrameKind.JIT,
}
_PROFILE_BYTES = BODY_BYTES


def take_push(inbox: Inbox, data: bytes, peer: str, as_json: bool = False) -> Taken:
    """Store the profiles of a PushRequest; single ones may be rejected. Raises Refused (counted), Later."""

    def translate(taken: Taken) -> list[Foreign]:
        request = _decode(data, as_json)
        found: list[Foreign] = []
        budget = _PROFILE_BYTES
        for series in request.series:
            labels = labelling.ours((pair.name, pair.value) for pair in series.labels)
            upload = Upload(labelling.of_source(labels, peer), format="pprof")
            for sample in series.samples:
                plain = gunzip_if_packed(sample.raw_profile, budget)
                budget -= len(plain)
                try:
                    found += read_file(plain, upload)
                except (Refused, Unsupported, InputError) as error:
                    reason = error.reason if isinstance(error, Refused) else DropReason.MALFORMED
                    message = error.message if isinstance(error, Refused | InputError) else str(error)
                    inbox.reject(taken, reason, message)
        return found

    taken = inbox.take(f"pyroscope {peer}", (data,), translate)
    if taken.rejected and not taken.stored and not taken.duplicates:
        raise malformed(" ".join(taken.problems))
    return taken


def _decode(data: bytes, as_json: bool) -> push_pb2.PushRequest:
    if len(data) > BODY_BYTES:
        raise too_large(BODY_BYTES)
    if as_json:
        return parse_json(data, push_pb2.PushRequest(), ignore_unknown=True)
    check_parts(data, _SHAPE)
    try:
        return push_pb2.PushRequest.FromString(data)
    except DecodeError:
        raise malformed("The request is not a push.v1.PushRequest.") from None


def take_ingest(inbox: Inbox, query: Mapping[str, str], content_type: str, body: bytes, peer: str) -> Taken:
    """Store the profile of a request to /ingest; raises Refused (counted), Later."""
    content = (
        repr(sorted(query.items())),
        content_type.partition("boundary")[0],
        _content(content_type, body),
    )

    def translate(taken: Taken) -> list[Foreign]:
        file, is_pprof = _file(query, content_type, body)
        return read_file(file, _upload(query, "pprof" if is_pprof else "folded", peer))

    return inbox.take(f"pyroscope {peer}", content, translate)


def _content(content_type: str, body: bytes) -> bytes:
    """The body without the boundary of its parts, which is another at each attempt."""
    boundary = parse_options_header(content_type)[1].get("boundary", "").encode("utf-8", "replace")
    return body.replace(boundary, b"") if len(boundary) >= 8 else body


def _file(query: Mapping[str, str], content_type: str, body: bytes) -> tuple[bytes, bool]:
    """The profile's bytes, and whether they are pprof; raises Refused."""
    format = query.get("format", "")
    if format not in ("pprof", "lines", *_FOLDED):
        raise malformed(f"format={format[:40]!r} is not supported; supported: pprof, folded, lines.")
    if "octet-stream+" in content_type:
        raise malformed(f"Content-Type {content_type[:60]!r} is not supported; send pprof or folded stacks.")
    if content_type.startswith("multipart/form-data"):
        return _parts(content_type, body), True
    if format == "lines":
        lines = gunzip_if_packed(body).split(b"\n")
        return b"".join(line + b" 1\n" for line in lines if line.strip()), False
    return body, format == "pprof"


def _parts(content_type: str, body: bytes) -> bytes:
    """The part "profile" of a form; raises Refused."""
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    found: dict[str, bytes] = {}
    try:
        parser = MultipartParser(
            BytesIO(body),
            boundary,
            len(body),
            part_limit=8,
            memory_limit=len(body) + 65536,
            spool_limit=BODY_BYTES,
        )
        for part in parser:
            found[part.name] = part.raw
    except (MultipartError, ValueError, LookupError) as error:
        raise malformed(f"The multipart form is not understood ({error}).") from None
    if found.get("prev_profile"):
        raise malformed("Profiles that are cumulative (prev_profile) are not supported: send differences.")
    if "profile" not in found:
        raise malformed('The multipart form has no part "profile".')
    return found["profile"]


def _upload(query: Mapping[str, str], format: str, peer: str) -> Upload:
    """What the query says: name=app.cpu{label=value,…}, from, until, sampleRate, units, spyName."""
    parsed = _NAME.fullmatch(query.get("name", ""))
    if not parsed or not parsed[1].strip():
        raise malformed('The parameter "name" is not an application\'s name with {labels}.')
    name, type_ = parsed[1].strip(), "cpu"
    for suffix, meaning in _TYPE_SUFFIXES.items():
        if name.endswith(suffix):
            name, type_ = name.removesuffix(suffix), meaning
    pairs = [("service", name)] + [_pair(text) for text in (parsed[2] or "").split(",") if text.strip()]
    return Upload(
        labels=labelling.of_source(labelling.ours(pairs), peer),
        format=format,
        start_ns=parse_ns(query["from"], "from") if query.get("from") else 0,
        end_ns=parse_ns(query["until"], "until") if query.get("until") else 0,
        value_type=ValueType(type_, query.get("units", "") or "samples"),
        period_ns=10**9 // sample_rate(query.get("sampleRate", "")),
        kind=_SPIES.get(query.get("spyName", ""), FrameKind.NATIVE),
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise malformed(f"The label {text[:80]!r} is not name=value.")
    return name.strip(), value.strip().strip('"')
