"""A scan as a series of classic MR Image files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.phantom.scan import PROTOCOLS

if TYPE_CHECKING:
    from pydicom.valuerep import DSfloat

_MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
_SCANNED_ON = "20200101"


def write_series(image: sitk.Image, sequence: Modality, folder: Path, study: str) -> None:
    """Write a series of classic MR Image files, one per slice. ``study`` identifies the phantom."""
    from pydicom.uid import generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    common = _study_tags(study) | _series_tags(image, sequence)
    common["SeriesInstanceUID"] = generate_uid(entropy_srcs=[study, sequence.value])
    for index, pixels in enumerate(sitk.GetArrayViewFromImage(image)):
        position = image.TransformIndexToPhysicalPoint((0, 0, index))
        own = {
            "SOPInstanceUID": generate_uid(entropy_srcs=[study, sequence.value, str(index)]),
            "InstanceNumber": index + 1,
            "ImagePositionPatient": _decimals(position),
            "PixelData": np.ascontiguousarray(pixels, dtype="<u2").tobytes(),
        }
        _write_slice(common | own, folder / f"IM{index + 1:04d}.dcm")


def _study_tags(study: str) -> dict[str, object]:
    from pydicom.uid import generate_uid

    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": _MR_IMAGE_STORAGE,
        "PatientName": "PHANTOM^GLIOMASEG",
        "PatientID": "PHANTOM",
        "PatientBirthDate": "",
        "PatientSex": "O",
        "StudyInstanceUID": generate_uid(entropy_srcs=[study, "study"]),
        "FrameOfReferenceUID": generate_uid(entropy_srcs=[study, "frame of reference"]),
        "StudyDate": _SCANNED_ON,
        "StudyTime": "120000",
        "StudyID": "1",
        "StudyDescription": "MR head",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "PositionReferenceIndicator": "",
        "Modality": "MR",
        "Manufacturer": "GliomaSeg",
        "ManufacturerModelName": "made up",
        "MagneticFieldStrength": 3,
        "PatientPosition": "HFS",
        "BodyPartExamined": "HEAD",
    }


def _series_tags(image: sitk.Image, sequence: Modality) -> dict[str, object]:
    protocol, direction = PROTOCOLS[sequence], np.reshape(image.GetDirection(), (3, 3))
    across, down, between = _decimals(image.GetSpacing())
    number = list(Modality).index(sequence) + 1
    return {
        "SeriesNumber": number,
        "AcquisitionNumber": 1,
        "SeriesDescription": protocol.description,
        "ProtocolName": protocol.description,
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "ScanOptions": "",
        "EchoTrainLength": 1,
        **protocol.tags,
        "ImageOrientationPatient": _decimals([*direction[:, 0], *direction[:, 1]]),
        "PixelSpacing": [down, across],
        "SliceThickness": between,
        "SpacingBetweenSlices": between,
        "Columns": image.GetWidth(),
        "Rows": image.GetHeight(),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }


def _decimals(values: Iterable[float]) -> list[DSfloat]:
    """Numbers as DICOM decimal strings (DS) of at most 16 characters."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value), auto_format=True) for value in values]


def _write_slice(tags: Mapping[str, object], path: Path) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
