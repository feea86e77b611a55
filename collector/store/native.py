"""ClickHouse's native column format between its bytes and Arrow, without a Python object a value.

A block is columns one after the other: numbers as little-endian arrays, String as (varint length, bytes) a
value, Array as the ends of its rows (UInt64) and then the values of all rows, Nullable as one byte a value
(1: null) and then the values (ClickHouse: docs "Native" format; src/DataTypes/Serializations).
"""

import re
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NUMBERS = {
    **{
        f"{sign}Int{bits}": np.dtype(f"{sign}int{bits}".lower())
        for sign in ("U", "")
        for bits in (8, 16, 32, 64)
    },
    "Float32": np.dtype("float32"),
    "Float64": np.dtype("float64"),
    "Date": np.dtype("uint16"),
    "Nothing": np.dtype("uint8"),
}
_DATETIME = np.dtype("uint32")


class Source(Protocol):
    """What columns are read from: clickhouse-driver's buffered reader."""

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; raises EOFError."""
        ...

    def read_strings_arrow(self, count: int) -> tuple[bytes, bytes]:
        """`count` String values: their bounds (count + 1 int64) and their bytes."""
        ...


def arrow_type(type_: str) -> pa.DataType:
    """The Arrow type in which a column of ClickHouse's `type_` is read; raises TypeError for one not used."""
    if type_ == "Date":
        return pa.int32()
    if type_ == "String":
        return pa.string()
    inner = _inner(type_)
    if inner:
        found = arrow_type(inner[1])
        return pa.list_(found) if inner[0] == "Array" else found
    return pa.from_numpy_dtype(_dtype(type_))


def read_column(type_: str, rows: int, source: Source) -> pa.Array:
    """The next `rows` values of a column of ClickHouse's `type_`; see `arrow_type` for what comes back."""
    if not rows:
        return pa.array([], arrow_type(type_))
    if type_ == "String":
        return _read_strings(rows, source)
    inner = _inner(type_)
    if inner and inner[0] == "Array":
        ends = np.frombuffer(source.read(8 * rows), np.uint64)
        starts = np.concatenate([[0], ends]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(starts), read_column(inner[1], int(ends[-1]), source))
    if inner:
        nulls = np.frombuffer(source.read(rows), np.uint8).astype(bool)
        return pc.if_else(pa.array(~nulls), read_column(inner[1], rows, source), None)
    dtype = _dtype(type_)
    values = pa.array(np.frombuffer(source.read(dtype.itemsize * rows), dtype))
    return values.cast(pa.int32()) if type_ == "Date" else values


def encode_column(type_: str, column: pa.ChunkedArray | pa.Array) -> Iterator[bytes]:
    """The bytes of a column of ClickHouse's `type_`, in pieces. Dictionaries are looked up here.

    Raises TypeError for a type that is not used.
    """
    whole = _whole(column)
    inner = _inner(type_)
    if inner and inner[0] == "Array":
        bounds = whole.offsets.to_numpy().astype(np.int64)
        yield (bounds[1:] - bounds[0]).astype(np.uint64).tobytes()
        yield from encode_column(inner[1], whole.values.slice(bounds[0], bounds[-1] - bounds[0]))
    elif type_ == "String":
        yield from _encode_strings(whole)
    else:
        yield whole.to_numpy(zero_copy_only=False).astype(_dtype(type_), copy=False).tobytes()


def _inner(type_: str) -> tuple[str, str] | None:
    """("Array", "UInt64") of "Array(UInt64)"; None for a type without another one inside."""
    found = re.fullmatch(r"(Array|Nullable)\((.*)\)", type_)
    return (found[1], found[2]) if found else None


def _dtype(type_: str) -> np.dtype[Any]:
    if type_.startswith("DateTime") and not type_.startswith("DateTime64"):
        return _DATETIME
    if type_ not in _NUMBERS:
        raise TypeError(f"ClickHouse's type {type_} is not one that fleetprof uses.")
    return _NUMBERS[type_]


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _read_strings(rows: int, source: Source) -> pa.Array:
    bounds, data = source.read_strings_arrow(rows)
    large = pa.Array.from_buffers(pa.large_string(), rows, [None, pa.py_buffer(bounds), pa.py_buffer(data)])
    return large.cast(pa.string())


def _encode_strings(values: pa.Array) -> Iterator[bytes]:
    if pa.types.is_dictionary(values.type):
        encoded = _with_lengths(values.dictionary).take(values.indices)
    else:
        encoded = _with_lengths(values)
    bounds = np.frombuffer(encoded.buffers()[1], np.int64)[encoded.offset : encoded.offset + len(encoded) + 1]
    if len(encoded):
        yield encoded.buffers()[2].slice(bounds[0], bounds[-1] - bounds[0]).to_pybytes()


def _with_lengths(values: pa.Array) -> pa.Array:
    """Each text as bytes, with its length as a varint in front (large_binary)."""
    binary = values.cast(pa.large_binary())
    distinct = pc.binary_length(binary).dictionary_encode()
    prefixes = pa.array([varint(length) for length in distinct.dictionary.to_pylist()], pa.large_binary())
    empty = pa.scalar(b"", pa.large_binary())
    return pc.binary_join_element_wise(prefixes.take(distinct.indices), binary, empty)


def varint(number: int) -> bytes:
    """LEB128, as ClickHouse's writeVarUInt."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
