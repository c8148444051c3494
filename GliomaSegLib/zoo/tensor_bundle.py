"""Reader of TensorFlow checkpoints in the 'tensor bundle' format (V2), without TensorFlow.

A bundle is a pair of files. ``PREFIX.index`` is a sorted string table as LevelDB writes it: blocks of
prefix-compressed keys, a checksum behind each block, and a footer that points to the block of blocks. Its values are
protocol buffers, one ``BundleEntryProto`` per tensor (type, shape, place, checksum). ``PREFIX.data-SSSSS-of-NNNNN``
holds the values, little-endian. Format: ``tensorflow/core/protobuf/tensor_bundle.proto`` and LevelDB's
``doc/table_format.md``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.errors import WeightsError

_FOOTER_BYTES = 48
_TABLE_MAGIC = 0xDB4775248B80FB57
_BLOCK_TRAILER = struct.Struct("<BI")  # compression, masked checksum
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 10: "?"}  # numbers of types.proto

# Kinds of field in a protocol buffer.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_tensor_bundle(prefix: Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, NDArray]:
    """All tensors of a checkpoint by name.

    Args:
        prefix: the checkpoint's path without ``.index``.
        wanted: whether to read the tensor of this name; a checkpoint also holds the optimiser's.

    Raises:
        WeightsError: a file is missing, truncated or damaged, or uses a feature of the format that published
            checkpoints of networks do not need (compression, several shards, sliced tensors, other types).
    """
    index = prefix.with_name(prefix.name + ".index")
    data = prefix.with_name(prefix.name + ".data-00000-of-00001")
    try:
        entries = dict(_table(_bytes_of(index), index))
        _check_header(_message(entries.pop(b"", b"")), index)
        values = _bytes_of(data)
        return {
            key.decode(): _tensor(key.decode(), _message(entry), values, data)
            for key, entry in entries.items()
            if wanted(key.decode())
        }
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise _damaged(index, "its table cannot be read") from error


def masked_crc32c(data: bytes) -> int:
    """The checksum of ``data`` as LevelDB and TensorFlow store it: CRC-32C, rotated and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise WeightsError(f"The weights file {path} cannot be read ({reason}); install the model again.") from error


def _damaged(path: Path, why: str) -> WeightsError:
    return WeightsError(f"The weights file {path} is damaged ({why}); remove the model and install it again.")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at ``position`` in base 128, lowest digits first, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _table(data: bytes, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a sorted string table."""
    footer = data[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _TABLE_MAGIC:
        raise _damaged(path, "it does not end as an index does")
    _, position = _handle(footer, 0)
    (offset, size), _ = _handle(footer, position)
    for _, value in _block(data, offset, size, path):
        (offset, size), _ = _handle(value, 0)
        yield from _block(data, offset, size, path)


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return (offset, size), position


def _block(data: bytes, offset: int, size: int, path: Path) -> Iterator[tuple[bytes, bytes]]:
    compression, checksum = _BLOCK_TRAILER.unpack_from(data, offset + size)
    if masked_crc32c(data[offset : offset + size + 1]) != checksum:
        raise _damaged(path, "a checksum is wrong")
    if compression:
        raise WeightsError(f"The weights file {path} is compressed, which is not supported; use the published one.")
    block = data[offset : offset + size]
    restarts = struct.unpack("<I", block[-4:])[0]
    end = size - 4 * (restarts + 1)
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        own, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + own]
        position += own
        yield key, block[position : position + length]
        position += length


def _message(data: bytes) -> dict[int, list[Any]]:
    """The fields of a protocol buffer message: number -> values (``int`` or ``bytes``) in order."""
    fields: dict[int, list[Any]] = {}
    position = 0
    value: int | bytes
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
        elif kind == _BYTES:
            length, position = _varint(data, position)
            value, position = data[position : position + length], position + length
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
            value, position = int.from_bytes(data[position : position + length], "little"), position + length
        else:
            raise IndexError(f"unknown kind of field {kind}")
        fields.setdefault(number, []).append(value)
    return fields


def _check_header(header: dict[int, list[Any]], path: Path) -> None:
    if header.get(1) != [1] or header.get(2, [0]) != [0]:
        raise WeightsError(f"The checkpoint {path} is not one little-endian shard; use the published files.")


def _tensor(name: str, entry: dict[int, list[Any]], values: bytes, path: Path) -> NDArray:
    """The tensor that a ``BundleEntryProto`` describes: 1 type, 2 shape, 4 offset, 5 size, 6 checksum, 7 slices."""
    dtype = _DTYPES.get(entry.get(1, [0])[0])
    if dtype is None or 7 in entry:
        raise WeightsError(f"The tensor '{name}' in {path} has a type that is not supported; use the published files.")
    dimensions = _message(entry.get(2, [b""])[0]).get(2, [])
    shape = tuple(_message(dimension).get(1, [0])[0] for dimension in dimensions)
    offset, size = entry.get(4, [0])[0], entry.get(5, [0])[0]
    raw = values[offset : offset + size]
    if len(raw) != size or size != math.prod(shape) * np.dtype(dtype).itemsize:
        raise _damaged(path, f"the tensor '{name}' is cut short")
    if entry.get(6) != [masked_crc32c(raw)]:
        raise _damaged(path, f"the checksum of '{name}' is wrong")
    return np.frombuffer(raw, dtype).reshape(shape)
