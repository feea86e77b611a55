from fleetprof.v1 import ingest_pb2 as _ingest_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RegisterRequest(_message.Message):
    __slots__ = ("protocol_version", "agent_id", "run_id", "host", "agent_version", "kernel", "architecture", "cpu_count", "memory_bytes", "backend", "hooks", "configuration", "started_unix_ns")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    CPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    agent_id: str
    run_id: int
    host: str
    agent_version: str
    kernel: str
    architecture: str
    cpu_count: int
    memory_bytes: int
    backend: str
    hooks: _containers.RepeatedCompositeFieldContainer[Hook]
    configuration: _containers.RepeatedCompositeFieldContainer[ConfigurationSetting]
    started_unix_ns: int
    def __init__(self, protocol_version: _Optional[int] = ..., agent_id: _Optional[str] = ..., run_id: _Optional[int] = ..., host: _Optional[str] = ..., agent_version: _Optional[str] = ..., kernel: _Optional[str] = ..., architecture: _Optional[str] = ..., cpu_count: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., backend: _Optional[str] = ..., hooks: _Optional[_Iterable[_Union[Hook, _Mapping]]] = ..., configuration: _Optional[_Iterable[_Union[ConfigurationSetting, _Mapping]]] = ..., started_unix_ns: _Optional[int] = ...) -> None: ...

class Hook(_message.Message):
    __slots__ = ("name", "available", "reason", "is_program")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IS_PROGRAM_FIELD_NUMBER: _ClassVar[int]
    name: str
    available: bool
    reason: str
    is_program: bool
    def __init__(self, name: _Optional[str] = ..., available: bool = ..., reason: _Optional[str] = ..., is_program: bool = ...) -> None: ...

class ConfigurationSetting(_message.Message):
    __slots__ = ("name", "value", "source")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    source: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class RegisterResponse(_message.Message):
    __slots__ = ("status", "reason", "protocol_version", "server_unix_ns", "heartbeat_interval_ms", "collector_version")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[RegisterResponse.Status]
        STATUS_ACCEPTED: _ClassVar[RegisterResponse.Status]
        STATUS_REFUSED: _ClassVar[RegisterResponse.Status]
    STATUS_UNSPECIFIED: RegisterResponse.Status
    STATUS_ACCEPTED: RegisterResponse.Status
    STATUS_REFUSED: RegisterResponse.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    COLLECTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    status: RegisterResponse.Status
    reason: str
    protocol_version: int
    server_unix_ns: int
    heartbeat_interval_ms: int
    collector_version: str
    def __init__(self, status: _Optional[_Union[RegisterResponse.Status, str]] = ..., reason: _Optional[str] = ..., protocol_version: _Optional[int] = ..., server_unix_ns: _Optional[int] = ..., heartbeat_interval_ms: _Optional[int] = ..., collector_version: _Optional[str] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("agent_id", "run_id", "clock_unix_ns", "cost", "losses", "queue_windows", "acknowledged_start_unix_ns", "windows_closed", "windows_acknowledged")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CLOCK_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_START_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_CLOSED_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    run_id: int
    clock_unix_ns: int
    cost: _ingest_pb2.AgentCost
    losses: _containers.RepeatedCompositeFieldContainer[_ingest_pb2.Loss]
    queue_windows: int
    acknowledged_start_unix_ns: int
    windows_closed: int
    windows_acknowledged: int
    def __init__(self, agent_id: _Optional[str] = ..., run_id: _Optional[int] = ..., clock_unix_ns: _Optional[int] = ..., cost: _Optional[_Union[_ingest_pb2.AgentCost, _Mapping]] = ..., losses: _Optional[_Iterable[_Union[_ingest_pb2.Loss, _Mapping]]] = ..., queue_windows: _Optional[int] = ..., acknowledged_start_unix_ns: _Optional[int] = ..., windows_closed: _Optional[int] = ..., windows_acknowledged: _Optional[int] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("status", "server_unix_ns", "heartbeat_interval_ms")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[HeartbeatResponse.Status]
        STATUS_OK: _ClassVar[HeartbeatResponse.Status]
        STATUS_REGISTER: _ClassVar[HeartbeatResponse.Status]
    STATUS_UNSPECIFIED: HeartbeatResponse.Status
    STATUS_OK: HeartbeatResponse.Status
    STATUS_REGISTER: HeartbeatResponse.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SERVER_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    status: HeartbeatResponse.Status
    server_unix_ns: int
    heartbeat_interval_ms: int
    def __init__(self, status: _Optional[_Union[HeartbeatResponse.Status, str]] = ..., server_unix_ns: _Optional[int] = ..., heartbeat_interval_ms: _Optional[int] = ...) -> None: ...
