"""Hostile files by the hundred, with fixed seeds, and what becomes of them: checkpoints, archives, safetensors.

``python -m Testing.support.hostile KIND FOLDER`` makes them in FOLDER and reads each in this one process, as an
installation does. It prints a line of JSON: the outcomes (``refused``, ``read`` or the name of an exception that should
not have come out), the most memory that the reading took (MB) and the seconds.
"""

from __future__ import annotations

import builtins
import collections
import io
import json
import os
import pickle
import random
import resource
import struct
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from GliomaSegLib.errors import GliomaSegError

HOW_MANY = 100


class Call:
    """A pickle of it calls ``function`` when it is read."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self._reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


# --- checkpoints --------------------------------------------------------------------------------------------------


def _zip_of(pickled: bytes, path: Path, compression: int = zipfile.ZIP_STORED, storage: bytes = b"\0" * 64) -> None:
    with zipfile.ZipFile(path, "w", compression) as opened:
        opened.writestr("a/data.pkl", pickled)
        opened.writestr("a/byteorder", "little")
        opened.writestr("a/version", "3\n")
        opened.writestr("a/data/0", storage)


def _tensor(size: str, stride: str, offset: bytes = b"K\0", numel: bytes = b"K\x10") -> bytes:
    """The pickle of ``{"state_dict": {"w": tensor}}``; sizes and strides as opcodes that push a tuple."""
    return (
        b"\x80\x02}X\n\0\0\0state_dict}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(("
        b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + numel + b"tQ" + offset
        + size.encode("latin-1") + stride.encode("latin-1") + b"\x89ccollections\nOrderedDict\n)RtRss."
    )  # fmt: skip


def _whole(number: int) -> str:
    return (b"\x8a\x08" + struct.pack("<q", number)).decode("latin-1")


def _crafted(random_: random.Random) -> Iterator[bytes]:
    """Pickles that each aim at one weakness."""
    import torch

    reconstruct: Any = np.zeros(1).__reduce__()[0]
    size = random_.randrange(1, 5)
    pointers = bytes(random_.randrange(256) for _ in range(8 * size))
    large = 10 ** random_.randrange(9, 12)
    aimed = [
        Call(np.ndarray, (size,), "O", pointers),
        Call(reconstruct, np.ndarray, (0,), b"b", state=(1, (size,), np.dtype("O"), False, pointers)),
        Call(reconstruct, np.ndarray, (0,), b"b", state=(1, (large,), np.dtype("f8"), False, pointers)),
        Call(reconstruct, np.ndarray, (0,), b"b", state=(1, (-size,), np.dtype("f8"), False, pointers)),
        Call(np.dtype, "f8", False, True, state=(3, "|", None, ("x",), {"x": (np.dtype("f8"), large)}, 8, 1, 0)),
        Call(np.dtype, "O8"),
        Call(np.dtype, "V8", False, True, state=(3, "|", (np.dtype("f8"), (large,)), None, None, -1, -1, 0)),
        Call(np.float64(1).__reduce__()[0], np.dtype("O"), pointers[:8]),
        Call(np.float64(1).__reduce__()[0], np.dtype("f8"), pointers[:3]),
        Call(builtins.bytearray, large),
        Call(builtins.eval, "1"),
        Call(os.getpid),
        Call(torch.Tensor, large),
        Call(torch._utils._rebuild_sparse_tensor, torch.sparse_coo, (torch.tensor([[large]]), torch.ones(1), (2,))),
        Call(collections.Counter, 5),
    ]
    for one in aimed:
        stream = io.BytesIO()
        torch.save({"state_dict": {"w": one}, "config": {"network": one}}, stream, pickle_protocol=2)
        yield stream.getvalue()
    buffer = io.BytesIO()
    torch.save({"state_dict": {"w": torch.zeros(1).expand(large)}}, buffer)
    yield buffer.getvalue()
    depth = random_.randrange(50_000, 200_000)
    laughs = b"\x80\x02]q\0" + b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(60)) + b"."
    one, none = f"({_whole(large)}t", "(K\0t"
    for pickled in (
        b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".",
        b"\x80\x02}X\x06\0\0\0config" + laughs[2:-1] + b"s.",
        _tensor(one, none),  # a stride of nothing
        _tensor("(J\xff\xff\xff\xfft", "(K\x01t"),
        _tensor("(K\x10t", "(K\x01t", offset=_whole(large).encode("latin-1")),
        _tensor("(K\x10t", "(J\xff\xff\xff\x80t"),
        _tensor(one, "(K\x01t", numel=_whole(large).encode("latin-1")),
        b"\x80\x02K\x01r\xff\xff\xff\xff.",
        b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02X\xff\xff\xff\x7fshort",
        b"\x80\x02\x8b\xff\xff\xff\x7f",
    ):
        path = io.BytesIO()
        _zip_of(pickled, path)  # type: ignore[arg-type]
        yield path.getvalue()
        yield pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + pickled
    path = io.BytesIO()
    _zip_of(b"\x80\x02(" + b"N" * 200_000_000 + b"t.", path, zipfile.ZIP_DEFLATED)  # type: ignore[arg-type]
    yield path.getvalue()


def checkpoints(folder: Path) -> Iterator[Path]:
    """:data:`HOW_MANY` files: those that aim at something, then sound ones with a few bytes changed."""
    import torch

    random_ = random.Random(20261129)
    made = 0
    for round_ in range(2):
        for content in _crafted(random_):
            path = folder / f"aimed-{round_}-{made}.pt"
            path.write_bytes(content)
            yield path
            made += 1
    stream = io.BytesIO()
    torch.save({"state_dict": {f"layer.{n}": torch.ones(3, 4) for n in range(5)}, "best": np.float64(0.5)}, stream)
    with zipfile.ZipFile(stream) as opened:
        pickled = opened.read(next(name for name in opened.namelist() if name.endswith("data.pkl")))
    while made < HOW_MANY:
        changed = bytearray(pickled if made % 3 else stream.getvalue())
        for _ in range(random_.randrange(1, 6)):
            changed[random_.randrange(len(changed))] = random_.randrange(256)
        path = folder / f"changed-{made}.pt"
        if made % 3:
            _zip_of(bytes(changed), path)
        else:
            path.write_bytes(changed)
        yield path
        made += 1


def _read_checkpoint(path: Path) -> None:
    from GliomaSegLib.zoo.checkpoint import read_checkpoint, state_dict
    from GliomaSegLib.zoo.loaders import auto3dseg

    source = path.with_suffix("")
    source.mkdir()
    (source / "model.pt").write_bytes(path.read_bytes())
    try:
        auto3dseg.convert(source, source / "weights.safetensors")
    except GliomaSegError:
        state_dict(read_checkpoint(path), path, "state_dict")


# --- archives -----------------------------------------------------------------------------------------------------


def _tar(*members: tuple[str, bytes, bytes], compressed: bool = True) -> bytes:
    """A tar file of members: name, kind, content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz" if compressed else "w", format=tarfile.GNU_FORMAT) as opened:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(content)
            opened.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _zip(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return stream.getvalue()


def _record(key: str, value: str) -> bytes:
    """A record of a PAX header."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest + len(str(rest))))
    return f"{length} {key}={value}\n".encode()


def _with_size(tar: bytes, field: bytes) -> bytes:
    """An uncompressed tar whose first member's size is ``field`` (12 bytes), the checksum set right."""
    head = bytearray(tar[:512])
    head[124:136] = field
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + tar[512:]


def _aimed_archives(random_: random.Random) -> Iterator[tuple[str, bytes]]:
    """Archives that each aim at one weakness, with the kind that a card would call them."""
    regular, pax, pax_for_all = tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE
    many = random_.randrange(5_000, 6_000)
    small = _tar(("model.bin", regular, b"x" * 600), compressed=False)
    comment = _record("comment", "x" * (100_000_000 + many))
    for content in (
        _tar(("a", pax, comment), ("a", regular, b"")),
        _tar(*((f"a{n}", pax_for_all, _record(f"k{n}", "x" * 60_000)) for n in range(900)), ("a", regular, b"")),
        _tar(("././@LongLink", tarfile.GNUTYPE_LONGNAME, b"n" * 60_000_000), ("a", regular, b"")),
        _tar(("n" * many, regular, b"")),
        _tar(("/".join(["deep"] * many), regular, b"")),
        _tar(("a\nb\x1b[2J", regular, b"")),
        _tar(("a", regular, b""), ("a/b", regular, b"")),
        _tar(("../evil", regular, b"evil")),
        _tar(("a", tarfile.SYMTYPE, b""), ("a/evil", regular, b"evil")),
        _tar(*((f"empty/{n}", regular, b"") for n in range(5_100))),
        _tar(("zeros", regular, bytes(60_000_000 + many))),
        _tar(("a", pax, _record("size", str(10**12))), ("a", regular, b"")),
        _tar(("a", pax, _record("size", "-512")), ("a", regular, b"x" * 512), ("b", regular, b"")),
        _tar(("a", pax, _record("path", "../evil")), ("a", regular, b"evil")),
        _tar(("a", pax, b"999999999999 path=a\n"), ("a", regular, b"")),
        _with_size(small, b"\xff" * 11 + b"\x00"),  # a negative size: the reader would go back for ever
        _with_size(small, b"\x80" + b"\0" * 4 + b"\xff" * 7),
        _with_size(small, b"77777777777\0"),
    ):
        yield "tar", content
    for content in (
        _zip({"zeros": bytes(60_000_000 + many)}),
        _zip({"n" * many: b""}),
        _zip({"../evil": b"evil"}),
        _zip({"a": b"", "a/b": b""}),
        _zip({f"{n}": b"" for n in range(5_100)}),
        _zip({"a": b"x" * 100}).replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\x01\0"),
        _zip({"a": b"x" * 100}, zipfile.ZIP_STORED).replace(
            b"\x64\0\0\0\x64\0\0\0", b"\xff\xff\xff\x7f\xff\xff\xff\x7f"
        ),
    ):
        yield "zip", content


def archives(folder: Path) -> Iterator[Path]:
    """As :func:`checkpoints`."""
    random_ = random.Random(20261130)
    made = 0
    for round_ in range(2):
        for kind, content in _aimed_archives(random_):
            path = folder / f"aimed-{round_}-{made}.{kind}"
            path.write_bytes(content)
            yield path
            made += 1
    files = {"model/plans.json": b"{}", "model/weights.bin": bytes(range(256)) * 20}
    sound = {
        "zip": _zip(files, zipfile.ZIP_STORED),
        "tar": _tar(*((name, tarfile.REGTYPE, content) for name, content in files.items()), compressed=False),
    }
    while made < HOW_MANY:
        kind = random_.choice(["zip", "tar"])
        changed = bytearray(sound[kind])
        for _ in range(random_.randrange(1, 12)):
            changed[random_.randrange(len(changed))] = random_.randrange(256)
        path = folder / f"changed-{made}.{kind}"
        path.write_bytes(changed[: random_.randrange(1, len(changed))] if made % 4 == 0 else changed)
        yield path
        made += 1


def _read_archive(path: Path) -> None:
    from GliomaSegLib.errors import WeightsError
    from GliomaSegLib.zoo.archive import is_archive, unpack

    kind: Any = path.suffix[1:]
    known = is_archive(path, kind)
    unpack(path, kind, path.parent / "unpacked" / path.stem)
    if not known:
        raise WeightsError("it is no archive")


# --- safetensors --------------------------------------------------------------------------------------------------


def _safetensors(header: bytes, values: bytes = bytes(64), length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + values


def weights(folder: Path) -> Iterator[Path]:
    """As :func:`checkpoints`, of safetensors files."""
    random_ = random.Random(20261201)
    entry = '{"w":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}'
    headers = [
        entry.replace("[16]", f"[{2**62}]"),
        entry.replace("[16]", "[-16]"),
        entry.replace("[16]", f"[{2**31},{2**33}]"),
        entry.replace("[0,64]", f"[0,{2**63}]"),
        entry.replace("[0,64]", "[64,0]"),
        entry.replace("[0,64]", "[0,32]"),
        entry.replace("F32", "O"),
        entry.replace("F32", "F99"),
        entry + ',"v":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}',
        entry + ',"__metadata__":{"a":{"b":1}}',
        entry + ',"__metadata__":["a"]',
        entry[:-9],
        '{"w":' + "[" * 100_000,
    ]
    contents = [_safetensors((header + "}").encode()) for header in headers]
    contents += [_safetensors(b"{}", length=length) for length in (2**64 - 1, 2**63, 2**40, 10**8, 0)]
    contents += [b"", b"\0" * 7, _safetensors(b"\xff\xfe{}"), _safetensors((entry + "}").encode(), bytes(10))]
    for made, content in enumerate(contents):
        (folder / f"aimed-{made}.safetensors").write_bytes(content)
        yield folder / f"aimed-{made}.safetensors"
    sound = _safetensors((entry + ',"v":{"dtype":"I64","shape":[2,4],"data_offsets":[64,128]}}').encode(), bytes(128))
    for made in range(len(contents), HOW_MANY):
        changed = bytearray(sound)
        for _ in range(random_.randrange(1, 6)):
            changed[random_.randrange(len(changed) - 120)] = random_.randrange(256)
        path = folder / f"changed-{made}.safetensors"
        path.write_bytes(changed)
        yield path


def _read_weights(path: Path) -> None:
    from GliomaSegLib.zoo.checkpoint import read_converted

    read_converted(path)


KINDS: dict[str, tuple[Callable[[Path], Iterator[Path]], Callable[[Path], object]]] = {
    "checkpoints": (checkpoints, _read_checkpoint),
    "archives": (archives, _read_archive),
    "weights": (weights, _read_weights),
}


def main(kind: str, folder: Path) -> None:
    """Make them and read them; see the module."""
    import GliomaSegLib.zoo.loaders.auto3dseg
    import GliomaSegLib.zoo.store  # noqa: F401  # so that importing does not count

    make, read = KINDS[kind]
    folder.mkdir(exist_ok=True)
    if os.fork() == 0:  # so that the memory of what makes them does not count
        names = [path.name for path in make(folder)]
        (folder / "made.json").write_text(json.dumps(names))
        os._exit(0)
    os.wait()
    paths = [folder / name for name in json.loads((folder / "made.json").read_text())]
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    outcomes: collections.Counter[str] = collections.Counter()
    for path in paths:
        try:
            read(path)
            outcome = "read"
        except GliomaSegError:
            outcome = "refused"
        except Exception as error:
            outcome = f"{type(error).__name__} of {path.name}: {error}"
        outcomes["aimed and read" if outcome == "read" and path.name.startswith("aimed") else outcome] += 1
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10  # it counts bytes there, else kilobytes
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit
    print(json.dumps({"outcomes": outcomes, "mb": round(grown), "seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
