from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BackupRequest(_message.Message):
    __slots__ = ("have",)
    HAVE_FIELD_NUMBER: _ClassVar[int]
    have: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, have: _Optional[_Iterable[str]] = ...) -> None: ...

class BackupPiece(_message.Message):
    __slots__ = ("head", "part", "rows", "file", "content", "end")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    head: BackupHead
    part: BackupPart
    rows: bytes
    file: BackupFile
    content: bytes
    end: BackupEnd
    def __init__(self, head: _Optional[_Union[BackupHead, _Mapping]] = ..., part: _Optional[_Union[BackupPart, _Mapping]] = ..., rows: _Optional[bytes] = ..., file: _Optional[_Union[BackupFile, _Mapping]] = ..., content: _Optional[bytes] = ..., end: _Optional[_Union[BackupEnd, _Mapping]] = ...) -> None: ...

class BackupHead(_message.Message):
    __slots__ = ("schema", "fleetprof_version", "made_unix_s")
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    FLEETPROF_VERSION_FIELD_NUMBER: _ClassVar[int]
    MADE_UNIX_S_FIELD_NUMBER: _ClassVar[int]
    schema: int
    fleetprof_version: str
    made_unix_s: int
    def __init__(self, schema: _Optional[int] = ..., fleetprof_version: _Optional[str] = ..., made_unix_s: _Optional[int] = ...) -> None: ...

class BackupPart(_message.Message):
    __slots__ = ("table", "partition", "rows", "fingerprint", "unchanged")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    table: str
    partition: str
    rows: int
    fingerprint: str
    unchanged: bool
    def __init__(self, table: _Optional[str] = ..., partition: _Optional[str] = ..., rows: _Optional[int] = ..., fingerprint: _Optional[str] = ..., unchanged: bool = ...) -> None: ...

class BackupFile(_message.Message):
    __slots__ = ("name", "modified_unix_ns", "fingerprint", "unchanged")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODIFIED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    name: str
    modified_unix_ns: int
    fingerprint: str
    unchanged: bool
    def __init__(self, name: _Optional[str] = ..., modified_unix_ns: _Optional[int] = ..., fingerprint: _Optional[str] = ..., unchanged: bool = ...) -> None: ...

class BackupEnd(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
