"""RT Structure Set: closed axial contours in patient coordinates (LPS mm), for treatment planning systems.

No maintained library writes it (rt-utils: no release since 2023; highdicom: not supported), so this module writes
the modules of PS3.3 A.19 with pydicom.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from pydicom.valuerep import DSfloat

from GliomaSegLib import NOTICE
from GliomaSegLib.dicom_export.contours import polygons, without_straight_corners
from GliomaSegLib.dicom_export.headers import UTF_8
from GliomaSegLib.dicom_export.provenance import MANUFACTURER, Provenance
from GliomaSegLib.dicom_export.source import SourceSeries
from GliomaSegLib.dicom_export.structure import Structure, drawn
from GliomaSegLib.measures.diameters import axial_axis
from GliomaSegLib.options import ReviewState

SERIES_NUMBER = 902

# Attributes of patient and study, copied from the source, as highdicom does it for the other objects.
_FROM_SOURCE = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "PositionReferenceIndicator"),
)


def make_rtstruct(source: SourceSeries, structures: Sequence[Structure], about: Provenance) -> Dataset:
    """Make the structure set. If no structure has voxels, the first one is a region of interest without contours.

    Contours are in planes perpendicular to the voxel axis nearest to superior, as planning systems accept no others. In
    a sagittal or coronal series these planes are no images, so that contours refer to none.
    """
    numbered = list(enumerate(drawn(structures), start=1))
    dataset = _general(source, about)
    dataset.ReferencedFrameOfReferenceSequence = Items([_frame_of_reference(source)])
    dataset.StructureSetROISequence = Items([_roi(number, one, source, about) for number, one in numbered])
    dataset.ROIContourSequence = Items([_roi_contour(number, one, source) for number, one in numbered])
    dataset.RTROIObservationsSequence = Items([_observation(number, one) for number, one in numbered])
    return dataset


def _general(source: SourceSeries, about: Provenance) -> Dataset:
    now = datetime.now()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    # With explicit VR, a contour of more than 64 kB cannot be a decimal string (DS) and would not be loaded.
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
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
    dataset.SeriesDescription = about.series(f"RTSTRUCT of {about.content}")
    dataset.OperatorsName = ""
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = about.model
    dataset.SoftwareVersions = about.software
    dataset.FrameOfReferenceUID = source.frame_of_reference
    if "PositionReferenceIndicator" not in dataset:
        dataset.PositionReferenceIndicator = ""
    dataset.InstanceNumber = 1
    dataset.StructureSetLabel = MANUFACTURER
    dataset.StructureSetDescription = NOTICE
    dataset.StructureSetDate, dataset.StructureSetTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    states = {ReviewState.APPROVED: "APPROVED", ReviewState.REJECTED: "REJECTED"}
    dataset.ApprovalStatus = states.get(about.state, "UNAPPROVED")
    if about.reviewed:
        reviewed = source.in_zone(about.reviewed)
        dataset.ReviewDate, dataset.ReviewTime = f"{reviewed:%Y%m%d}", f"{reviewed:%H%M%S}"
        dataset.ReviewerName = about.reviewer
    return dataset


def _frame_of_reference(source: SourceSeries) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = source.first.SeriesInstanceUID
    series.ContourImageSequence = Items([source.reference(place) for place in range(len(source.headers))])
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, as in the standard
    study.ReferencedSOPInstanceUID = source.first.StudyInstanceUID
    study.RTReferencedSeriesSequence = Items([series])
    frame = Dataset()
    frame.FrameOfReferenceUID = source.frame_of_reference
    frame.RTReferencedStudySequence = Items([study])
    return frame


def _roi(number: int, one: Structure, source: SourceSeries, about: Provenance) -> Dataset:
    roi = Dataset()
    roi.ROINumber = number
    roi.ReferencedFrameOfReferenceUID = source.frame_of_reference
    roi.ROIName = one.short_name
    roi.ROIDescription = one.name
    roi.ROIVolume = DSfloat(one.volume_ml, auto_format=True)
    roi.ROIGenerationAlgorithm = "SEMIAUTOMATIC" if about.edited else "AUTOMATIC"
    return roi


def _roi_contour(number: int, one: Structure, source: SourceSeries) -> Dataset:
    roi = Dataset()
    roi.ROIDisplayColor = list(one.colour)
    roi.ReferencedROINumber = number
    across = 2 - axial_axis(source.labels)
    contours = [
        _contour(polygon, index, across, one.corner, source)
        for index, mask in enumerate(np.moveaxis(one.inside, across, 0))
        if mask.any()
        for polygon in polygons(mask)
    ]
    if contours:
        roi.ContourSequence = Items(contours)
    return roi


def _contour(
    polygon: NDArray[np.float64], place: int, across: int, corner: Sequence[int], source: SourceSeries
) -> Dataset:
    """The contour of a polygon ``[n, (row, column)]`` in slice ``place`` along the axis ``across`` of ``[z, y, x]``,
    all from the voxel ``corner`` on."""
    index = np.insert(without_straight_corners(polygon), across, place, axis=1) + corner
    to_mm = np.reshape(source.labels.GetDirection(), (3, 3)) * source.labels.GetSpacing()
    points = index[:, ::-1] @ to_mm.T + source.labels.GetOrigin()
    contour = Dataset()
    if across == 0:
        contour.ContourImageSequence = Items([source.reference(place + corner[0])])
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
    return contour


def _observation(number: int, one: Structure) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = one.type.code, one.type.scheme
    code.CodeMeaning = one.type.meaning
    observation = Dataset()
    observation.ObservationNumber = number
    observation.ReferencedROINumber = number
    observation.RTROIIdentificationCodeSequence = Items([code])
    observation.RTROIInterpretedType = one.interpreted_type
    observation.ROIInterpreter = ""
    return observation
