"""Receives images by C-STORE or from Orthanc: checks each, writes it once, and queues its study."""

from __future__ import annotations

import hashlib
import io
import logging
import uuid
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

from GliomaSegLib.dicom_node.clock import Clock
from GliomaSegLib.dicom_node.completeness import Completeness
from GliomaSegLib.dicom_node.queue import Origin, Queue, State, Study
from GliomaSegLib.dicom_node.storage import PARTIAL, Storage, StorageError
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom_files import MR_CLASSES

_PATIENT = ("PatientName", "PatientBirthDate")
_NAMED_BY = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_MOST_STARTS = 5  # of one revision: a router may send a study whenever something, also its answer, is added to it
_REPEATED = (
    "It came again after its answer had been sent several times, and is not answered any more: see that its sender "
    "does not send a study whenever something is added to it."
)
_CORRECTED = "Images came again under a corrected patient and replaced the first ones."
_MOST_DECODED_BYTES = 1 << 30  # images that are larger by their headers are not decoded for a comparison
_LOG = logging.getLogger(__name__)


class Outcome(Enum):
    """The outcome of receiving an image."""

    NEW = "new"  # or it replaces one with this UID that is damaged, or whose patient was corrected
    KNOWN = "known"  # an image with this UID and the same pixels is stored already
    CONFLICT = "conflict"  # an image with this UID and other pixels is stored, and is kept
    NO_IMAGE = "no image"


@dataclass
class StoreCounts:
    """How many connections and associations were refused, and how many images were answered with which DICOM status."""

    refused: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Identity:
    """Identifiers of an image: its study, its SOP class, and those that its file is named by."""

    study_uid: str
    sop_class: str
    named: dict[str, str]

    @property
    def patient(self) -> str:
        """Patient ID."""
        return self.named["PatientID"]

    def place(self, patient: str) -> Path:
        """Its folder and file among the images of the study, with this Patient ID."""
        named = self.named | {"PatientID": patient}
        return Path(_name(named, 3), f"{_name(named, 4)}.dcm")


class Receiver:
    """Receives images for the studies of ``storage`` and ``queue``; thread-safe.

    Attributes:
        counts: the number of images by their outcome, since the start.
    """

    def __init__(self, storage: Storage, queue: Queue, completeness: Completeness, clock: Clock) -> None:
        self._storage, self._queue, self._completeness, self._clock = storage, queue, completeness, clock
        self.counts: Counter[Outcome] = Counter()
        self._patients: dict[str, set[str]] = {}  # Patient IDs of the images of a study

    def receive(self, content: bytes, origin: Origin) -> tuple[Outcome, str]:
        """Write a DICOM file; it is safely on the disk when this returns.

        Returns:
            the outcome, and the key of its study.

        Raises:
            InputError: it cannot be read, or lacks a UID.
            StorageError: it cannot be kept now.
        """
        image = _identify(content)
        key = self._storage.key(image.study_uid)
        outcome = self._write(content, image, key, origin)
        self.counts[outcome] += 1
        if outcome is Outcome.NEW:
            try:
                self.reopen(key, image.study_uid, origin)
            except StorageError:  # else it would count as known when it is sent again, and its study never be processed
                self._path(image, key).unlink(missing_ok=True)
                raise
        elif outcome is Outcome.KNOWN and origin == "dicom":  # what came again to Orthanc is known from its receipt
            self._came_again(key)
        elif outcome is Outcome.CONFLICT:
            _LOG.error("study %s: an image came again with other pixels and was refused", key)
            self._queue.note(
                key,
                "An image came again with other pixels under the same SOP Instance UID; the first one was kept and the "
                "second refused: ask whoever sent it which is right.",
            )
        return outcome, key

    def reopen(self, key: str, uid: str, origin: Origin, revision: int = 1) -> Study:
        """Bring a study into the state ``arriving``: it is processed (again) when its quiet time is over.

        Args:
            revision: of a study that is not in the queue.
        """
        # Before the queue is changed, so that the study is not found complete in between.
        is_first = self._completeness.image_received(key)
        study = self._queue.arrived(key, uid, origin, self._clock.wall(), revision)
        if is_first:
            late = f", version {study.revision}" if study.revision > 1 else ""
            _LOG.info("study %s: arriving%s", key, late)
        return study

    def _came_again(self, key: str) -> None:
        """A stored image came again: when the quiet time is over, a study that was answered is answered again, without
        being segmented again; one that was not is processed again."""
        study = self._queue.study(key)
        if study is None:
            return
        if study.state in (State.FAILED, State.UNMATCHED, State.IGNORED):
            self.reopen(key, study.uid, study.origin)
        elif study.state is State.ARRIVING:
            self._completeness.image_received(key)
        elif study.state is State.ANSWERED and study.starts < _MOST_STARTS:
            self._completeness.image_received(key)
            if self._queue.send_again(study, self._clock.wall()):
                _LOG.info("study %s: came again after its answer, which will be sent again", key)
        elif study.state is State.ANSWERED and self._queue.note(key, _REPEATED):
            _LOG.warning("study %s: %s", key, _REPEATED)

    def sender_aborted(self, key: str, aborted: bool) -> None:
        """The sender of a study aborted its association, or has come back and released one."""
        self._completeness.sender_aborted(key, aborted)
        self._queue.sender_aborted(key, aborted)
        if aborted:
            _LOG.warning("study %s: its sender broke off; waiting for it to come back", key)

    def has(self, study_key: str, orthanc_series: str, orthanc_instance: str) -> bool:
        """Whether the image with these Orthanc identifiers is stored."""
        return (self._storage.images(study_key) / orthanc_series / f"{orthanc_instance}.dcm").exists()

    def _write(self, content: bytes, image: _Identity, key: str, origin: Origin) -> Outcome:
        if image.sop_class not in MR_CLASSES:
            return Outcome.NO_IMAGE
        path = self._path(image, key)
        # In Orthanc one with another Patient ID is of another study, which may be there as well: it replaces none.
        others = self._with_other_patient(image, key) if origin == "dicom" else []
        kept = [one for one in (path, *others) if one.exists()]
        same = all(_same_pixels(one, content) for one in kept)
        if not same and not all(map(_is_damaged, kept)):
            return Outcome.CONFLICT
        if same and kept == [path] and not _is_corrected(path, content):
            return Outcome.KNOWN
        self._storage.write(path, content)
        for other in others:
            other.unlink(missing_ok=True)
        if kept and same and self._queue.note(key, _CORRECTED):
            _LOG.warning("study %s: %s", key, _CORRECTED)
        return Outcome.NEW

    def _path(self, image: _Identity, key: str) -> Path:
        return self._storage.images(key) / image.place(image.patient)

    def _with_other_patient(self, image: _Identity, key: str) -> list[Path]:
        """Where the image would be that came with another Patient ID of the study. The IDs are read once, from a file
        of each series: names have only their hash."""
        images = self._storage.images(key)
        if key not in self._patients:
            self._storage.check()
            firsts = [next(folder.glob("*.dcm"), None) for folder in images.glob("*")]
            self._patients[key] = {_patient_of(path) for path in firsts if path is not None}
        self._patients[key].add(image.patient)
        return [images / image.place(patient) for patient in self._patients[key] - {image.patient}]


def _names(stream: BinaryIO) -> dict[str, str]:
    stream.seek(0)
    header = dcmread(stream, specific_tags=[*_NAMED_BY, "SOPClassUID"], stop_before_pixels=True)
    return {keyword: str(header.get(keyword, "")).strip() for keyword in (*_NAMED_BY, "SOPClassUID")}


def _identify(content: bytes) -> _Identity:
    """Read the identifiers of an image, and nothing else.

    Raises:
        InputError: it is no DICOM, is deflated, or lacks a UID.
    """
    try:
        stream = io.BytesIO(content)
        read_preamble(stream, force=False)
        deflated = _read_file_meta_info(stream).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        named = {} if deflated else _names(stream)  # pydicom would inflate it completely, to any size
    except Exception as error:  # pydicom raises exceptions of any kind for a malformed file
        raise InputError("A file that was sent is no DICOM and was refused.") from error
    if deflated:
        raise InputError("An image that was sent is deflated, which is not accepted, and was refused.")
    missing = [keyword for keyword in (*_NAMED_BY[1:], "SOPClassUID") if not named[keyword]]
    if missing:
        raise InputError(f"An image that was sent lacks {' and '.join(missing)} and was refused.")
    return _Identity(named["StudyInstanceUID"], named["SOPClassUID"], named)


def _name(named: dict[str, str], level: int) -> str:
    """Orthanc's identifier of a series (3) or an instance (4), a SHA-1 of DICOM identifiers; used for both origins."""
    text = "|".join(named[keyword] for keyword in _NAMED_BY[:level])
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def _patient_of(path: Path) -> str:
    with path.open("rb") as stream:
        return _names(stream)["PatientID"]


def _is_corrected(path: Path, content: bytes) -> bool:
    """Whether a file names another patient than the stored one of the same Patient ID; one that names none does not."""
    try:
        kept, came = (dcmread(one, specific_tags=list(_PATIENT)) for one in (path, io.BytesIO(content)))
        old, new = (
            [str(one.get(keyword) or "").strip("^ ").casefold() for keyword in _PATIENT] for one in (kept, came)
        )
    except Exception:  # pydicom raises exceptions of any kind for a malformed file
        return False
    return any(now not in ("", before) for before, now in zip(old, new, strict=True))


def _is_damaged(path: Path) -> bool:
    """Whether the pixels of a stored file cannot be decoded, as of one that came cut short."""
    try:
        if _decoded_bytes(dcmread(path, stop_before_pixels=True)) <= _MOST_DECODED_BYTES:
            _pixels(path)
    except Exception:  # pydicom and ITK raise exceptions of any kind for a malformed file
        return True
    return False


def _same_pixels(path: Path, content: bytes) -> bool:
    """Whether two files have the same pixels; headers, which archives correct, and compression may differ.

    ``False`` if one cannot be read or decoded, or is huge by its header.
    """
    try:
        kept, came = dcmread(path), dcmread(io.BytesIO(content))
        shape = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated")
        if any(kept.get(keyword) != came.get(keyword) for keyword in shape):
            return False
        if kept.file_meta.TransferSyntaxUID == came.file_meta.TransferSyntaxUID:
            return kept.get("PixelData") == came.get("PixelData")
        return _decoded_bytes(came) <= _MOST_DECODED_BYTES and _same_decoded(path, content)
    except StorageError:
        raise
    except Exception:  # pydicom and ITK raise exceptions of any kind for a malformed file
        return False


def _decoded_bytes(image: Dataset) -> int:
    frames = int(image.get("NumberOfFrames") or 1)
    return frames * image.Rows * image.Columns * image.SamplesPerPixel * image.BitsAllocated // 8


def _same_decoded(path: Path, content: bytes) -> bool:
    beside = path.with_name(f"{path.stem}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        beside.write_bytes(content)
        first, second = (sitk.GetArrayFromImage(_pixels(one)) for one in (path, beside))
        return np.array_equal(first, second)
    finally:
        beside.unlink(missing_ok=True)


def _pixels(path: Path) -> sitk.Image:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")  # the file name does not end in .dcm
    reader.SetFileName(str(path))
    return reader.Execute()
