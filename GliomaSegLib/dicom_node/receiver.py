"""Receives images, by C-STORE or from Orthanc: each is checked and written once, and its study is arriving then."""

from __future__ import annotations

import hashlib
import io
import logging
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from GliomaSegLib.dicom_node.clock import Clock
from GliomaSegLib.dicom_node.completeness import Completeness
from GliomaSegLib.dicom_node.queue import Origin, Queue, Study
from GliomaSegLib.dicom_node.storage import Storage, StorageError
from GliomaSegLib.errors import InputError

IMAGE_CLASSES = ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1")
"""MR Image Storage and Enhanced MR Image Storage."""

_NAMED_BY = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_LOG = logging.getLogger(__name__)


class Outcome(Enum):
    """The outcome of receiving an image."""

    NEW = "new"
    KNOWN = "known"  # the same pixels are here already
    CONFLICT = "conflict"  # other pixels are here under its UID; those stay
    NO_IMAGE = "no image"


@dataclass
class StoreCounts:
    """How many associations the receiver refused, and how many images it answered with which DICOM status."""

    refused: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


class Receiver:
    """Receives images for the studies of ``storage`` and ``queue``; to be used from any thread.

    Attributes:
        counts: the number of images by their outcome, since the start.
    """

    def __init__(self, storage: Storage, queue: Queue, completeness: Completeness, clock: Clock) -> None:
        self._storage, self._queue, self._completeness, self._clock = storage, queue, completeness, clock
        self.counts: Counter[Outcome] = Counter()

    def receive(self, content: bytes, origin: Origin) -> tuple[Outcome, str]:
        """Write a DICOM file; it is safely on the disk when this returns.

        Returns:
            the outcome, and the key of its study.

        Raises:
            InputError: it cannot be read, or lacks a UID.
            StorageError: it cannot be kept now.
        """
        header = _read(content)
        key = self._storage.key(str(header.StudyInstanceUID))
        outcome = self._write(content, header, key)
        self.counts[outcome] += 1
        if outcome is Outcome.NEW:
            try:
                self.reopen(key, str(header.StudyInstanceUID), origin)
            except StorageError:  # or it would be known when it is sent again, and its study never looked at
                self._path(header, key).unlink(missing_ok=True)
                raise
        elif outcome is Outcome.CONFLICT:
            _LOG.error("study %s: an image came again with other pixels and was refused", key)
            self._queue.note(
                key,
                "An image came again with other pixels under the same SOP Instance UID; the first one was kept and the "
                "second refused: ask whoever sent it which is right.",
            )
        return outcome, key

    def reopen(self, key: str, uid: str, origin: Origin) -> Study:
        """The study is arriving: its quiet time begins again, and it is processed again when that is over."""
        is_first = self._completeness.image_received(
            key
        )  # before the queue is asked, so that it is not found complete in between
        study = self._queue.arrived(key, uid, origin, self._clock.wall())
        if is_first:
            late = f", version {study.revision}" if study.revision > 1 else ""
            _LOG.info("study %s: arriving%s", key, late)
        return study

    def sender_aborted(self, key: str, aborted: bool) -> None:
        """The sender of a study aborted its association, or has come back and released one."""
        self._completeness.sender_aborted(key, aborted)
        self._queue.sender_aborted(key, aborted)
        if aborted:
            _LOG.warning("study %s: its sender broke off; waiting for it to come back", key)

    def has(self, study_key: str, orthanc_series: str, orthanc_instance: str) -> bool:
        """Whether an image that Orthanc knows by these identifiers is here."""
        return (self._storage.images(study_key) / orthanc_series / f"{orthanc_instance}.dcm").exists()

    def _write(self, content: bytes, header: Dataset, key: str) -> Outcome:
        if header.SOPClassUID not in IMAGE_CLASSES:
            return Outcome.NO_IMAGE
        path = self._path(header, key)
        if not path.exists():
            self._storage.write(path, content)
            return Outcome.NEW
        return Outcome.KNOWN if _same_pixels(path, content) else Outcome.CONFLICT

    def _path(self, header: Dataset, key: str) -> Path:
        return self._storage.images(key) / _identifier(header, 3) / f"{_identifier(header, 4)}.dcm"


def _read(content: bytes) -> Dataset:
    try:
        header = dcmread(io.BytesIO(content), specific_tags=[*_NAMED_BY, "SOPClassUID"], stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError) as error:
        raise InputError("A file that was sent is no DICOM and was refused.") from error
    missing = [keyword for keyword in (*_NAMED_BY[1:], "SOPClassUID") if not header.get(keyword)]
    if missing:
        raise InputError(f"An image that was sent lacks {' and '.join(missing)} and was refused.")
    return header


def _identifier(header: Dataset, level: int) -> str:
    """As Orthanc names a series (3) or an instance (4): the SHA-1 of its identifiers, the same for both origins."""
    text = "|".join(str(header.get(keyword, "")).strip() for keyword in _NAMED_BY[:level])
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def _same_pixels(path: Path, content: bytes) -> bool:
    """Whether two files show the same; headers may differ, as archives correct them, and so may the compression."""
    with path.open("rb") as stream:
        kept = dcmread(stream)
    came = dcmread(io.BytesIO(content))
    if kept.file_meta.TransferSyntaxUID == came.file_meta.TransferSyntaxUID:
        return kept.get("PixelData") == came.get("PixelData") and kept.get("Rows") == came.get("Rows")
    beside = path.with_suffix(".partial")
    try:
        beside.write_bytes(content)
        first, second = (sitk.GetArrayFromImage(_pixels(one)) for one in (path, beside))
        return np.array_equal(first, second)
    except RuntimeError:  # one of them cannot be decoded
        return False
    finally:
        beside.unlink(missing_ok=True)


def _pixels(path: Path) -> sitk.Image:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")  # the name's ending does not tell
    reader.SetFileName(str(path))
    return reader.Execute()
