"""Push requests with their columns left as they are on the wire.

On the wire a packed column looks the same as a field of bytes. So a copy of the contract in which the columns of
Window and Samples are `repeated bytes`, made here from the contract itself, is parsed without an object a number
(thirty times faster), and all columns of many windows are then decoded at once (varint.py).

A sender may also write a column number by number, or in pieces: legal, slow, and none of ours does. Such a request
is written anew by the library first: a number, or a definition, may not span two pieces.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from collector.receivers.unpack import check_parts, shape_of
from fleetprof.v1 import ingest_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_PACKED = {"Window", "Samples"}
_NUMBERS = {
    _Field.TYPE_FIXED64, _Field.TYPE_UINT32, _Field.TYPE_UINT64, _Field.TYPE_SINT32, _Field.TYPE_ENUM,
}  # fmt: skip


def _packed_contract() -> Any:
    """The class of PushRequest in which columns, and the definitions and places, are bytes."""
    file = descriptor_pb2.FileDescriptorProto()
    ingest_pb2.DESCRIPTOR.CopyToProto(file)
    own = f".{file.package}."
    opaque = {f"{own}Definitions", f"{own}Places"}
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
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("fleetprof.packed.PushRequest"))


_PackedPush = _packed_contract()
_SHAPE = shape_of(_PackedPush.DESCRIPTOR)
_WINDOW_FIELDS = frozenset(ingest_pb2.Window.DESCRIPTOR.fields_by_number)
_SAMPLES_FIELDS = frozenset(ingest_pb2.Samples.DESCRIPTOR.fields_by_number)


def parse_packed(data: bytes) -> Any:
    """The request that `data` encodes, each column a list of one piece, or none.

    Raises DecodeError, and Refused for one of so many parts that parsing it would take too much memory.
    """
    check_parts(data, _SHAPE)
    request = _PackedPush.FromString(data)
    window, samples = request.window, request.window.samples
    if (
        _number_by_number(window, _WINDOW_FIELDS)
        or _number_by_number(samples, _SAMPLES_FIELDS)
        or any(_in_pieces(message) for message in (request, window, samples))
    ):
        request = _PackedPush.FromString(ingest_pb2.PushRequest.FromString(data).SerializeToString())
    return request


def _number_by_number(message: Message, known: frozenset[int]) -> bool:
    """Whether a known field came in another form than expected; fields of newer agents do not count."""
    unknown = UnknownFieldSet(message)
    return any(unknown[place].field_number in known for place in range(len(unknown)))


def _in_pieces(message: Message) -> bool:
    """Whether a column, or the definitions, came in more than one piece."""
    return any(len(pieces) > 1 for field, pieces in message.ListFields() if field.type == _Field.TYPE_BYTES)
