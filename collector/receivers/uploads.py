"""`POST /api/v1/ingest`: one pprof file or one file of folded stacks.

Every query parameter that is not one of PARAMETERS is a label (service, version, host, …), and so are the pairs of
the header X-Fleetprof-Labels ("service=checkout, version=1.2").
"""

from collections.abc import Mapping
from dataclasses import dataclass

from collector.ingest.refusal import Refused, malformed
from collector.receivers import labels as labelling
from collector.receivers.foreign import Foreign, from_profile
from collector.receivers.inbox import Inbox, Taken
from collector.receivers.times import parse_ns
from collector.receivers.unpack import check_parts, gunzip_if_packed, shape_of
from fleetprof.formats import folded, pprof
from fleetprof.formats.stack_profile import StackProfile, ValueType
from fleetprof.frames import FrameKind
from fleetprof.losses import DropReason
from fleetprof.pprof import profile_pb2
from fleetprof.series import LABEL_NAME

PARAMETERS = {
    "format": "pprof or folded; told by the content when it is not given.",
    "from": "Begin of the profile: Unix seconds (or ms, us, ns) or ISO 8601. Default: as the file says, or now.",
    "until": "End of the profile.",
    "type": "What folded values are: cpu (default), offcpu or runq.",
    "unit": "Unit of folded values: samples (default), ns, us, ms or s.",
    "rate": "Samples a second of folded values in samples; default 100.",
    "kind": "Kind of folded frames: native (default), kernel, python, jvm, node, go, rust or jit.",
}
LABELS_HEADER = "x-fleetprof-labels"
FORMATS = ("pprof", "folded")
MAX_FRAMES = 5_000_000
"""Most frames in all stacks of one file."""

CPU_SAMPLES = ValueType("cpu", "samples")
_DEFAULT_RATE = 100
_KINDS = {kind.name.lower(): kind for kind in FrameKind if kind is not FrameKind.LABEL}
_NO_TEXT = bytes(range(9))
_SHAPE = shape_of(profile_pb2.Profile.DESCRIPTOR)


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client says of a file."""

    labels: Mapping[str, str]
    format: str = ""
    start_ns: int = 0
    end_ns: int = 0
    value_type: ValueType = CPU_SAMPLES
    """Of folded values."""
    period_ns: int = 10**9 // _DEFAULT_RATE
    """Of folded values in samples."""
    kind: FrameKind = FrameKind.NATIVE
    """Of folded frames."""


def take_upload(
    inbox: Inbox, query: Mapping[str, str], headers: Mapping[str, str], body: bytes, peer: str
) -> Taken:
    """Store one file; raises Refused, Later."""
    content = (repr(sorted(query.items())), headers.get(LABELS_HEADER, ""), body)

    def translate(taken: Taken) -> list[Foreign]:
        upload = _upload(query, headers, peer)
        return read_file(body, upload)

    return inbox.take(f"upload {peer}", content, translate)


def read_file(body: bytes, upload: Upload) -> list[Foreign]:
    """The profiles of a file; raises Refused, Unsupported, InputError."""
    data = gunzip_if_packed(body)
    format = upload.format or ("folded" if _is_text(data) else "pprof")
    profile = read_pprof(data) if format == "pprof" else _read_folded(data, upload)
    start_ns, end_ns = _range(profile, upload)
    return from_profile(_with_our_labels(profile), upload.labels, start_ns, end_ns)


def _is_text(data: bytes) -> bool:
    """Whether it begins without the control characters that every protobuf message has."""
    return data[:4096].translate(None, _NO_TEXT) == data[:4096]


def read_pprof(data: bytes) -> StackProfile:
    """The profile of a pprof file that is not compressed; raises Refused, InputError."""
    check_parts(data, _SHAPE)
    return pprof.decode_plain(data, MAX_FRAMES)


def _read_folded(data: bytes, upload: Upload) -> StackProfile:
    if data.count(b";") + data.count(b"\n") > MAX_FRAMES:
        raise Refused(DropReason.TOO_LARGE, f"The folded stacks have more than {MAX_FRAMES:,} frames.")
    profile = folded.decode(data, upload.value_type)
    frames = [frame._replace(kind=upload.kind) for frame in profile.frames]
    return StackProfile(
        frames,
        profile.frame_index,
        profile.starts,
        profile.value_types,
        profile.values,
        ValueType("cpu", "nanoseconds"),
        upload.period_ns,
    )


def _with_our_labels(profile: StackProfile) -> StackProfile:
    """Labels of samples under our names; the same profile where there are none."""
    if not profile.labels:
        return profile
    known = {each: tuple(sorted(labelling.ours(each).items())) for each in set(profile.labels)}
    return StackProfile(
        profile.frames,
        profile.frame_index,
        profile.starts,
        profile.value_types,
        profile.values,
        profile.period_type,
        profile.period,
        profile.time_ns,
        profile.duration_ns,
        [known[each] for each in profile.labels],
    )


def _range(profile: StackProfile, upload: Upload) -> tuple[int, int]:
    """The time the profile covers, Unix ns, as the client says, else as the file says; 0 when neither does."""
    start_ns = upload.start_ns or max(profile.time_ns, 0)
    duration_ns = max(profile.duration_ns, 0)
    if not start_ns and upload.end_ns:
        start_ns = max(upload.end_ns - duration_ns, 0)
    end_ns = upload.end_ns or (start_ns + duration_ns if start_ns else 0)
    if end_ns < start_ns:
        raise malformed("until lies before from.")
    return start_ns, end_ns


def _upload(query: Mapping[str, str], headers: Mapping[str, str], peer: str) -> Upload:
    given = {name: text for name, text in query.items() if name in PARAMETERS}
    pairs = [(name, text) for name, text in query.items() if name not in PARAMETERS]
    pairs += _header_labels(headers.get(LABELS_HEADER, ""))
    for name, _ in pairs:
        if not LABEL_NAME.match(name):
            raise malformed(f"{name[:80]!r} is neither a parameter nor a label's name.")
    unit = given.get("unit", "samples")
    return Upload(
        labels=labelling.of_source(labelling.ours(pairs), peer),
        format=_one_of("format", given.get("format", ""), ("", *FORMATS)),
        start_ns=parse_ns(given["from"], "from") if given.get("from") else 0,
        end_ns=parse_ns(given["until"], "until") if given.get("until") else 0,
        value_type=ValueType(given.get("type", "cpu"), unit),
        period_ns=10**9 // sample_rate(given.get("rate", "")),
        kind=_KINDS[_one_of("kind", given.get("kind", "native"), tuple(_KINDS))],
    )


def _header_labels(header: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in header.split(",") if part.strip())
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _one_of(name: str, text: str, known: tuple[str, ...]) -> str:
    if text not in known:
        raise malformed(
            f"{name}={text[:80]!r} is not supported; supported: {', '.join(filter(None, known))}."
        )
    return text


def sample_rate(text: str) -> int:
    """Samples a second, 1 to 100,000; raises Refused."""
    if not text:
        return _DEFAULT_RATE
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:8]) <= 100_000):
        raise malformed(f"The sample rate {text[:80]!r} is not a whole number from 1 to 100000.")
    return int(text[:8])
