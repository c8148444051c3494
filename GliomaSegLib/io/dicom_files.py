"""Finds the MR slices among the files of a folder, and counts the files that are not used.

After an interrupted copy, empty and truncated files remain, and the other slices may still be an evenly spaced stack:
therefore every skipped file is counted.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from GliomaSegLib.errors import printable
from GliomaSegLib.io.dicom_frames import FRAME_KEYWORDS, frame_headers
from GliomaSegLib.io.names import folders_below, is_image_file

_ENHANCED_MR_CLASSES = (EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
MR_CLASSES: tuple[str, ...] = (MRImageStorage, *_ENHANCED_MR_CLASSES)
"""The SOP classes of the images that are read."""

# Image Type values of computed images and of localisers. Reformats (MPR) are used: same contrast on another grid.
_NOT_A_SCAN = {
    *("LOCALIZER", "SCOUT", "ADC", "EADC", "TRACEW", "FA", "RCBF", "RCBV", "CBF", "CBV", "MTT", "TTP", "TMAX", "P"),
    "MOSAIC",
}
_NOT_A_SCAN_WORDS = ("PROJECTION", "MIP", "MINIP", "SCREEN", "SUBTRACT", "PERFUSION", "SPECTROSCOPY", "_MAP", "PHASE")

_KEYWORDS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "PatientID", "BodyPartExamined"),
    *("StudyInstanceUID", "StudyDate", "StudyTime"),
    *("ImageType", "SeriesNumber", "SeriesDescription", "ProtocolName", "SequenceName", "ScanningSequence"),
    *("RepetitionTime", "EchoTime", "EchoNumbers", "InversionTime", "AngioFlag"),
    *("ContrastBolusAgent", "ContrastBolusIngredient", "ContrastBolusVolume", "DiffusionBValue"),
    *("TemporalPositionIdentifier", "AcquisitionNumber", "Rows", "Columns", "PixelSpacing", "SamplesPerPixel"),
    *("ImagePositionPatient", "ImageOrientationPatient"),
    *FRAME_KEYWORDS,
]
_NEEDED = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "Rows", "Columns"),
    *("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
)
_PLACE = {
    "ImagePositionPatient": (3, "Image Position (Patient)"),
    "ImageOrientationPatient": (6, "Image Orientation (Patient)"),
    "PixelSpacing": (2, "Pixel Spacing"),
}

_SHORTEST = 132  # bytes of preamble and the prefix DICM
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # the beginning of a little-endian file without a preamble
_SUFFIXES = ("", ".dcm", ".dicom", ".ima", ".mr")  # of DICOM files, besides the last component of a UID


class Slice(NamedTuple):
    """The file and header of a slice, and the index of its frame in an enhanced (multi-frame) file."""

    path: Path
    header: Dataset
    frame: int | None = None


@dataclass(frozen=True)
class PassedOver:
    """Files (or frames) that are not used for one reason.

    Attributes:
        reason: e.g. ``empty``.
        folder: the folder of the files.
        files: their number.
        example: the name of the first file.
        series_uid, series: of their series; empty if not known.
        lost: whether they seem to be damaged slices of a scan, and not other files.
    """

    reason: str
    folder: Path
    files: int
    example: str
    series_uid: str = ""
    series: str = ""
    lost: bool = False

    def __str__(self) -> str:
        of = f" of '{self.series}'" if self.series else ""
        count = "1 file" if self.files == 1 else f"{self.files} files"
        do = "does" if self.files == 1 else "do"
        return f"{count}{of} in {self.folder} {do} not count: {self.reason} (such as {self.example})"


class NoSlice(Exception):
    """Why a file has no usable slice, and its series."""

    def __init__(self, reason: str, header: Dataset | None = None, lost: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.lost = reason, lost
        known = Dataset() if header is None else header
        self.series_uid = "".join(values(known, "SeriesInstanceUID")[:1])
        self.series = "".join(values(known, "SeriesDescription")[:1]) or self.series_uid


class Tally:
    """Counts the files that are not used, per folder, series and reason."""

    def __init__(self) -> None:
        self._files: dict[tuple[Path, str, str, str, bool], list[str]] = defaultdict(list)

    def add(self, path: Path, why: NoSlice) -> None:
        """Count ``path``."""
        self._files[path.parent, why.series_uid, why.series, why.reason, why.lost].append(path.name)

    def entries(self) -> list[PassedOver]:
        """The counts, lost slices first, then by folder."""
        entries = [
            PassedOver(reason, folder, len(names), names[0], uid, series, lost)
            for (folder, uid, series, reason, lost), names in self._files.items()
        ]
        return sorted(entries, key=lambda one: (not one.lost, str(one.folder), one.series, one.reason))


def find_slices(files: Iterable[Path], tally: Tally) -> list[Slice]:
    """The MR slices in DICOM files, without reading pixels.

    Skipped and counted in ``tally``: empty, truncated or unreadable files, broken links, files that are not DICOM,
    other modalities, secondary captures, localizers, derived maps, phase images, mosaics and projections, and images
    without a position in the patient.
    """
    found: list[Slice] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings about unusual values
        for path in files:
            try:
                found += _slices_in(path, tally)
            except NoSlice as why:
                tally.add(path, why)
    return found


def without_copies(slices: Iterable[Slice], tally: Tally, digests: dict[Path, str]) -> list[Slice]:
    """The slices of one series at one position, without copies, which are counted in ``tally``.

    Copies are recognised by their pixels, as anonymisers may give one SOP Instance UID to many slices.

    Args:
        digests: cache of the pixel hashes of files, so that a multi-frame file is read once.
    """
    by_pixels: dict[str, Slice] = {}
    for one in slices:
        if one.path not in digests:
            digests[one.path] = _digest(one.path)
        if by_pixels.setdefault(f"{digests[one.path]} {one.frame}", one) is not one and one.frame in (None, 0):
            tally.add(one.path, NoSlice("copies of slices that are there", one.header))
    return list(by_pixels.values())


def _digest(path: Path) -> str:
    try:
        content = pydicom.dcmread(path, specific_tags=["PixelData"], force=True).PixelData
    except Exception:  # reading its pixels will raise an error later
        return str(path)
    return hashlib.sha256(content).hexdigest()


def files_below(folder: Path) -> Iterator[Path]:
    """The files anywhere below ``folder``, also through links, except hidden ones, DICOMDIR and image files."""
    for parent, _, names in folders_below(folder):
        yield from (parent / name for name in names if name.upper() != "DICOMDIR" and not is_image_file(parent / name))


def _slices_in(path: Path, tally: Tally) -> list[Slice]:
    """The slices in a file, without elements that cannot be decoded.

    Raises:
        NoSlice: there is none; with the reason of the first image.
    """
    header = _header(path)
    for tag in list(header.keys()):
        try:
            _ = header[tag]
        except Exception as error:  # pydicom raises any exception for a malformed value
            if keyword_for_tag(tag) in _NEEDED:
                raise NoSlice(_UNREADABLE, _series_only(path), lost=True) from error
            del header[tag]
    frames = [Slice(path, header)]
    if header.get("SOPClassUID") in _ENHANCED_MR_CLASSES:
        try:
            frames = [Slice(path, frame, number) for number, frame in enumerate(frame_headers(header))]
        except Exception as error:  # as above
            raise NoSlice(_UNREADABLE, _series_only(path), lost=True) from error
        if not frames:
            raise NoSlice("enhanced MR without a description of its frames", header, lost=True)
    slices, reasons = [], []
    for one in frames:
        try:
            _check_is_scan(one.header)
            slices.append(one)
        except NoSlice as why:
            reasons.append(why)
        except Exception as error:  # pydicom raises any exception for a malformed value
            raise NoSlice(_UNREADABLE, _series_only(path), lost=True) from error
    if not slices:
        raise reasons[0]
    if reasons:
        tally.add(path, NoSlice(f"{len(reasons)} of its frames: {reasons[0].reason}", header))
    return slices


_EMPTY, _CUT, _UNREADABLE = "empty", "cut short", "not to be read as DICOM"


def _header(path: Path) -> Dataset:
    """The header of a DICOM file.

    Raises:
        NoSlice: the file is no DICOM, or damaged.
    """
    may_be_slice = path.suffix.lower() in _SUFFIXES or path.suffix[1:].isdigit()
    if not path.exists():
        raise NoSlice("links that lead nowhere", lost=may_be_slice)
    if not path.is_file():
        raise NoSlice("no files")
    try:
        with path.open("rb") as stream:
            start = stream.read(_SHORTEST)
    except OSError as error:
        raise NoSlice(f"cannot be opened ({error.strerror})", lost=may_be_slice) from error
    if not start:
        raise NoSlice(_EMPTY, lost=may_be_slice)
    bare = start[:2] in _FIRST_GROUPS and start[128:] != b"DICM"
    if start[128:] != b"DICM" and not bare:
        torn = len(start) < _SHORTEST and (not any(start) or path.suffix.lower() == ".dcm")
        raise NoSlice(_CUT, lost=True) if torn else NoSlice("no DICOM")
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_KEYWORDS, force=bare)
    except InvalidDicomError as error:
        raise NoSlice("no DICOM") from error
    except Exception as error:  # pydicom raises any exception for a malformed header
        raise NoSlice(_UNREADABLE, _series_only(path), lost=True) from error
    if bare and not {"SOPClassUID", "SeriesInstanceUID"} & set(header.dir()):
        raise NoSlice("no DICOM")
    return header


def _series_only(path: Path) -> Dataset | None:
    """The identifiers of the series of a file whose header cannot be read completely."""
    try:
        return pydicom.dcmread(path, specific_tags=["SeriesInstanceUID", "SeriesDescription"], force=True)
    except Exception:
        return None


def _check_is_scan(header: Dataset) -> None:
    """Refuse what is not an acquired image of the patient.

    Raises:
        NoSlice: it is no acquired (not computed) MR image with a position in the patient.
    """
    sop_class = str(
        header.get("SOPClassUID") or getattr(getattr(header, "file_meta", None), "MediaStorageSOPClassUID", "")
    )
    is_mr = sop_class in MR_CLASSES
    if (is_mr or not sop_class) and not ({"Rows", "Modality", "SeriesInstanceUID"} <= set(header.dir())):
        raise NoSlice(_CUT, header, lost=True)
    if not all(isinstance(size, int) and size > 0 for size in (header.get("Rows"), header.get("Columns"))) and is_mr:
        raise NoSlice(_UNREADABLE, header, lost=True)
    if header.get("Modality") != "MR":
        raise NoSlice(f"of another modality ({header.get('Modality') or 'not named'})", header)
    if not is_mr:
        raise NoSlice(f"no MR images ({UID(sop_class).name or 'of no kind'})", header)
    if header.get("SamplesPerPixel") not in (None, "", 1):
        raise NoSlice("in colour, as computed images are", header)
    if sop_class == MRImageStorage and header.get("NumberOfFrames") not in (None, "", 1):
        raise NoSlice("of several frames, which only Enhanced MR says the places of", header, lost=True)
    kinds = [value.upper() for value in values(header, "ImageType")]
    for kind in kinds:
        if kind in _NOT_A_SCAN or any(word in kind for word in _NOT_A_SCAN_WORDS):
            raise NoSlice(f"not a scan (of image type '{kind}')", header)
    for keyword, (count, name) in _PLACE.items():
        text = values(header, keyword)
        if len(text) != count:
            raise NoSlice(f"without {name}, so that nobody knows where they lie in the patient", header, lost=True)
        try:
            numbers = [float(value) for value in text]
        except ValueError as error:
            raise NoSlice(_UNREADABLE, header, lost=True) from error
        # also of NaN
        if not all(abs(number) < 1e6 for number in numbers) or (keyword == "PixelSpacing" and min(numbers) <= 0):
            raise NoSlice(f"with an impossible {name}", header, lost=True)


def values(header: Dataset, keyword: str) -> list[str]:
    """All values of an element as text; empty if it is absent, empty or unreadable."""
    try:
        value = header.get(keyword)
        several: Iterable[object] = [value] if isinstance(value, (str, int, float)) else value or []
        return [text for one in several if (text := printable(one).strip())]
    except Exception:  # pydicom raises any exception for a malformed value
        return []
