"""Profiles of other tools, pushed as their clients push them: stored once, refused in their own words."""

import gzip
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceResponse,
)
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2_grpc import ProfilesServiceStub

from collector.query.model import Query, TimeRange
from collector.query.querier import Querier
from collector.query.selector import parse_selector
from collector.store.chdb import ChdbStore
from collector.store.consistency import differences
from fleetprof.formats import pprof
from fleetprof.formats.stack_profile import CPU_NANOSECONDS, SAMPLES_COUNT, ValueType, from_stacks
from fleetprof.frames import Frame, FrameKind
from fleetprof.losses import DropReason
from fleetprof.profile_types import selection
from fleetprof.pyroscope import push_pb2, push_pb2_grpc
from query_ui.app import create_app
from tests.store.receiving import Receiving, receiving
from tests.unit.foreign_requests import OtlpProfiles, golden

pytestmark = pytest.mark.store

PROFILES = "/v1development/profiles"
PUSH = "/push.v1.PusherService/Push"
PROTOBUF = {"Content_Type": "application/x-protobuf"}


@pytest.fixture(scope="module")
def there(embedded: ChdbStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiving]:
    with receiving(embedded, tmp_path_factory.mktemp("receivers")) as running:
        yield running


@pytest.fixture
def channel(there: Receiving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(there.target) as opened:
        yield opened


def window_s(back: int = 1) -> int:
    return (int(time.time()) // 10 - back) * 10


def otlp(service: str, value: int = 50, start_s: float | None = None) -> OtlpProfiles:
    request = OtlpProfiles({"service.name": service, "host.name": f"host-{service}"})
    return request.profile({"leaf;main": [value]}, window_s() if start_s is None else start_s)


def file(value: int, start_s: int, value_type: ValueType = CPU_NANOSECONDS) -> bytes:
    frames = [Frame(FrameKind.NATIVE, name, "/opt/app") for name in ("leaf", "main")]
    profile = from_stacks(
        [frames], [[2, value]], (SAMPLES_COUNT, value_type), time_ns=start_s * 10**9, duration_ns=10**9
    )
    return pprof.encode(profile)


def test_otlp_over_grpc_counts_once(there: Receiving, channel: grpc.Channel, service: str) -> None:
    request = otlp(service).message
    export = ProfilesServiceStub(channel).Export
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: export(request, compression=grpc.Compression.Gzip), range(16)))
    assert all(answer == ExportProfilesServiceResponse() for answer in answers)
    assert there.stored(service) == {"cpu": 50}
    assert there.rows("SELECT value FROM series_1m WHERE service = %(s)s", s=service) == [(50,)]
    labels = there.rows("SELECT host FROM series WHERE service = %(s)s", s=service)
    assert labels == [(f"host-{service}",)]
    assert not [each for each in differences(there.store) if each.service == service]


def test_what_others_push_says_nothing_of_completeness(there: Receiving, service: str) -> None:
    """Nobody vouches that a foreign profiler sends every 10 s: its pauses are no losses, its host no agent's."""
    now_s = int(time.time())
    assert there.post(PROFILES, otlp(service, start_s=now_s - 600).encode(), **PROTOBUF).status_code == 200
    range, querier = TimeRange(now_s - 900, now_s), Querier(there.store)
    query = Query(selection("cpu"), parse_selector(f'service="{service}"'), range)
    assert querier.summary(query).seconds == 50e-9
    assert querier.completeness(query).windows_expected == 0
    assert f"host-{service}" not in {row.host for row in querier.hosts(range, now_s)}


@pytest.mark.parametrize("packed", [False, True])
def test_otlp_over_http(there: Receiving, service: str, packed: bool) -> None:
    data = otlp(service).encode()
    extra = {"Content_Encoding": "gzip"} if packed else {}
    for _ in range(2):
        answer = there.post(PROFILES, gzip.compress(data) if packed else data, **PROTOBUF, **extra)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-protobuf")
        assert not ExportProfilesServiceResponse.FromString(answer.content).HasField("partial_success")
    assert there.stored(service) == {"cpu": 50}


def test_otlp_as_json(there: Receiving, service: str) -> None:
    request = otlp(service)
    request.message.resource_profiles[0].scope_profiles[0].profiles[0].profile_id = bytes(range(16))
    body = json_format.MessageToDict(request.message)
    profile = body["resourceProfiles"][0]["scopeProfiles"][0]["profiles"][0]
    profile["profileId"] = bytes(range(16)).hex()
    answer = there.post(PROFILES, json.dumps(body).encode(), Content_Type="application/json")
    assert (answer.status_code, answer.json()) == (200, {})
    assert there.stored(service) == {"cpu": 50}
    profile["wallTime"] = 1
    refused = there.post(PROFILES, json.dumps(body).encode(), Content_Type="application/json")
    assert refused.status_code == 400
    assert "wallTime" in refused.json()["message"]


def test_otlp_rejects_single_profiles(there: Receiving, channel: grpc.Channel, service: str) -> None:
    request = otlp(service).profile({"main": [9]}, window_s(), ("alloc_space", "bytes")).message
    answer = ProfilesServiceStub(channel).Export(request)
    assert answer.partial_success.rejected_profiles == 1
    assert "alloc_space/bytes" in answer.partial_success.error_message
    assert there.stored(service) == {"cpu": 50}


def test_other_layouts_are_refused_in_the_protocols_words(there: Receiving, channel: grpc.Channel) -> None:
    before = there.ledger.total[DropReason.PROTOCOL_VERSION]
    answer = there.post(PROFILES, golden("otlp-profiles-1.9.bin"), **PROTOBUF)
    assert answer.status_code == 400
    status = Status.FromString(answer.content)
    assert (status.code, "OTLP 1.8 or 1.9" in status.message) == (
        grpc.StatusCode.UNIMPLEMENTED.value[0],
        True,
    )
    old = "/opentelemetry.proto.collector.profiles.v1experimental.ProfilesService/Export"
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(old)(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "v1experimental" in caught.value.details()
    assert there.post("/v1/profiles", b"x", **PROTOBUF).status_code == 400
    assert there.ledger.total[DropReason.PROTOCOL_VERSION] == before + 3


@pytest.mark.parametrize(
    ("start_s", "reason"), [(-30 * 86400, DropReason.TOO_OLD), (3600, DropReason.IN_FUTURE)]
)
def test_windows_that_are_out_of_time(
    there: Receiving, channel: grpc.Channel, service: str, start_s: int, reason: DropReason
) -> None:
    before = there.ledger.total[reason]
    with pytest.raises(grpc.RpcError) as caught:
        ProfilesServiceStub(channel).Export(otlp(service, start_s=time.time() + start_s).message)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert there.ledger.total[reason] == before + 1
    assert there.stored(service) == {}


def test_what_is_no_request(there: Receiving, channel: grpc.Channel) -> None:
    before = there.ledger.total[DropReason.MALFORMED]
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/push.v1.PusherService/Push")(b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert there.post(PROFILES, b"\xff\xff", **PROTOBUF).status_code == 400
    assert there.post(PROFILES, b"{", Content_Type="application/json").status_code == 400
    assert there.post(PROFILES, b"x", Content_Type="text/plain").status_code == 415
    assert there.post(PROFILES, b"x", Content_Encoding="gzip", **PROTOBUF).status_code == 400
    assert there.post("/api/v1/ingest", b"").status_code == 400
    assert there.post("/ingest", b"a 1\n").status_code == 400
    assert there.ledger.total[DropReason.MALFORMED] == before + 7


def test_a_gzip_bomb_is_refused(there: Receiving) -> None:
    bomb = gzip.compress(bytes(40 << 20), 9)
    answer = there.post("/api/v1/ingest?service=x", bomb)
    assert (answer.status_code, len(bomb) < 50_000) == (413, True)
    nested = there.post("/api/v1/ingest?service=x", gzip.compress(bomb), Content_Encoding="gzip")
    assert nested.status_code == 413


def test_an_uploaded_pprof_file(there: Receiving, service: str) -> None:
    start_s = window_s()
    path = f"/api/v1/ingest?service={service}&version=1.2&host=h-{service}&team=it%27s"
    first = there.post(path, file(70, start_s), X_Fleetprof_Labels="region=eu, pod=p-1")
    again = there.post(path, file(70, start_s), X_Fleetprof_Labels="region=eu, pod=p-1")
    assert first.json() == {"windows_stored": 1, "windows_known": 0, "rejected": 0, "problems": []}
    assert again.json() == {"windows_stored": 0, "windows_known": 1, "rejected": 0, "problems": []}
    assert there.post(path, file(30, start_s)).json()["windows_stored"] == 1
    assert there.stored(service) == {"cpu": 100}
    sql = "SELECT version, region, pod, free_values FROM series WHERE service = %(s)s ORDER BY region"
    labels = [(*row[:3], list(row[3])) for row in there.rows(sql, s=service)]
    assert labels == [("1.2", "", "", ["it's"]), ("1.2", "eu", "p-1", ["it's"])]
    frames = (
        "SELECT DISTINCT function, mapping FROM frames WHERE id IN "
        "(SELECT arrayJoin(frames) FROM stacks WHERE service = %(s)s)"
    )
    assert sorted(there.rows(frames, s=service)) == [("leaf", "app"), ("main", "app")]


def test_uploaded_folded_stacks(there: Receiving, service: str) -> None:
    start_s = window_s(3)
    path = f"/api/v1/ingest?service={service}&from={start_s}&until={start_s + 20}&rate=100&kind=python"
    assert there.post(path, b"main;a 600\nmain 400\n").json()["windows_stored"] == 2
    assert there.stored(service) == {"cpu": 10_000_000_000}
    off = f"/api/v1/ingest?service={service}&from={start_s}&type=offcpu&unit=ms"
    assert there.post(off, b"main;wait 3\n").status_code == 200
    assert there.stored(service)["offcpu"] == 3_000_000


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/v1/ingest?service=x&type=alloc_space&unit=bytes", "alloc_space/bytes"),
        ("/api/v1/ingest?service=x&format=jfr", "supported: pprof, folded"),
        ("/api/v1/ingest?service=x&from=now-1h", "from is not understood"),
        ("/api/v1/ingest?bad-name=x", "neither a parameter nor a label"),
        ("/ingest?name=app&format=jfr", "'jfr' is not supported"),
        ("/ingest?name=app.wall", "wall/samples"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(there: Receiving, path: str, says: str) -> None:
    answer = there.post(path, b"main;a 1\n")
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_other_sites_may_not_push(there: Receiving) -> None:
    answer = there.post("/api/v1/ingest?service=x", b"a 1\n", Origin="https://evil.example")
    assert answer.status_code == 403


def test_pages_without_a_collector_say_so(embedded: ChdbStore) -> None:
    answer = create_app(Querier(embedded)).test_client().post("/v1/traces", data=b"x")
    assert (answer.status_code, answer.json["error"]) == (503, "This process has no collector.")


def pyroscope(service: str, *files: bytes) -> push_pb2.PushRequest:
    request = push_pb2.PushRequest()
    series = request.series.add()
    for name, value in (("__name__", "process_cpu"), ("service_name", service), ("hostname", f"h-{service}")):
        series.labels.add(name=name, value=value)
    for number, data in enumerate(files):
        series.samples.add(raw_profile=data, ID=str(number))
    return request


def test_pyroscope_push_over_grpc_and_connect(there: Receiving, channel: grpc.Channel, service: str) -> None:
    request = pyroscope(service, file(5, window_s()), file(6, window_s(2)))
    for _ in range(2):
        push_pb2_grpc.PusherServiceStub(channel).Push(request)
    body = gzip.compress(request.SerializeToString())
    answer = there.post(PUSH, body, Content_Type="application/proto", Content_Encoding="gzip")
    assert (answer.status_code, answer.content) == (200, b"")
    text = json.dumps(json_format.MessageToDict(request)).encode()
    assert there.post(PUSH, text, Content_Type="application/json").json() == {}
    assert there.stored(service) == {"cpu": 22}  # JSON is another content: another request
    refused = there.post(PUSH, b"\xff", Content_Type="application/proto")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_argument")


def test_what_the_python_agent_of_pyroscope_sends(there: Receiving) -> None:
    """A request of pyroscope-io, whose profile is of its day: too old, once the store keeps it no more."""
    answer = there.post(
        PUSH, golden("pyroscope-python-push.gz"), Content_Type="application/proto", Content_Encoding="gzip"
    )
    old = time.time() - 1_795_256_551 > 7 * 86400
    assert answer.status_code == (400 if old else 200), answer.text
    assert not old or "days old" in answer.json()["message"]


def test_pyroscope_ingest(there: Receiving, service: str) -> None:
    start_s = window_s(2)
    name = f"{service}.cpu%7Bregion=eu,host=h-{service}%7D"
    path = f"/ingest?name={name}&from={start_s}&until={start_s + 10}&sampleRate=100&spyName=pyspy"
    assert there.post(path, b"main;a 10\nmain 2\n").status_code == 200
    assert there.post(f"{path}&format=lines", b"main;a\nmain;a\n").status_code == 200
    assert there.post(f"{path}&format=pprof", file(7, start_s)).status_code == 200
    assert there.stored(service) == {"cpu": 140_000_007}
    assert there.rows("SELECT DISTINCT region FROM series WHERE service = %(s)s", s=service) == [("eu",)]


def form(boundary: str, **parts: bytes) -> bytes:
    head = '--{}\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\n\r\n'
    whole = b"".join(
        head.format(boundary, name, name).encode() + data + b"\r\n" for name, data in parts.items()
    )
    return whole + f"--{boundary}--\r\n".encode()


def test_pyroscope_ingest_of_a_form(there: Receiving, service: str) -> None:
    path, data = f"/ingest?name={service}&spyName=gospy", file(70, window_s())
    for boundary in ("boundary-one-1", "boundary-two-2"):  # a client's retry has another
        kind = f"multipart/form-data; boundary={boundary}"
        body = form(boundary, profile=data, sample_type_config=b"{}")
        assert there.post(path, body, Content_Type=kind).status_code == 200
    assert there.stored(service) == {"cpu": 70}
    kind = "multipart/form-data; boundary=bbbbbbbb"
    cumulative = there.post(path, form("bbbbbbbb", profile=data, prev_profile=data), Content_Type=kind)
    assert "cumulative" in cumulative.json()["error"]
    assert there.post(path, b"--bbbbbbbb\r\nrubbish", Content_Type=kind).status_code == 400
