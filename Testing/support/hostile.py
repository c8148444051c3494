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
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from GliomaSegLib.errors import GliomaSegError

HOW_MANY = 200


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


KINDS: dict[str, tuple[Callable[[Path], Iterator[Path]], Callable[[Path], object]]] = {
    "checkpoints": (checkpoints, _read_checkpoint),
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
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"outcomes": outcomes, "mb": round(grown), "seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
