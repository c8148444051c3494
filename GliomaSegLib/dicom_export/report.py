"""The measures as a structured report (Comprehensive 3D SR, TID 1500), referring to the segments of a SEG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from GliomaSegLib.dicom_export.findings import PRIVATE_SCHEME, Findings, sizes, time_point, volume
from GliomaSegLib.dicom_export.provenance import MANUFACTURER, Provenance
from GliomaSegLib.dicom_export.seg import dicom_code
from GliomaSegLib.dicom_export.source import SourceSeries
from GliomaSegLib.dicom_export.structure import Structure
from GliomaSegLib.io.terminology import segment_styles
from GliomaSegLib.labels import Label
from GliomaSegLib.measures.midline import Side
from GliomaSegLib.measures.volumes import Lesion
from GliomaSegLib.options import ReviewState

SERIES_NUMBER = 903


def make_report(
    source: SourceSeries,
    segmentation: hd.seg.Segmentation,
    structures: Sequence[Structure],
    about: Provenance,
    findings: Findings | None = None,
) -> sr.Comprehensive3DSR:
    """Make a report with a measurement group per structure: volume, and for a lesion its two diameters and its side.

    A structure without voxels is a group with the finding absent. Groups of the ``findings`` follow, and with a
    comparison the lesions of the other studies.
    """
    found = [one for one in structures if one.inside.any()]
    findings = findings or Findings()
    when = time_point(about.time_point)
    if findings.studies:
        place = findings.studies.place
        when = time_point(about.time_point, place + 1, findings.studies.names[place])
    groups: list[Any] = [  # highdicom has two classes of groups
        *(_group(number, one, source, segmentation, about, when) for number, one in enumerate(found, start=1)),
        *(_absent(one, about, when) for one in structures if not one.inside.any()),
        *findings.groups(
            source.first.SeriesInstanceUID,
            dicom_code(segment_styles()[Label.ET].type),
            dicom_code(structures[0].type),
        ),
    ]
    report = sr.MeasurementReport(
        observation_context=_context(about),
        procedure_reported=codes.LN.BrainMRI,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    made = sr.Comprehensive3DSR(
        evidence=[*source.files, segmentation],
        content=report[0],
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=about.state is ReviewState.APPROVED,
        manufacturer_model_name=about.model,
        software_versions=about.software,
        series_description=about.series(f"SR of {about.content}"),
    )
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = PRIVATE_SCHEME, MANUFACTURER
    made.CodingSchemeIdentificationSequence = [scheme]
    return made


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
    # A reviewer who approves is an observer too, besides the device.
    person = None
    if about.reviewer:
        person = sr.ObserverContext(
            observer_type=codes.DCM.Person,
            observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(name=about.reviewer),
        )
    return sr.ObservationContext(observer_person_context=person, observer_device_context=device)


def _group(
    number: int,
    one: Structure,
    source: SourceSeries,
    segmentation: hd.seg.Segmentation,
    about: Provenance,
    when: sr.TimePointContext | None,
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=one.tracking_uid, identifier=one.name),
        referenced_segment=_segment(number, one, source, segmentation),
        time_point_context=when,
        finding_type=dicom_code(one.type),
        finding_category=dicom_code(one.category),
        algorithm_id=sr.AlgorithmIdentification(name=about.algorithm, version=about.version),
        finding_sites=[_site(one.lesion)],
        measurements=sizes(one.lesion) if one.lesion else [volume(one.volume_ml)],
    )


def _segment(
    number: int, one: Structure, source: SourceSeries, segmentation: hd.seg.Segmentation
) -> sr.ReferencedSegment:
    """A reference to a segment and its source images.

    highdicom's ``from_segmentation`` needs the segment's number in the frames, which is missing if there is only one
    segment.
    """
    places = np.flatnonzero(one.inside.any(axis=(1, 2))) + one.corner[0]
    images: list[tuple[Dataset, list[int] | None]] = [(source.headers[place], None) for place in places]
    if source.enhanced is not None:
        images = [(source.enhanced, sorted(source.frames[place] for place in places))]
    return sr.ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=number,
        source_images=[
            sr.SourceImageForSegmentation(header.SOPClassUID, header.SOPInstanceUID, frames)
            for header, frames in images
        ],
    )


def _site(lesion: Lesion | None) -> sr.FindingSite:
    sides = {Side.LEFT: codes.SCT.Left, Side.RIGHT: codes.SCT.Right}
    return sr.FindingSite(codes.SCT.Brain, laterality=sides.get(lesion.side) if lesion else None)


def _absent(
    one: Structure, about: Provenance, when: sr.TimePointContext | None
) -> sr.MeasurementsAndQualitativeEvaluations:
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=one.tracking_uid, identifier=one.name),
        time_point_context=when,
        finding_type=dicom_code(one.type),
        algorithm_id=sr.AlgorithmIdentification(name=about.algorithm, version=about.version),
        finding_sites=[_site(None)],
        qualitative_evaluations=[sr.QualitativeEvaluation(name=codes.DCM.PresenceOfProperty, value=codes.DCM.Absent)],
    )
