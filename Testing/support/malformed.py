"""DICOM files that are wrong on purpose: headers with wrong values, and mutations of whole files with a fixed seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

STUDY_DESCRIPTION = (0x0008, 0x1030)
PATIENT_NAME = (0x0010, 0x0010)
ROWS = (0x0028, 0x0010)


def with_vr(content: bytes, tag: tuple[int, int], vr: bytes) -> bytes:
    """The file (explicit VR, little endian) with another VR for an element, whose value it does not fit then."""
    place = content.index(struct.pack("<HH", *tag), 132)
    return content[: place + 4] + vr + content[place + 6 :]


def with_length(content: bytes, tag: tuple[int, int], length: int) -> bytes:
    """The file with another length for an element with a short VR; what follows is then read from a wrong place."""
    place = content.index(struct.pack("<HH", *tag), 132)
    return content[: place + 6] + struct.pack("<H", length) + content[place + 8 :]


HEADERS = {
    "FL of a wrong length": lambda content: with_vr(content, STUDY_DESCRIPTION, b"FL"),
    "FD of a wrong length": lambda content: with_vr(content, STUDY_DESCRIPTION, b"FD"),
    "US of a wrong length": lambda content: with_vr(content, PATIENT_NAME, b"US"),
    "an unknown VR": lambda content: with_vr(content, STUDY_DESCRIPTION, b"ZZ"),
    "an unknown VR of the name": lambda content: with_vr(content, PATIENT_NAME, b"ZZ"),
    "a sequence that is none": lambda content: with_vr(content, STUDY_DESCRIPTION, b"SQ"),
    "a length that is wrong": lambda content: with_length(content, STUDY_DESCRIPTION, 7),
    "rows of the wrong type": lambda content: with_vr(content, ROWS, b"FL"),
    "an end in the header": lambda content: content[: content.index(struct.pack("<HH", *ROWS), 132) + 3],
}
"""What is wrong, and how to make it of a file."""


def mutations(paths: list[Path], count: int, seed: int = 18) -> Iterator[bytes]:
    """``count`` files, each one of ``paths`` with bytes changed, cut out, doubled or put elsewhere; the same each time.

    Most changes are in the header, as a change of a pixel is no malformed file.
    """
    generator = random.Random(seed)
    contents = [path.read_bytes() for path in paths]
    for _ in range(count):
        content = bytearray(generator.choice(contents))
        header = content.rfind(b"\xe0\x7f\x10\x00")  # Pixel Data
        for _ in range(generator.choice((1, 1, 2, 4, 16))):
            where = generator.randrange(132, header if generator.random() < 0.9 else len(content))
            length = generator.choice((1, 2, 4, 8, 64))
            how = generator.choice(("flip", "random", "extreme", "cut", "double", "end"))
            if how == "flip":
                content[where] ^= 1 << generator.randrange(8)
            elif how == "random":
                content[where : where + length] = generator.randbytes(length)
            elif how == "extreme":
                content[where : where + length] = generator.choice((b"\0", b"\xff", b"\x7f")) * length
            elif how == "cut":
                del content[where : where + length]
            elif how == "double":
                content[where:where] = content[where : where + length]
            elif generator.random() < 0.3:
                del content[where:]
            header = min(header, len(content) - 1)
            if header <= 132:
                break
        yield bytes(content)
