"""The measures as a structured report (Comprehensive 3D SR, TID 1500), referring to the segments of a SEG."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import generate_uid

from GliomaSegLib.case import TimePointKind
from GliomaSegLib.dicom_export.provenance import MANUFACTURER, Provenance
from GliomaSegLib.dicom_export.seg import dicom_code
from GliomaSegLib.dicom_export.source import SourceSeries
from GliomaSegLib.dicom_export.structure import Structure
from GliomaSegLib.measures.midline import Side
from GliomaSegLib.measures.volumes import Lesion
from GliomaSegLib.options import ReviewState

SERIES_NUMBER = 903

_MILLILITRE = DicomCode("mL", "UCUM", "milliliter")
_PREOPERATIVE = DicomCode("262068006", "SCT", "Preoperative")
_POSTOPERATIVE = DicomCode("262061000", "SCT", "Postoperative")


def make_report(
    source: SourceSeries, segmentation: hd.seg.Segmentation, structures: Sequence[Structure], about: Provenance
) -> sr.Comprehensive3DSR:
    """One measurement group per structure: volume, and for a lesion its two diameters and its side.

    A structure that was looked for and has no voxels is a group with the finding absent.
    """
    found = [one for one in structures if one.mask.any()]
    groups = [_group(number, one, source, segmentation, about) for number, one in enumerate(found, start=1)]
    groups += [_absent(one, about) for one in structures if not one.mask.any()]
    report = sr.MeasurementReport(
        observation_context=_context(about),
        procedure_reported=codes.LN.BrainMRI,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.Comprehensive3DSR(
        evidence=[*source.headers, segmentation],
        content=report[0],
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=about.state is ReviewState.APPROVED,
        manufacturer_model_name=f"{about.algorithm} {about.version}",
        software_versions=about.software,
        series_description=about.description,
    )


def _context(about: Provenance) -> sr.ObservationContext:
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[MANUFACTURER, about.algorithm, about.version]),
            name=about.algorithm,
            manufacturer_name=MANUFACTURER,
            model_name=about.version,
        ),
    )
    # A reviewer who approves observes too; a machine alone does not speak for a person.
    person = None
    if about.reviewer:
        person = sr.ObserverContext(
            observer_type=codes.DCM.Person,
            observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(name=about.reviewer),
        )
    return sr.ObservationContext(observer_person_context=person, observer_device_context=device)


def _group(
    number: int, one: Structure, source: SourceSeries, segmentation: hd.seg.Segmentation, about: Provenance
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=one.tracking_uid, identifier=one.name),
        referenced_segment=_segment(number, one, source, segmentation),
        time_point_context=_time_point(about),
        finding_type=dicom_code(one.type),
        finding_category=dicom_code(one.category),
        algorithm_id=sr.AlgorithmIdentification(name=about.algorithm, version=about.version),
        finding_sites=[_site(one.lesion)],
        measurements=[
            sr.Measurement(name=codes.SCT.Volume, value=one.volume_ml, unit=_MILLILITRE),
            *_diameters(one.lesion),
        ],
    )


def _segment(
    number: int, one: Structure, source: SourceSeries, segmentation: hd.seg.Segmentation
) -> sr.ReferencedSegment:
    """The segment and the slices that it was drawn on.

    highdicom's own ``from_segmentation`` looks for the segment's number in the frames, where it does not stand when
    there is a single segment.
    """
    slices = [header for header, mask in zip(source.headers, one.mask, strict=True) if mask.any()]
    return sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=number,
        source_images=[sr.SourceImageForSegmentation(one.SOPClassUID, one.SOPInstanceUID) for one in slices],
    )


def _diameters(lesion: Lesion | None) -> list[sr.Measurement]:
    if lesion is None:
        return []
    sizes = ((codes.SCT.LongAxis, lesion.long_mm), (codes.SCT.ShortAxis, lesion.perpendicular_mm))
    return [sr.Measurement(name=name, value=mm, unit=codes.UCUM.Millimeter) for name, mm in sizes]


def _site(lesion: Lesion | None) -> sr.FindingSite:
    sides = {Side.LEFT: codes.SCT.Left, Side.RIGHT: codes.SCT.Right}
    return sr.FindingSite(codes.SCT.Brain, laterality=sides.get(lesion.side) if lesion else None)


def _absent(one: Structure, about: Provenance) -> sr.MeasurementsAndQualitativeEvaluations:
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=one.tracking_uid, identifier=one.name),
        time_point_context=_time_point(about),
        finding_type=dicom_code(one.type),
        algorithm_id=sr.AlgorithmIdentification(name=about.algorithm, version=about.version),
        finding_sites=[_site(None)],
        qualitative_evaluations=[sr.QualitativeEvaluation(name=codes.DCM.PresenceOfProperty, value=codes.DCM.Absent)],
    )


def _time_point(about: Provenance) -> sr.TimePointContext | None:
    kinds = {TimePointKind.PREOPERATIVE: _PREOPERATIVE, TimePointKind.POSTOPERATIVE: _POSTOPERATIVE}
    kind = kinds.get(about.time_point.kind)
    if kind is None:
        return None
    days = about.time_point.days_since_surgery
    return sr.TimePointContext(
        time_point=kind.meaning if days is None else f"{days:g} days after surgery", time_point_type=kind
    )
