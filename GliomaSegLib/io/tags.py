"""Acquisition parameters of an image, from DICOM headers or from the JSON sidecar of a converted image.

Standard library only, so that modalities can be identified without reading images.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from GliomaSegLib.errors import printable
from GliomaSegLib.io.names import image_stem

_LONGEST_S = 1e6  # longer times are invalid


@dataclass(frozen=True)
class DicomTags:
    """Acquisition parameters of a series. Times in ms; ``None`` if missing in the header."""

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
    patient_id: str = ""


def sidecar_tags(path: Path) -> DicomTags | None:
    """Read the JSON sidecar that dcm2niix writes beside a NIfTI file (BIDS, times in s); ``None`` without one."""
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
        sequence_name=printable(content.get("SequenceName", "")),
        scanning_sequence=tuple(re.split(r"[_\\]", str(content.get("ScanningSequence", "")))),
        image_type=tuple(map(str, types)) if isinstance(types := content.get("ImageType"), list) else (),
        repetition_time_ms=milliseconds("RepetitionTime"),
        echo_time_ms=milliseconds("EchoTime"),
        inversion_time_ms=milliseconds("InversionTime"),
        contrast_agent=str(content["ContrastBolusIngredient"]) if "ContrastBolusIngredient" in content else None,
        body_part=printable(content.get("BodyPartExamined", "")),
        patient_id=printable(content.get("PatientID", "")).strip(),
    )
