"""Converts the frames of enhanced (multi-frame) MR to slices of a classic series.

An enhanced file has Shared and Per-frame Functional Groups (PS3.3 C.7.6.16); frames may be in any order, of several
echoes or stacks, each with its own rescaling. Archives also convert classic series to such files (Legacy Converted
Enhanced MR, PS3.3 A.71). With classic headers they are grouped and sorted by the same rules as
slices; their pixels, compressed or not, are decoded from temporary single-frame files.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, MRImageStorage

FRAME_KEYWORDS = (
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "NumberOfFrames"),
    *("PulseSequenceName", "EchoPulseSequence", "EchoPlanarPulseSequence", "ContrastBolusAgentSequence"),
)
"""The elements of an enhanced file that are needed in addition to those of a classic header."""

# The elements of functional groups and their keywords in a classic header.
_GROUPS = {
    "PixelMeasuresSequence": {"PixelSpacing": "PixelSpacing"},
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PixelValueTransformationSequence": {"RescaleSlope": "RescaleSlope", "RescaleIntercept": "RescaleIntercept"},
    "FrameContentSequence": {
        "StackID": "StackID",
        "TemporalPositionIndex": "TemporalPositionIdentifier",
        "FrameAcquisitionNumber": "AcquisitionNumber",
    },
    "MRImageFrameTypeSequence": {"FrameType": "ImageType"},
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRTimingAndRelatedParametersSequence": {"RepetitionTime": "RepetitionTime"},
    "MRModifierSequence": {"InversionTimes": "InversionTime"},
    "MRDiffusionSequence": {"DiffusionBValue": "DiffusionBValue"},
}
_CONVERTED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
"""Groups of Legacy Converted Enhanced MR with the other elements of the classic headers."""

_FLOATS_AS_TEXT = {"EchoTime", "InversionTime"}  # binary in enhanced headers, decimal strings in classic ones

_PIXEL_KEYWORDS = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit"),
    "PixelRepresentation",
)


def frame_headers(header: Dataset) -> list[Dataset]:
    """A classic header for each frame of an enhanced file, in the order of the file.

    Missing or damaged values are missing in the frame's header.
    """
    shared = next(iter(header.get("SharedFunctionalGroupsSequence") or []), Dataset())
    common = Dataset()
    for element in header:
        if not element.keyword.endswith("FunctionalGroupsSequence"):
            common.add(element)
    _add_pulse_sequence(common)
    _add_agent(common)
    _add_groups(common, shared)
    frames = []
    for own in header.get("PerFrameFunctionalGroupsSequence") or []:
        frame = Dataset()
        frame.update(common)
        _add_groups(frame, own)
        frames.append(frame)
    return frames


def _add_groups(frame: Dataset, groups: Dataset) -> None:
    for group in _CONVERTED:
        for item in groups.get(group) or []:
            frame.update({element.tag: element for element in item if element.tag not in frame})
    for group, keywords in _GROUPS.items():
        for item in groups.get(group) or []:
            for keyword, classic in keywords.items():
                if (value := item.get(keyword)) not in (None, ""):
                    _set(frame, classic, _decimals(value) if classic in _FLOATS_AS_TEXT else value)
            if item.get("InversionRecovery") == "YES":  # its time need not be said of computed frames
                kinds = frame.get("ScanningSequence") or []
                _set(frame, "ScanningSequence", [*([kinds] if isinstance(kinds, str) else kinds), "IR"])
            if component := item.get("ComplexImageComponent"):  # magnitude or phase, which classic image types include
                _set(frame, "ImageType", [*item.get("FrameType", []), component])
    # The agent is stated for the whole file, but frames may have been acquired before it was given.
    if any(
        item.get("ContrastBolusAgentAdministered") == "NO" for item in groups.get("ContrastBolusUsageSequence") or []
    ):
        _set(frame, "ContrastBolusAgent", "none")


def _set(frame: Dataset, keyword: str, value: object) -> None:
    """Set an element of this frame; its attribute would change that of all frames, which share what they have in
    common."""
    frame.add_new(keyword, dictionary_VR(keyword), value)


def _decimals(value: float | Sequence[float]) -> list[str]:
    return [f"{one:.9g}" for one in ([value] if isinstance(value, float) else value)]


def _add_pulse_sequence(common: Dataset) -> None:
    kinds = {"SPIN": ["SE"], "GRADIENT": ["GR"], "BOTH": ["SE", "GR"]}.get(common.get("EchoPulseSequence", ""), [])
    if common.get("EchoPlanarPulseSequence") == "YES":
        kinds = [*kinds, "EP"]
    if kinds and "ScanningSequence" not in common:
        common.ScanningSequence = kinds
    if "PulseSequenceName" in common and "SequenceName" not in common:
        common.SequenceName = common.PulseSequenceName[:16]  # VR SH


def _add_agent(common: Dataset) -> None:
    agents = [item.get("CodeMeaning", "") for item in common.get("ContrastBolusAgentSequence") or []]
    if any(agents) and not common.get("ContrastBolusAgent"):
        common.ContrastBolusAgent = ", ".join(filter(None, agents))[:64]


@contextlib.contextmanager
def single_frame_files(path: Path, frames: Sequence[int]) -> Iterator[list[Path]]:
    """Write temporary classic single-frame files of frames (indices from 0) of an enhanced file, in this order.

    Raises:
        OSError, ValueError, AttributeError, KeyError, IndexError: the file is damaged or truncated.
    """
    dataset = pydicom.dcmread(path)
    headers, pixels = frame_headers(dataset), _frame_bytes(dataset)
    with tempfile.TemporaryDirectory(prefix="gliomaseg-frames-") as folder:
        files = [Path(folder, f"{place:05d}.dcm") for place in range(len(frames))]
        for file, frame in zip(files, frames, strict=True):
            _write_frame(headers[frame], dataset, pixels[frame], file)
        yield files


def _frame_bytes(dataset: Dataset) -> list[bytes]:
    """The stored pixels of each frame, possibly compressed."""
    count = int(dataset.NumberOfFrames)
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return list(generate_frames(dataset.PixelData, number_of_frames=count))
    size = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
    if len(dataset.PixelData) < count * size:
        raise ValueError("the pixels are cut short")
    return [dataset.PixelData[number * size : (number + 1) * size] for number in range(count)]


def _write_frame(header: Dataset, dataset: Dataset, pixels: bytes, file: Path) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    frame = Dataset()
    frame.file_meta = FileMetaDataset()
    frame.SOPClassUID, frame.SOPInstanceUID = MRImageStorage, dataset.SOPInstanceUID
    frame.Modality = "MR"
    for keyword in (*_PIXEL_KEYWORDS, "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        setattr(frame, keyword, header.get(keyword))
    frame.RescaleSlope, frame.RescaleIntercept = header.get("RescaleSlope", 1), header.get("RescaleIntercept", 0)
    if "PixelPaddingValue" in header:
        frame.PixelPaddingValue = header.PixelPaddingValue
    if syntax.is_compressed:
        frame.file_meta.TransferSyntaxUID = syntax
        frame.PixelData = encapsulate([pixels])
    else:
        big = syntax == ExplicitVRBigEndian
        frame.file_meta.TransferSyntaxUID = ExplicitVRBigEndian if big else ExplicitVRLittleEndian
        frame.PixelData = pixels + b"\0" * (len(pixels) % 2)
    frame.save_as(file, enforce_file_format=True)
