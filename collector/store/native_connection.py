"""One connection to a ClickHouse server: clickhouse-driver's protocol, with blocks as Arrow columns.

The driver does addresses, TLS, handshake, packets and compression; the blocks' content is read and written by
`native.py`, since the driver makes a Python object of every value of an Array.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
from clickhouse_driver import errors
from clickhouse_driver.block import BlockInfo, ColumnOrientedBlock
from clickhouse_driver.connection import Connection
from clickhouse_driver.protocol import ServerPacketTypes
from clickhouse_driver.reader import read_binary_str
from clickhouse_driver.streams.compressed import CompressedBlockInputStream, CompressedBlockOutputStream
from clickhouse_driver.varint import read_varint

from collector.store.native import arrow_type, encode_column, read_column, varint

REVISION = 54453
"""The protocol spoken at most: later ones may send sparse columns, which `native.py` does not read."""

_FRAME_BYTES = 1 << 20  # ClickHouse's own size of a compressed piece


@dataclass(frozen=True, slots=True)
class ArrowBlock:
    """Columns as they came: names and ClickHouse's types, and Arrow arrays (none when there are no rows)."""

    columns_with_types: list[tuple[str, str]]
    arrays: list[pa.Array]


class NativeConnection(Connection):  # type: ignore[misc]
    """Runs one statement at a time; belongs to one thread at a time."""

    def receive_hello(self) -> None:
        """The server's answer to our greeting: soon, or it is no ClickHouse that is there."""
        with self.timeout_setter(self.connect_timeout):
            super().receive_hello()

    def get_block_in_stream(self) -> Any:
        """The reader of result blocks."""
        return _BlocksIn(self.fin, self.context)

    def get_block_out_stream(self) -> Any:
        """The writer of inserted blocks."""
        return _BlocksOut(self.compressor_cls, self.compress_block_size, self.fout, self.context)

    def select(
        self, sql: str, settings: Mapping[str, Any], query_id: str = "", deadline_s: float | None = None
    ) -> pa.Table:
        """Run a statement and return what it selects; an empty table for one that selects nothing.

        After `deadline_s` seconds it is given up, whether the server is silent or not: the driver's
        SocketTimeoutError.
        """
        until = None if deadline_s is None else time.monotonic() + deadline_s
        return _to_table(list(self._blocks(sql, settings, query_id, until)))

    def blocks(self, sql: str, settings: Mapping[str, Any], query_id: str = "") -> Iterator[pa.Table]:
        """Run a statement and return what it selects, block by block as they come; none of them is empty.

        Who does not take all of them must disconnect, which ends the statement.
        """
        for block in self._blocks(sql, settings, query_id, None):
            if (table := _to_table([block])).num_rows:
                yield table

    def _blocks(
        self, sql: str, settings: Mapping[str, Any], query_id: str, until: float | None
    ) -> Iterator[ArrowBlock]:
        self._send(sql, settings, query_id)
        while (packet := self._receive(until)).type != ServerPacketTypes.END_OF_STREAM:
            if packet.type == ServerPacketTypes.EXCEPTION:
                self.is_query_executing = False
                raise packet.exception
            if packet.type == ServerPacketTypes.DATA:
                yield cast(ArrowBlock, packet.block)

    def insert(
        self,
        sql: str,
        table: pa.Table,
        settings: Mapping[str, Any],
        query_id: str = "",
        registered: Callable[[], None] = lambda: None,
    ) -> None:
        """Run `INSERT INTO … VALUES` with the rows of `table` as one block.

        `registered` is called when the server lists the statement among its processes and before it has any
        data. After an error that it raises the caller must disconnect, which ends the insert without a row.
        """
        self._send(sql, settings, query_id)
        types = self._sample()
        registered()
        self.send_data(_Encoded(types, table))
        self.send_data(ColumnOrientedBlock())
        while (packet := self.receive_packet()).type != ServerPacketTypes.END_OF_STREAM:
            if packet.type == ServerPacketTypes.EXCEPTION:
                self.is_query_executing = False
                raise packet.exception

    def _send(self, sql: str, settings: Mapping[str, Any], query_id: str) -> None:
        self.force_connect()
        self.context.settings = dict(settings)
        self.send_query(sql, query_id=query_id)
        self.send_external_tables(None)

    def _receive(self, until: float | None) -> Any:
        """The next packet, at the latest when the monotonic clock shows `until`."""
        if until is None:
            return self.receive_packet()
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise errors.SocketTimeoutError("no answer in time")
        with self.timeout_setter(left_s):
            return self.receive_packet()

    def _sample(self) -> list[tuple[str, str]]:
        """The names and types that the server expects."""
        while (packet := self.receive_packet()).type != ServerPacketTypes.DATA:
            if packet.type == ServerPacketTypes.EXCEPTION:
                self.is_query_executing = False
                raise packet.exception
        return cast(ArrowBlock, packet.block).columns_with_types


class _BlocksIn(CompressedBlockInputStream):  # type: ignore[misc]
    def read(self, use_numpy: bool | None = None) -> ArrowBlock:
        BlockInfo().read(self.fin)
        columns, rows = read_varint(self.fin), read_varint(self.fin)
        names, arrays = [], []
        for _ in range(columns):
            name, type_ = read_binary_str(self.fin), read_binary_str(self.fin)
            names.append((name, type_))
            if rows:
                arrays.append(read_column(type_, rows, self.fin))
        return ArrowBlock(names, arrays)


@dataclass(frozen=True, slots=True)
class _Encoded:
    types: list[tuple[str, str]]
    table: pa.Table


class _BlocksOut(CompressedBlockOutputStream):  # type: ignore[misc]
    def write(self, block: Any) -> None:
        if not isinstance(block, _Encoded):
            super().write(block)
            return
        pending = bytearray(_header(block.table.num_columns, block.table.num_rows))
        for name, type_ in block.types:
            pending += _text(name) + _text(type_)
            for piece in encode_column(type_, block.table.column(name)):
                pending += piece
                pending = self._write_frames(pending)
        self._write_frame(bytes(pending))

    def _write_frames(self, data: bytearray) -> bytearray:
        """Write `data` but for the last part of a frame, which is returned."""
        whole = len(data) // _FRAME_BYTES * _FRAME_BYTES
        view = memoryview(data)
        for start in range(0, whole, _FRAME_BYTES):
            self._write_frame(bytes(view[start : start + _FRAME_BYTES]))
        return bytearray(view[whole:])

    def _write_frame(self, data: bytes) -> None:
        self.compressor.write(data)
        self.finalize()


def _header(columns: int, rows: int) -> bytes:
    """A block's beginning: its info (1: not overflowing, 2: bucket -1, 0: the end) and its size."""
    return b"\x01\x00\x02\xff\xff\xff\xff\x00" + varint(columns) + varint(rows)


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    return varint(len(data)) + data


def _to_table(blocks: list[ArrowBlock]) -> pa.Table:
    if not blocks:
        return pa.table({})
    names = blocks[0].columns_with_types
    columns: list[list[pa.Array]] = [[] for _ in names]
    for block in blocks:
        for column, array in zip(columns, block.arrays, strict=False):
            column.append(array)
    arrays = [
        pa.chunked_array(column, arrow_type(type_)) for column, (_, type_) in zip(columns, names, strict=True)
    ]
    return pa.Table.from_arrays(arrays, names=[name for name, _ in names])
