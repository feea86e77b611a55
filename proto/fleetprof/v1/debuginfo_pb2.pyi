from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UploadDebugInfoRequest(_message.Message):
    __slots__ = ("header", "data")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    header: UploadDebugInfoHeader
    data: bytes
    def __init__(self, header: _Optional[_Union[UploadDebugInfoHeader, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class UploadDebugInfoHeader(_message.Message):
    __slots__ = ("build_id", "name", "size")
    BUILD_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    build_id: str
    name: str
    size: int
    def __init__(self, build_id: _Optional[str] = ..., name: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class UploadDebugInfoResponse(_message.Message):
    __slots__ = ("status", "file", "evicted")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[UploadDebugInfoResponse.Status]
        STATUS_KEPT: _ClassVar[UploadDebugInfoResponse.Status]
        STATUS_HAS_BETTER: _ClassVar[UploadDebugInfoResponse.Status]
    STATUS_UNSPECIFIED: UploadDebugInfoResponse.Status
    STATUS_KEPT: UploadDebugInfoResponse.Status
    STATUS_HAS_BETTER: UploadDebugInfoResponse.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    status: UploadDebugInfoResponse.Status
    file: DebugInfoFile
    evicted: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, status: _Optional[_Union[UploadDebugInfoResponse.Status, str]] = ..., file: _Optional[_Union[DebugInfoFile, _Mapping]] = ..., evicted: _Optional[_Iterable[str]] = ...) -> None: ...

class DebugInfoFile(_message.Message):
    __slots__ = ("build_id", "name", "size", "has_lines", "uploaded_unix_ns", "used_unix_ns", "problem", "origin")
    BUILD_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    HAS_LINES_FIELD_NUMBER: _ClassVar[int]
    UPLOADED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    USED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    build_id: str
    name: str
    size: int
    has_lines: bool
    uploaded_unix_ns: int
    used_unix_ns: int
    problem: str
    origin: str
    def __init__(self, build_id: _Optional[str] = ..., name: _Optional[str] = ..., size: _Optional[int] = ..., has_lines: bool = ..., uploaded_unix_ns: _Optional[int] = ..., used_unix_ns: _Optional[int] = ..., problem: _Optional[str] = ..., origin: _Optional[str] = ...) -> None: ...

class ListDebugInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListDebugInfoResponse(_message.Message):
    __slots__ = ("files", "limit_bytes", "used_bytes")
    FILES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[DebugInfoFile]
    limit_bytes: int
    used_bytes: int
    def __init__(self, files: _Optional[_Iterable[_Union[DebugInfoFile, _Mapping]]] = ..., limit_bytes: _Optional[int] = ..., used_bytes: _Optional[int] = ...) -> None: ...

class RemoveDebugInfoRequest(_message.Message):
    __slots__ = ("build_id",)
    BUILD_ID_FIELD_NUMBER: _ClassVar[int]
    build_id: str
    def __init__(self, build_id: _Optional[str] = ...) -> None: ...

class RemoveDebugInfoResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class OfferDebugInfoRequest(_message.Message):
    __slots__ = ("agent_id", "host", "offers")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    host: str
    offers: _containers.RepeatedCompositeFieldContainer[DebugInfoOffer]
    def __init__(self, agent_id: _Optional[str] = ..., host: _Optional[str] = ..., offers: _Optional[_Iterable[_Union[DebugInfoOffer, _Mapping]]] = ...) -> None: ...

class DebugInfoOffer(_message.Message):
    __slots__ = ("build_id", "name", "size", "sent_size", "has_lines", "nameless")
    BUILD_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SENT_SIZE_FIELD_NUMBER: _ClassVar[int]
    HAS_LINES_FIELD_NUMBER: _ClassVar[int]
    NAMELESS_FIELD_NUMBER: _ClassVar[int]
    build_id: str
    name: str
    size: int
    sent_size: int
    has_lines: bool
    nameless: bool
    def __init__(self, build_id: _Optional[str] = ..., name: _Optional[str] = ..., size: _Optional[int] = ..., sent_size: _Optional[int] = ..., has_lines: bool = ..., nameless: bool = ...) -> None: ...

class OfferDebugInfoResponse(_message.Message):
    __slots__ = ("accepting", "reason", "answers", "retry_ms", "limit_bytes")
    ACCEPTING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    RETRY_MS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    accepting: bool
    reason: str
    answers: _containers.RepeatedCompositeFieldContainer[DebugInfoAnswer]
    retry_ms: int
    limit_bytes: int
    def __init__(self, accepting: bool = ..., reason: _Optional[str] = ..., answers: _Optional[_Iterable[_Union[DebugInfoAnswer, _Mapping]]] = ..., retry_ms: _Optional[int] = ..., limit_bytes: _Optional[int] = ...) -> None: ...

class DebugInfoAnswer(_message.Message):
    __slots__ = ("status", "claim")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[DebugInfoAnswer.Status]
        STATUS_WANTED: _ClassVar[DebugInfoAnswer.Status]
        STATUS_LATER: _ClassVar[DebugInfoAnswer.Status]
        STATUS_NEVER: _ClassVar[DebugInfoAnswer.Status]
    STATUS_UNSPECIFIED: DebugInfoAnswer.Status
    STATUS_WANTED: DebugInfoAnswer.Status
    STATUS_LATER: DebugInfoAnswer.Status
    STATUS_NEVER: DebugInfoAnswer.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    status: DebugInfoAnswer.Status
    claim: int
    def __init__(self, status: _Optional[_Union[DebugInfoAnswer.Status, str]] = ..., claim: _Optional[int] = ...) -> None: ...

class SendDebugInfoPartRequest(_message.Message):
    __slots__ = ("claim", "offset", "data", "crc32", "digest")
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    claim: int
    offset: int
    data: bytes
    crc32: int
    digest: bytes
    def __init__(self, claim: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., crc32: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class SendDebugInfoPartResponse(_message.Message):
    __slots__ = ("status",)
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[SendDebugInfoPartResponse.Status]
        STATUS_NEXT: _ClassVar[SendDebugInfoPartResponse.Status]
        STATUS_KEPT: _ClassVar[SendDebugInfoPartResponse.Status]
        STATUS_NOT_NEEDED: _ClassVar[SendDebugInfoPartResponse.Status]
    STATUS_UNSPECIFIED: SendDebugInfoPartResponse.Status
    STATUS_NEXT: SendDebugInfoPartResponse.Status
    STATUS_KEPT: SendDebugInfoPartResponse.Status
    STATUS_NOT_NEEDED: SendDebugInfoPartResponse.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: SendDebugInfoPartResponse.Status
    def __init__(self, status: _Optional[_Union[SendDebugInfoPartResponse.Status, str]] = ...) -> None: ...
