"""How an image was acquired, as plain values: from DICOM headers, or from the sidecar file of a converted image.

Standard library only, so that sequences can be identified where no image is read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from GliomaSegLib.errors import printable
from GliomaSegLib.io.names import image_stem

_LONGEST_S = 1e6  # what says to have taken longer is no time


@dataclass(frozen=True)
class DicomTags:
    """What the header says about how a series was acquired. Times in ms; ``None`` where it does not say."""

    description: str = ""
    protocol: str = ""
    sequence_name: str = ""
    scanning_sequence: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    contrast_agent: str | None = None
    angiography: bool = False
    b_value: float | None = None
    body_part: str = ""


def sidecar_tags(path: Path) -> DicomTags | None:
    """Tags from the JSON file that dcm2niix puts beside a NIfTI file (BIDS: times in seconds); ``None`` without one."""
    sidecar = path.with_name(f"{image_stem(path)}.json")
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or "EchoTime" not in content:
        return None

    def milliseconds(key: str) -> float | None:
        value = content.get(key)
        return 1000.0 * value if isinstance(value, (int, float)) and 0 < abs(value) < _LONGEST_S else None

    return DicomTags(
        description=printable(content.get("SeriesDescription", "")),
        protocol=printable(content.get("ProtocolName", "")),
        scanning_sequence=tuple(re.split(r"[_\\]", str(content.get("ScanningSequence", "")))),
        image_type=tuple(map(str, types)) if isinstance(types := content.get("ImageType"), list) else (),
        repetition_time_ms=milliseconds("RepetitionTime"),
        echo_time_ms=milliseconds("EchoTime"),
        inversion_time_ms=milliseconds("InversionTime"),
        contrast_agent=str(content["ContrastBolusIngredient"]) if "ContrastBolusIngredient" in content else None,
    )
