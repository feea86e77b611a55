"""Real requests to mutate, small ones: an input a mutation deep is worth more than a large one."""

import gzip
import json
from functools import cache

import numpy as np
from google.protobuf import json_format

from fleetprof.formats import pprof
from fleetprof.formats.stack_profile import CPU_NANOSECONDS, SAMPLES_COUNT, ValueType, from_stacks
from fleetprof.frames import Frame, FrameKind, frame_id, stack_id_of
from fleetprof.profile_types import ProfileType
from fleetprof.pyroscope import push_pb2
from fleetprof.v1 import ingest_pb2
from fleetprof.wire_numbers import number_check
from tests.store.pushes import Row, frames_of, push_request
from tests.unit.foreign_requests import OtlpProfiles, golden, trace_request

NOW_S = 1_795_256_600
START_S = NOW_S - 60


def seeds_of(receiver: str) -> list[bytes]:
    """The seeds of a receiver by its name."""
    return _SEEDS[receiver.removesuffix("-grpc")]()


def _push() -> list[bytes]:
    rows = [
        Row("leaf;work;main", 100, offsets=[0, 3, 3, 999]),
        Row("work;main", 7, ProfileType.OFFCPU, labels={"wait": "futex"}),
        Row("", 50, ProfileType.IDLE, captures=0),
    ]
    labels = {"host": "box", "service": "shop"}
    requests = [
        push_request(rows, labels, start_s=START_S, losses={1: 4}),
        push_request(rows[:1], labels, start_s=START_S, defined=False),
    ]
    return [
        request.SerializeToString()
        for request in (*requests, _numbered(push_request(rows, labels, start_s=START_S)))
    ]


HELD = ["leaf;work;main", "work;main", ""]
"""Stacks whose numbers, from 1 on, the collector holds of the sender; and those of their frames."""
HELD_FRAMES = frames_of(HELD[0])


@cache
def held_ids() -> tuple[list[int], list[int]]:
    """Ids of HELD and of HELD_FRAMES."""
    return [stack_id_of(frames_of(stack)) for stack in HELD], [frame_id(frame) for frame in HELD_FRAMES]


def _numbered(request: ingest_pb2.PushRequest) -> ingest_pb2.PushRequest:
    """The request, whose stacks are HELD, with numbers for them and for their frames."""
    stacks, frames = (number_check(np.array(ids, "<u8").tobytes()) for ids in held_ids())
    window, definitions = request.window, request.definitions
    del window.stack_ids[:]
    window.stack_numbers.extend([1] * len(HELD))
    window.first_stack_number, window.stack_check = len(HELD) + 1, stacks
    window.samples.stack_steps.extend(np.diff(window.samples.stack, prepend=0).tolist())
    del window.samples.stack[:]
    definitions.ClearField("frames")
    definitions.frame_numbers.extend([1] * len(HELD_FRAMES))
    definitions.first_frame_number, definitions.frame_check = len(HELD_FRAMES) + 1, frames
    return request


def _otlp() -> OtlpProfiles:
    request = OtlpProfiles({"service.name": "shop", "host.name": "box", "cloud.region": "eu"})
    request.location("run", "cpython", inlined="fast")
    request.profile({"run;main": [50], "main": [7]}, START_S, attributes={"thread.name": "t-1"})
    times = [(START_S + 1) * 10**9, (START_S + 12) * 10**9]
    return request.profile(
        {"main": []}, START_S, ("samples", "count"), duration_s=20, timestamps={"main": times}
    )


def _otlp_profiles() -> list[bytes]:
    plain = OtlpProfiles({"service.name": "shop"}).profile({"leaf;main": [5]}, START_S)
    old = [golden(f"otlp-profiles-{name}.bin") for name in ("1.7", "1.9", "1.9-attributes", "1.9-times")]
    return [_otlp().encode(), plain.encode(), *old]


def _otlp_json() -> list[bytes]:
    return [json.dumps(json_format.MessageToDict(_otlp().message)).encode()]


def _otlp_traces() -> list[bytes]:
    return [trace_request("shop", START_S, spans).SerializeToString() for spans in (1, 3)]


def _plain_pprof(types: tuple[ValueType, ...], period: int = 0) -> bytes:
    frames = [Frame(FrameKind.NATIVE, name, "/opt/app", "c0ffee") for name in ("leaf", "main")]
    frames.append(Frame(FrameKind.NATIVE, "", "libz.so.1", "", 0x2F10))
    profile = from_stacks(
        [frames[:2], frames[1:]], [[2, 200][-len(types) :], [1, 100][-len(types) :]], types,
        period=period, time_ns=START_S * 10**9, duration_ns=15 * 10**9, labels=[(("thread", "t"),), ()],
    )  # fmt: skip
    return gzip.decompress(pprof.encode(profile))


def _pprof() -> list[bytes]:
    go = gzip.decompress(golden("go-cpu.pb.gz"))
    both = _plain_pprof((SAMPLES_COUNT, CPU_NANOSECONDS))
    return [both, _plain_pprof((SAMPLES_COUNT,), 10**7), *[both] * 5, go]


def _folded() -> list[bytes]:
    return [
        b"main;run;read 42\nmain;run 7\n",
        b"main;a\\x3bb;\xc3\xa9 1\n[kernel];x 3\r\n",
        golden("py-spy.folded"),
    ]


def _pyroscope() -> list[bytes]:
    request = push_pb2.PushRequest()
    series = request.series.add()
    for name, value in (("__name__", "process_cpu"), ("service_name", "shop"), ("hostname", "box")):
        series.labels.add(name=name, value=value)
    series.samples.add(raw_profile=_plain_pprof((CPU_NANOSECONDS,)), ID="1")
    return [request.SerializeToString(), gzip.decompress(golden("pyroscope-python-push.gz"))]


def _form() -> list[bytes]:
    data = _plain_pprof((CPU_NANOSECONDS,))
    head = b'--bbbbbbbb\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n'
    parts = [
        head % name + part + b"\r\n" for name, part in ((b"profile", data), (b"sample_type_config", b"{}"))
    ]
    return [b"".join(parts) + b"--bbbbbbbb--\r\n"]


_SEEDS = {
    "push": _push,
    "otlp-profiles": _otlp_profiles,
    "otlp-json": _otlp_json,
    "otlp-traces": _otlp_traces,
    "pprof": _pprof,
    "folded": _folded,
    "pyroscope": _pyroscope,
    "pyroscope-form": _form,
    "pyroscope-lines": _folded,
}
