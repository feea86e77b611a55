"""Push requests with their columns left as they are on the wire.

On the wire a packed column looks the same as a field of bytes. So a copy of the contract in which columns are
`repeated bytes`, made here from the contract itself, is parsed without an object a number (thirty times faster).
Many columns are then decoded at once (varint.py): those of many windows, and all of a request's definitions.

A sender may also write a column number by number, or in pieces: legal, slow, and none of ours does. Such a request
is written anew by the library first: a number, or a definition, may not span two pieces.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from collector.receivers.unpack import check_parts, shape_of
from fleetprof.v1 import ingest_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_PACKED = {"Window", "Samples", "Definitions", "FrameTable", "StackTable", "SeriesTable"}
_OPAQUE = {"Definitions", "Places"}
"""Fields of these types are bytes in what holds them, and are parsed, if at all, by themselves."""
_NUMBERS = {
    _Field.TYPE_FIXED64, _Field.TYPE_UINT32, _Field.TYPE_UINT64, _Field.TYPE_SINT32, _Field.TYPE_ENUM,
}  # fmt: skip


def _packed_contract() -> Any:
    """The messages in which columns, and the definitions and places of a request, are bytes; by name."""
    file = descriptor_pb2.FileDescriptorProto()
    ingest_pb2.DESCRIPTOR.CopyToProto(file)
    own = f".{file.package}."
    opaque = {own + name for name in _OPAQUE}
    file.name, file.package = "fleetprof/packed_ingest.proto", "fleetprof.packed"
    file.ClearField("service")
    for message in file.message_type:
        for field in message.field:
            column = field.label == _Field.LABEL_REPEATED and field.type in _NUMBERS
            if (column and message.name in _PACKED) or field.type_name in opaque:
                field.type, field.label = _Field.TYPE_BYTES, _Field.LABEL_REPEATED
                field.ClearField("type_name")
            if field.type_name:
                field.type_name = field.type_name.replace(own, ".fleetprof.packed.")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return lambda name: message_factory.GetMessageClass(find(f"fleetprof.packed.{name}"))


_packed = _packed_contract()
_PackedPush, _PackedDefinitions = _packed("PushRequest"), _packed("Definitions")
_SHAPE, _DEFINITIONS_SHAPE = shape_of(_PackedPush.DESCRIPTOR), shape_of(_PackedDefinitions.DESCRIPTOR)


def parse_packed(data: bytes) -> Any:
    """The request that `data` encodes, each column a list of one piece, or none.

    Raises DecodeError, and Refused for one of so many parts that parsing it would take too much memory.
    """
    check_parts(data, _SHAPE)
    request = _PackedPush.FromString(data)
    if not _whole(request, request.window, request.window.samples):
        request = _PackedPush.FromString(ingest_pb2.PushRequest.FromString(data).SerializeToString())
    return request


def check_definitions(data: bytes) -> None:
    """Refuse definitions of so many parts that parsing them would take too much memory."""
    check_parts(data, _DEFINITIONS_SHAPE)


def parse_definitions(data: bytes) -> Any:
    """The definitions that `data` encodes, likewise, once they were checked; raises DecodeError."""
    found = _PackedDefinitions.FromString(data)
    if not _whole(found, found.frames, found.stacks, found.series):
        found = _PackedDefinitions.FromString(ingest_pb2.Definitions.FromString(data).SerializeToString())
    return found


def _whole(*messages: Message) -> bool:
    """Whether every column came as one piece."""
    return not any(_number_by_number(message) or _in_pieces(message) for message in messages)


def _number_by_number(message: Message) -> bool:
    """Whether a known field came in another form than expected; fields of newer agents do not count."""
    unknown, known = UnknownFieldSet(message), message.DESCRIPTOR.fields_by_number
    return any(unknown[place].field_number in known for place in range(len(unknown)))


def _in_pieces(message: Message) -> bool:
    """Whether a column, or the definitions, came in more than one piece."""
    return any(len(getattr(message, name)) > 1 for name in _columns(message.DESCRIPTOR))


@cache
def _columns(descriptor: Any) -> list[str]:
    return [field.name for field in descriptor.fields if field.type == _Field.TYPE_BYTES]
