"""Columns between numpy, Arrow and ClickHouse's types."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.store.interface import Block, Columns
from collector.store.without_pandas import leave_pandas_out

leave_pandas_out()

_ARROW = {
    "UInt8": pa.uint8(),
    "UInt16": pa.uint16(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Int64": pa.int64(),
    "Float64": pa.float64(),
    "String": pa.string(),
    "Date": pa.uint16(),
}


def arrow_type(clickhouse: str) -> pa.DataType:
    """The Arrow type in which a ClickHouse column is written; raises KeyError for one we do not use."""
    if clickhouse.startswith("DateTime"):
        return pa.uint32()
    wrapped = re.fullmatch(r"(LowCardinality|Array)\((.*)\)", clickhouse)
    if not wrapped:
        return _ARROW[clickhouse]
    inner = arrow_type(wrapped[2])
    return pa.list_(inner) if wrapped[1] == "Array" else inner


def to_table(block: Block, schema: pa.Schema) -> pa.Table:
    """`block` as an Arrow table with exactly the columns of `schema`, cast to its types.

    Dictionary columns stay dictionaries. Raises ValueError when columns are missing, extra or of unequal
    length, and when a value does not fit its type.
    """
    columns = (
        dict(zip(block.column_names, block.columns, strict=True)) if isinstance(block, pa.Table) else block
    )
    if set(columns) != set(schema.names):
        odd = sorted(set(columns) ^ set(schema.names))
        raise ValueError(f"The block's columns are not the table's: {', '.join(odd)}.")
    arrays = {field.name: _to_arrow(columns[field.name], field.type) for field in schema}
    if len({len(array) for array in arrays.values()}) > 1:
        raise ValueError("The block's columns differ in length.")
    return pa.table(arrays)


def _to_arrow(values: Any, type_: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        if pa.types.is_dictionary(values.type) and values.type.value_type == type_:
            return values
        return values if values.type == type_ else values.cast(type_)
    if isinstance(values, np.ndarray) and values.dtype != object:
        return pa.array(values).cast(type_)
    return pa.array(list(values), type_)


def to_ipc(table: pa.Table, options: pa.ipc.IpcWriteOptions | None = None) -> bytes:
    """`table` as an Arrow IPC stream of one record batch, so that ClickHouse writes it as one block."""
    sink = pa.BufferOutputStream()
    whole = table.unify_dictionaries().combine_chunks()
    with pa.ipc.new_stream(sink, whole.schema, options=options) as writer:
        writer.write_table(whole)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_ipc(data: bytes) -> pa.Table:
    """The table of an Arrow IPC stream."""
    return pa.ipc.open_stream(pa.py_buffer(data)).read_all()


def to_numpy(table: pa.Table) -> Columns:
    """Each column of `table` as numpy values: numbers by dtype, strings and lists as object arrays."""
    return {name: _to_numpy(table.column(name)) for name in table.column_names}


def _to_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    if not pa.types.is_list(column.type):
        values: npt.NDArray[Any] = column.to_numpy()
        return values
    flat, starts = ragged(column)
    rows = np.empty(len(column), object)
    for i in range(len(column)):
        rows[i] = flat[starts[i] : starts[i + 1]]
    return rows


def ragged(column: pa.ChunkedArray) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """An Array column as (flat values, starts): row i is flat[starts[i]:starts[i + 1]]."""
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # pyarrow returns chunks where there are none to combine
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], column.type)
    starts = whole.offsets.to_numpy().astype(np.int64)
    flat = whole.values.to_numpy(zero_copy_only=False)
    return flat[starts[0] : starts[-1]], starts - starts[0]


def from_ragged(flat: npt.NDArray[Any], lengths: npt.NDArray[Any] | Sequence[int]) -> pa.ListArray:
    """An Array column of rows with these `lengths`, whose values lie one after the other in `flat`."""
    starts = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=starts[1:])
    return pa.ListArray.from_arrays(pa.array(starts), pa.array(flat))


def schema_of(types: Mapping[str, str]) -> pa.Schema:
    """The Arrow schema of a table whose columns have these ClickHouse types."""
    return pa.schema([(name, arrow_type(type_)) for name, type_ in types.items()])
