"""The reader of TensorFlow checkpoints, on bundles that the test writes itself."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from GliomaSegLib.errors import WeightsError
from GliomaSegLib.zoo.tensor_bundle import masked_crc32c, read_tensor_bundle

_TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}


def write_bundle(prefix: Path, tensors: dict[str, np.ndarray], entries_per_block: int = 3) -> None:
    """Write a checkpoint as TensorFlow does, with prefix-compressed keys and several blocks."""
    records, values = [(b"", _field(1, 1) + _field(3, _field(1, 1)))], b""
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        shape = b"".join(_field(2, _field(1, size)) for size in array.shape)
        entry = _field(1, _TYPES[array.dtype.name]) + _field(2, shape) + _field(4, len(values))
        entry += _field(5, array.nbytes) + b"\x35" + struct.pack("<I", masked_crc32c(array.tobytes()))
        records.append((name.encode(), entry))
        values += array.tobytes()
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(values)
    prefix.with_name(prefix.name + ".index").write_bytes(_table(records, entries_per_block))


def _table(records: list[tuple[bytes, bytes]], entries_per_block: int) -> bytes:
    table, index = b"", []
    for first in range(0, len(records), entries_per_block):
        chunk = records[first : first + entries_per_block]
        block = _block(chunk)
        index.append((chunk[-1][0], _varint(len(table)) + _varint(len(block))))
        table += _sealed(block)
    handles = b""
    for block in (_block([]), _block(index)):
        handles += _varint(len(table)) + _varint(len(block))
        table += _sealed(block)
    return table + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def _sealed(block: bytes) -> bytes:
    return block + b"\0" + struct.pack("<I", masked_crc32c(block + b"\0"))


def _block(records: list[tuple[bytes, bytes]]) -> bytes:
    block, last = b"", b""
    for key, value in records:
        shared = next((i for i, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last)))
        block += _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        last = key
    return block + struct.pack("<II", 0, 1)


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    digits = []
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "net/block1/w": generator.normal(size=(1, 3, 3, 4, 32)).astype(np.float32),
        "net/block1/b": generator.normal(size=300).astype(np.float32),
        "net/block12/w": generator.normal(size=(2, 0)).astype(np.float64),
        "net/step": np.array(20000, dtype=np.int64),
        "net/step/Adam": np.array([1, 2, 3], dtype=np.int32),
    }


@pytest.fixture
def checkpoint(tmp_path: Path, tensors: dict[str, np.ndarray]) -> Path:
    write_bundle(tmp_path / "net.ckpt", tensors)
    return tmp_path / "net.ckpt"


def test_checksum_is_the_published_one() -> None:
    """CRC-32C of '123456789' is E3069283 (RFC 3720); LevelDB rotates it by 15 and adds a constant."""
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def test_reads_what_was_written(checkpoint: Path, tensors: dict[str, np.ndarray]) -> None:
    read = read_tensor_bundle(checkpoint)
    assert read.keys() == tensors.keys()
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_reads_only_what_is_wanted(checkpoint: Path) -> None:
    assert read_tensor_bundle(checkpoint, lambda name: name.endswith("/w")).keys() == {"net/block1/w", "net/block12/w"}


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nothing\.ckpt\.index cannot be read"):
        read_tensor_bundle(tmp_path / "nothing.ckpt")


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
def test_truncated_file_is_refused(checkpoint: Path, ending: str) -> None:
    file = checkpoint.with_name(checkpoint.name + ending)
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(WeightsError, match="damaged"):
        read_tensor_bundle(checkpoint)


def test_changed_value_is_refused(checkpoint: Path) -> None:
    file = checkpoint.with_name(checkpoint.name + ".data-00000-of-00001")
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="checksum of 'net/block1/b' is wrong"):
        read_tensor_bundle(checkpoint)


def test_compressed_index_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "net.ckpt", {"a": np.zeros(1, np.float32)})
    index = tmp_path / "net.ckpt.index"
    content = index.read_bytes()
    block = _block([(b"", _field(1, 1) + _field(3, _field(1, 1)))])
    end = content.index(struct.pack("<II", 0, 1)) + 8
    sealed = content[:end] + b"\1" + struct.pack("<I", masked_crc32c(content[:end] + b"\1"))
    assert content.startswith(block[:4])
    index.write_bytes(sealed + content[len(sealed) :])
    with pytest.raises(WeightsError, match="compressed"):
        read_tensor_bundle(tmp_path / "net.ckpt")


@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_no_damage_to_the_index_raises_anything_else(
    place: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A flipped byte gives either a WeightsError or, in unused padding, the same tensors."""
    prefix = tmp_path_factory.mktemp("bundle") / "net.ckpt"
    tensors = {f"net/{name}": np.arange(5, dtype=np.float32) for name in ("a", "ab", "abc")}
    write_bundle(prefix, tensors)
    index = prefix.with_name("net.ckpt.index")
    content = bytearray(index.read_bytes())
    content[place % len(content)] = value
    index.write_bytes(content)
    try:
        read = read_tensor_bundle(prefix)
    except WeightsError:
        return
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name], array)
