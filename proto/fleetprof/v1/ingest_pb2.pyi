from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProfileType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROFILE_TYPE_UNSPECIFIED: _ClassVar[ProfileType]
    PROFILE_TYPE_CPU: _ClassVar[ProfileType]
    PROFILE_TYPE_RUNQ: _ClassVar[ProfileType]
    PROFILE_TYPE_OFFCPU: _ClassVar[ProfileType]
    PROFILE_TYPE_IDLE: _ClassVar[ProfileType]

class FrameKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAME_KIND_UNSPECIFIED: _ClassVar[FrameKind]
    FRAME_KIND_NATIVE: _ClassVar[FrameKind]
    FRAME_KIND_KERNEL: _ClassVar[FrameKind]
    FRAME_KIND_PYTHON: _ClassVar[FrameKind]
    FRAME_KIND_JVM: _ClassVar[FrameKind]
    FRAME_KIND_NODE: _ClassVar[FrameKind]
    FRAME_KIND_GO: _ClassVar[FrameKind]
    FRAME_KIND_RUST: _ClassVar[FrameKind]
    FRAME_KIND_JIT: _ClassVar[FrameKind]
    FRAME_KIND_LABEL: _ClassVar[FrameKind]

class DropReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DROP_REASON_UNSPECIFIED: _ClassVar[DropReason]
    DROP_REASON_RING_FULL: _ClassVar[DropReason]
    DROP_REASON_STACK_TRUNCATED: _ClassVar[DropReason]
    DROP_REASON_STACK_UNREADABLE: _ClassVar[DropReason]
    DROP_REASON_SWITCH_MISSED: _ClassVar[DropReason]
    DROP_REASON_THREAD_STATE: _ClassVar[DropReason]
    DROP_REASON_PERF_LOST: _ClassVar[DropReason]
    DROP_REASON_PROCESS_GONE: _ClassVar[DropReason]
    DROP_REASON_OBJECT_UNREADABLE: _ClassVar[DropReason]
    DROP_REASON_SYMBOL_LIMIT: _ClassVar[DropReason]
    DROP_REASON_PROCESS_LIMIT: _ClassVar[DropReason]
    DROP_REASON_QUEUE_FULL: _ClassVar[DropReason]
    DROP_REASON_REJECTED: _ClassVar[DropReason]
    DROP_REASON_WINDOW_MISSED: _ClassVar[DropReason]
    DROP_REASON_SPOOL_DAMAGED: _ClassVar[DropReason]
    DROP_REASON_STACK_BROKEN_OFF: _ClassVar[DropReason]
    DROP_REASON_UNWIND_NEW: _ClassVar[DropReason]
    DROP_REASON_UNWIND_MEMORY: _ClassVar[DropReason]
    DROP_REASON_PYTHON_UNREADABLE: _ClassVar[DropReason]
    DROP_REASON_RUNTIME_NAMES: _ClassVar[DropReason]
    DROP_REASON_MALFORMED: _ClassVar[DropReason]
    DROP_REASON_TOO_LARGE: _ClassVar[DropReason]
    DROP_REASON_TOO_OLD: _ClassVar[DropReason]
    DROP_REASON_IN_FUTURE: _ClassVar[DropReason]
    DROP_REASON_PROTOCOL_VERSION: _ClassVar[DropReason]
    DROP_REASON_SERIES_LIMIT: _ClassVar[DropReason]
    DROP_REASON_STACK_LIMIT: _ClassVar[DropReason]
    DROP_REASON_STORE_FAILED: _ClassVar[DropReason]
    DROP_REASON_DEBUG_FILE: _ClassVar[DropReason]
PROFILE_TYPE_UNSPECIFIED: ProfileType
PROFILE_TYPE_CPU: ProfileType
PROFILE_TYPE_RUNQ: ProfileType
PROFILE_TYPE_OFFCPU: ProfileType
PROFILE_TYPE_IDLE: ProfileType
FRAME_KIND_UNSPECIFIED: FrameKind
FRAME_KIND_NATIVE: FrameKind
FRAME_KIND_KERNEL: FrameKind
FRAME_KIND_PYTHON: FrameKind
FRAME_KIND_JVM: FrameKind
FRAME_KIND_NODE: FrameKind
FRAME_KIND_GO: FrameKind
FRAME_KIND_RUST: FrameKind
FRAME_KIND_JIT: FrameKind
FRAME_KIND_LABEL: FrameKind
DROP_REASON_UNSPECIFIED: DropReason
DROP_REASON_RING_FULL: DropReason
DROP_REASON_STACK_TRUNCATED: DropReason
DROP_REASON_STACK_UNREADABLE: DropReason
DROP_REASON_SWITCH_MISSED: DropReason
DROP_REASON_THREAD_STATE: DropReason
DROP_REASON_PERF_LOST: DropReason
DROP_REASON_PROCESS_GONE: DropReason
DROP_REASON_OBJECT_UNREADABLE: DropReason
DROP_REASON_SYMBOL_LIMIT: DropReason
DROP_REASON_PROCESS_LIMIT: DropReason
DROP_REASON_QUEUE_FULL: DropReason
DROP_REASON_REJECTED: DropReason
DROP_REASON_WINDOW_MISSED: DropReason
DROP_REASON_SPOOL_DAMAGED: DropReason
DROP_REASON_STACK_BROKEN_OFF: DropReason
DROP_REASON_UNWIND_NEW: DropReason
DROP_REASON_UNWIND_MEMORY: DropReason
DROP_REASON_PYTHON_UNREADABLE: DropReason
DROP_REASON_RUNTIME_NAMES: DropReason
DROP_REASON_MALFORMED: DropReason
DROP_REASON_TOO_LARGE: DropReason
DROP_REASON_TOO_OLD: DropReason
DROP_REASON_IN_FUTURE: DropReason
DROP_REASON_PROTOCOL_VERSION: DropReason
DROP_REASON_SERIES_LIMIT: DropReason
DROP_REASON_STACK_LIMIT: DropReason
DROP_REASON_STORE_FAILED: DropReason
DROP_REASON_DEBUG_FILE: DropReason

class PushRequest(_message.Message):
    __slots__ = ("protocol_version", "agent_id", "run_id", "sequence", "window", "definitions")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    agent_id: str
    run_id: int
    sequence: int
    window: Window
    definitions: Definitions
    def __init__(self, protocol_version: _Optional[int] = ..., agent_id: _Optional[str] = ..., run_id: _Optional[int] = ..., sequence: _Optional[int] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., definitions: _Optional[_Union[Definitions, _Mapping]] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("start_unix_ns", "covered_ns", "host", "cpu_count", "cpu_exact", "period_ns", "stack_ids", "series_ids", "samples", "losses", "cost", "stack_numbers", "first_stack_number", "stack_check", "places")
    START_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    COVERED_NS_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    CPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    CPU_EXACT_FIELD_NUMBER: _ClassVar[int]
    PERIOD_NS_FIELD_NUMBER: _ClassVar[int]
    STACK_IDS_FIELD_NUMBER: _ClassVar[int]
    SERIES_IDS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    STACK_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    FIRST_STACK_NUMBER_FIELD_NUMBER: _ClassVar[int]
    STACK_CHECK_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    start_unix_ns: int
    covered_ns: int
    host: str
    cpu_count: int
    cpu_exact: bool
    period_ns: int
    stack_ids: _containers.RepeatedScalarFieldContainer[int]
    series_ids: _containers.RepeatedScalarFieldContainer[int]
    samples: Samples
    losses: _containers.RepeatedCompositeFieldContainer[Loss]
    cost: AgentCost
    stack_numbers: _containers.RepeatedScalarFieldContainer[int]
    first_stack_number: int
    stack_check: int
    places: Places
    def __init__(self, start_unix_ns: _Optional[int] = ..., covered_ns: _Optional[int] = ..., host: _Optional[str] = ..., cpu_count: _Optional[int] = ..., cpu_exact: bool = ..., period_ns: _Optional[int] = ..., stack_ids: _Optional[_Iterable[int]] = ..., series_ids: _Optional[_Iterable[int]] = ..., samples: _Optional[_Union[Samples, _Mapping]] = ..., losses: _Optional[_Iterable[_Union[Loss, _Mapping]]] = ..., cost: _Optional[_Union[AgentCost, _Mapping]] = ..., stack_numbers: _Optional[_Iterable[int]] = ..., first_stack_number: _Optional[int] = ..., stack_check: _Optional[int] = ..., places: _Optional[_Union[Places, _Mapping]] = ...) -> None: ...

class Places(_message.Message):
    __slots__ = ("build_ids", "series", "stack_steps", "build", "offset_steps", "value")
    BUILD_IDS_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    STACK_STEPS_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    OFFSET_STEPS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    build_ids: _containers.RepeatedScalarFieldContainer[bytes]
    series: _containers.RepeatedScalarFieldContainer[int]
    stack_steps: _containers.RepeatedScalarFieldContainer[int]
    build: _containers.RepeatedScalarFieldContainer[int]
    offset_steps: _containers.RepeatedScalarFieldContainer[int]
    value: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, build_ids: _Optional[_Iterable[bytes]] = ..., series: _Optional[_Iterable[int]] = ..., stack_steps: _Optional[_Iterable[int]] = ..., build: _Optional[_Iterable[int]] = ..., offset_steps: _Optional[_Iterable[int]] = ..., value: _Optional[_Iterable[int]] = ...) -> None: ...

class Samples(_message.Message):
    __slots__ = ("series", "stack", "type", "value", "captures", "offset_count", "offsets", "stack_steps")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CAPTURES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_COUNT_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    STACK_STEPS_FIELD_NUMBER: _ClassVar[int]
    series: _containers.RepeatedScalarFieldContainer[int]
    stack: _containers.RepeatedScalarFieldContainer[int]
    type: _containers.RepeatedScalarFieldContainer[ProfileType]
    value: _containers.RepeatedScalarFieldContainer[int]
    captures: _containers.RepeatedScalarFieldContainer[int]
    offset_count: _containers.RepeatedScalarFieldContainer[int]
    offsets: _containers.RepeatedScalarFieldContainer[int]
    stack_steps: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, series: _Optional[_Iterable[int]] = ..., stack: _Optional[_Iterable[int]] = ..., type: _Optional[_Iterable[_Union[ProfileType, str]]] = ..., value: _Optional[_Iterable[int]] = ..., captures: _Optional[_Iterable[int]] = ..., offset_count: _Optional[_Iterable[int]] = ..., offsets: _Optional[_Iterable[int]] = ..., stack_steps: _Optional[_Iterable[int]] = ...) -> None: ...

class Definitions(_message.Message):
    __slots__ = ("strings", "frames", "stacks", "series", "frame_numbers", "first_frame_number", "frame_check")
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    STACKS_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    FRAME_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    FIRST_FRAME_NUMBER_FIELD_NUMBER: _ClassVar[int]
    FRAME_CHECK_FIELD_NUMBER: _ClassVar[int]
    strings: _containers.RepeatedScalarFieldContainer[str]
    frames: FrameTable
    stacks: StackTable
    series: SeriesTable
    frame_numbers: _containers.RepeatedScalarFieldContainer[int]
    first_frame_number: int
    frame_check: int
    def __init__(self, strings: _Optional[_Iterable[str]] = ..., frames: _Optional[_Union[FrameTable, _Mapping]] = ..., stacks: _Optional[_Union[StackTable, _Mapping]] = ..., series: _Optional[_Union[SeriesTable, _Mapping]] = ..., frame_numbers: _Optional[_Iterable[int]] = ..., first_frame_number: _Optional[int] = ..., frame_check: _Optional[int] = ...) -> None: ...

class FrameTable(_message.Message):
    __slots__ = ("kind", "function", "mapping", "build_id", "offset", "file", "line")
    KIND_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    MAPPING_FIELD_NUMBER: _ClassVar[int]
    BUILD_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    kind: _containers.RepeatedScalarFieldContainer[FrameKind]
    function: _containers.RepeatedScalarFieldContainer[int]
    mapping: _containers.RepeatedScalarFieldContainer[int]
    build_id: _containers.RepeatedScalarFieldContainer[int]
    offset: _containers.RepeatedScalarFieldContainer[int]
    file: _containers.RepeatedScalarFieldContainer[int]
    line: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, kind: _Optional[_Iterable[_Union[FrameKind, str]]] = ..., function: _Optional[_Iterable[int]] = ..., mapping: _Optional[_Iterable[int]] = ..., build_id: _Optional[_Iterable[int]] = ..., offset: _Optional[_Iterable[int]] = ..., file: _Optional[_Iterable[int]] = ..., line: _Optional[_Iterable[int]] = ...) -> None: ...

class StackTable(_message.Message):
    __slots__ = ("depth", "frame_index")
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    depth: _containers.RepeatedScalarFieldContainer[int]
    frame_index: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, depth: _Optional[_Iterable[int]] = ..., frame_index: _Optional[_Iterable[int]] = ...) -> None: ...

class SeriesTable(_message.Message):
    __slots__ = ("label_count", "label_index")
    LABEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    LABEL_INDEX_FIELD_NUMBER: _ClassVar[int]
    label_count: _containers.RepeatedScalarFieldContainer[int]
    label_index: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, label_count: _Optional[_Iterable[int]] = ..., label_index: _Optional[_Iterable[int]] = ...) -> None: ...

class Loss(_message.Message):
    __slots__ = ("reason", "count")
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    reason: DropReason
    count: int
    def __init__(self, reason: _Optional[_Union[DropReason, str]] = ..., count: _Optional[int] = ...) -> None: ...

class AgentCost(_message.Message):
    __slots__ = ("cpu_ns", "bpf_ns", "rss_bytes", "map_bytes")
    CPU_NS_FIELD_NUMBER: _ClassVar[int]
    BPF_NS_FIELD_NUMBER: _ClassVar[int]
    RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    cpu_ns: int
    bpf_ns: int
    rss_bytes: int
    map_bytes: int
    def __init__(self, cpu_ns: _Optional[int] = ..., bpf_ns: _Optional[int] = ..., rss_bytes: _Optional[int] = ..., map_bytes: _Optional[int] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("status", "unknown_stacks", "unknown_series", "known_numbers", "known_frames")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[PushResponse.Status]
        STATUS_ACCEPTED: _ClassVar[PushResponse.Status]
        STATUS_DUPLICATE: _ClassVar[PushResponse.Status]
        STATUS_NEED_DEFINITIONS: _ClassVar[PushResponse.Status]
    STATUS_UNSPECIFIED: PushResponse.Status
    STATUS_ACCEPTED: PushResponse.Status
    STATUS_DUPLICATE: PushResponse.Status
    STATUS_NEED_DEFINITIONS: PushResponse.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_STACKS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_SERIES_FIELD_NUMBER: _ClassVar[int]
    KNOWN_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FRAMES_FIELD_NUMBER: _ClassVar[int]
    status: PushResponse.Status
    unknown_stacks: _containers.RepeatedScalarFieldContainer[int]
    unknown_series: _containers.RepeatedScalarFieldContainer[int]
    known_numbers: int
    known_frames: int
    def __init__(self, status: _Optional[_Union[PushResponse.Status, str]] = ..., unknown_stacks: _Optional[_Iterable[int]] = ..., unknown_series: _Optional[_Iterable[int]] = ..., known_numbers: _Optional[int] = ..., known_frames: _Optional[int] = ...) -> None: ...
