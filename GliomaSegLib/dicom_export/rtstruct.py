"""RT Structure Set: closed contours in the patient's millimetres, for a planning system.

No library that is kept up writes one (rt-utils rests since 2023, highdicom has none), so this writes the modules that
PS3.3 A.19 asks for, with pydicom.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from pydicom.valuerep import DSfloat

from GliomaSegLib import NOTICE
from GliomaSegLib.dicom_export.contours import polygons, without_straight_corners
from GliomaSegLib.dicom_export.provenance import MANUFACTURER, Provenance
from GliomaSegLib.dicom_export.source import SourceSeries, voxel_to_patient
from GliomaSegLib.dicom_export.structure import Structure, drawn
from GliomaSegLib.dicom_export.utf8 import UTF_8
from GliomaSegLib.options import ReviewState

SERIES_NUMBER = 902

# Patient and study are those of the source.
_FROM_SOURCE = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    "ReferringPhysicianName",
)


def make_rtstruct(source: SourceSeries, structures: Sequence[Structure], about: Provenance) -> Dataset:
    """The structure set. When nothing has voxels, the first structure is a region of interest without contours."""
    structures = drawn(structures)
    now = datetime.now()
    dataset = _general(source, about, now)
    dataset.ReferencedFrameOfReferenceSequence = Items([_frame_of_reference(source)])
    dataset.StructureSetROISequence = Items(
        [_roi(number, one, source, about) for number, one in enumerate(structures, start=1)]
    )
    dataset.ROIContourSequence = Items(
        [_roi_contour(number, one, source) for number, one in enumerate(structures, start=1)]
    )
    dataset.RTROIObservationsSequence = Items(
        [_observation(number, one) for number, one in enumerate(structures, start=1)]
    )
    return dataset


def _general(source: SourceSeries, about: Provenance, now: datetime) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = UTF_8
    for keyword in _FROM_SOURCE:
        if keyword in source.first:
            setattr(dataset, keyword, source.first.get(keyword))
    dataset.SOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = generate_uid()
    dataset.SeriesNumber = SERIES_NUMBER
    dataset.SeriesDescription = about.description
    dataset.OperatorsName = ""
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = f"{about.algorithm} {about.version}"
    dataset.SoftwareVersions = about.software
    dataset.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    dataset.PositionReferenceIndicator = source.first.get("PositionReferenceIndicator", "")
    dataset.InstanceNumber = 1
    dataset.StructureSetLabel = MANUFACTURER
    dataset.StructureSetDescription = NOTICE
    dataset.StructureSetDate, dataset.StructureSetTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    states = {ReviewState.APPROVED: "APPROVED", ReviewState.REJECTED: "REJECTED"}
    dataset.ApprovalStatus = states.get(about.state, "UNAPPROVED")
    if about.reviewed:
        dataset.ReviewDate, dataset.ReviewTime = f"{about.reviewed:%Y%m%d}", f"{about.reviewed:%H%M%S}"
        dataset.ReviewerName = about.reviewer
    return dataset


def _reference(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item


def _frame_of_reference(source: SourceSeries) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = source.first.SeriesInstanceUID
    series.ContourImageSequence = Items([_reference(header) for header in source.headers])
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, as the standard has it here
    study.ReferencedSOPInstanceUID = source.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = Items([series])
    frame = Dataset()
    frame.FrameOfReferenceUID = source.first.FrameOfReferenceUID
    frame.RTReferencedStudySequence = Items([study])
    return frame


def _roi(number: int, one: Structure, source: SourceSeries, about: Provenance) -> Dataset:
    roi = Dataset()
    roi.ROINumber = number
    roi.ReferencedFrameOfReferenceUID = source.first.FrameOfReferenceUID
    roi.ROIName = one.name
    roi.ROIVolume = DSfloat(one.volume_ml, auto_format=True)
    roi.ROIGenerationAlgorithm = "SEMIAUTOMATIC" if about.edited else "AUTOMATIC"
    return roi


def _roi_contour(number: int, one: Structure, source: SourceSeries) -> Dataset:
    roi = Dataset()
    roi.ROIDisplayColor = list(one.colour)
    roi.ReferencedROINumber = number
    to_patient = voxel_to_patient(source.labels)
    contours = [
        _contour(polygon, index, to_patient, source)
        for index, mask in enumerate(one.mask)
        if mask.any()
        for polygon in polygons(mask)
    ]
    if contours:
        roi.ContourSequence = Items(contours)
    return roi


def _contour(
    polygon: NDArray[np.float64], index: int, to_patient: NDArray[np.float64], source: SourceSeries
) -> Dataset:
    corners = without_straight_corners(polygon)
    points = np.column_stack([corners[:, 1], corners[:, 0], np.full(len(corners), index), np.ones(len(corners))])
    contour = Dataset()
    contour.ContourImageSequence = Items([_reference(source.headers[index])])
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(corners)
    contour.ContourData = [f"{value:.4f}" for value in (points @ to_patient.T)[:, :3].ravel()]
    return contour


def _observation(number: int, one: Structure) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = one.type.code, one.type.scheme
    code.CodeMeaning = one.type.meaning
    observation = Dataset()
    observation.ObservationNumber = number
    observation.ReferencedROINumber = number
    observation.RTROIIdentificationCodeSequence = Items([code])
    observation.RTROIInterpretedType = ""
    observation.ROIInterpreter = ""
    return observation
