"""Compressed bodies and messages of many parts are opened within bounds."""

import gzip
import resource
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.ingest.admission import admit, receive
from collector.ingest.limits import Limits
from collector.ingest.refusal import Refused
from collector.receivers.unpack import check_parts, decode_body, gunzip, gunzip_if_packed, shape_of
from collector.receivers.uploads import Upload, read_file
from fleetprof.losses import DropReason
from fleetprof.pprof import profile_pb2
from fleetprof.v1 import ingest_pb2
from tests.fuzz.mutate import field

MIB = 1 << 20

ABC = gzip.compress(b"abc", mtime=0)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_members_of_gzip_are_joined() -> None:
    assert gunzip(gzip.compress(b"ab") + gzip.compress(b"c")) == b"abc"
    assert gunzip_if_packed(b"plain") == b"plain"
    assert decode_body(gzip.compress(b"x"), " GZIP ") == b"x"


def test_a_bomb_is_unpacked_to_its_limit_only() -> None:
    bomb, before = gzip.compress(bytes(200 * MIB), 1), peak_bytes()
    with pytest.raises(Refused) as caught:
        gunzip(bomb, MIB)
    assert caught.value.reason is DropReason.TOO_LARGE
    assert peak_bytes() - before < 100 * MIB


def test_many_members_are_refused_at_once() -> None:
    with pytest.raises(Refused, match="members"):
        gunzip(gzip.compress(b"", 1) * 100_000)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x1f\x8b", ABC[:-1], ABC + b"rest", b"no gzip"],
    ids=["empty", "cut", "torn", "rest", "text"],
)
def test_broken_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(Refused) as caught:
        gunzip(data)
    assert caught.value.reason is DropReason.MALFORMED


def test_other_encodings_are_refused_by_name() -> None:
    with pytest.raises(Refused, match='"br" is not understood'):
        decode_body(b"x", "br")


@pytest.mark.parametrize("inside", [False, True], ids=["on top", "inside"])
def test_a_message_of_millions_of_parts_is_refused_before_it_is_parsed(inside: bool) -> None:
    """Parsed, it would take 400 MiB."""
    parts = field(2, 2, b"") * (8 * MIB)
    if inside:
        parts = field(2, 2, field(3, 2, b"") * (8 * MIB))
    before = peak_bytes()
    with pytest.raises(Refused) as caught:
        read_file(parts, Upload({}, "pprof"))
    assert caught.value.reason is DropReason.TOO_LARGE
    assert peak_bytes() - before < 200 * MIB


@pytest.mark.parametrize(
    "parts",
    [field(5, 2, field(10, 2, b"") * (4 * MIB)), field(6, 2, field(1, 2, b"") * (4 * MIB))],
    ids=["losses", "strings"],
)
def test_a_push_of_millions_of_parts_is_refused_before_it_is_parsed(parts: bytes) -> None:
    window = ingest_pb2.Window(start_unix_ns=int(time.time()) // 10 * 10**10, host="box")
    whole = ingest_pb2.PushRequest(protocol_version=1, agent_id="a", run_id=1, sequence=1, window=window)
    before = peak_bytes()
    with pytest.raises(Refused) as caught:
        admit(receive(whole.SerializeToString() + parts, Limits()), Limits(), time.time())
    assert caught.value.reason is DropReason.TOO_LARGE
    assert peak_bytes() - before < 200 * MIB


def test_parts_are_counted_as_the_parser_sees_them() -> None:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(30_000):
        scope.spans.add(name=f"span of the number {number}", trace_id=bytes(16))
    data, shape = request.SerializeToString(), shape_of(ExportTraceServiceRequest.DESCRIPTOR)
    parts = 2 + 3 * 30_000  # resource and scope; spans, each with a name and an id
    check_parts(data, shape, parts)
    with pytest.raises(Refused):
        check_parts(data, shape, parts - 1)
    check_parts(data[:-1], shape, parts)  # broken: left to the parser
    check_parts(b"\xff" * (2 * MIB), shape_of(profile_pb2.Profile.DESCRIPTOR))
