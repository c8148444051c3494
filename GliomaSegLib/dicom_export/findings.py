"""Findings of the structured report beyond volumes and diameters: residual tumour, resection, response, other studies.

Codes that are in no standard scheme have the private scheme ``99GLIOMASEG`` and readable meanings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from GliomaSegLib.case import TimePoint, TimePointKind
from GliomaSegLib.dicom_export.numbering import FollowedStudies
from GliomaSegLib.measures.rano import Assessment, Category
from GliomaSegLib.measures.resection import Finding, Resection, ResidualAnswer
from GliomaSegLib.measures.volumes import Lesion

PRIVATE_SCHEME = "99GLIOMASEG"

_MILLILITRE = Code("mL", "UCUM", "milliliter")
_PERCENT = Code("%", "UCUM", "percent")
_KINDS = {
    TimePointKind.PREOPERATIVE: Code("262068006", "SCT", "Preoperative"),
    TimePointKind.POSTOPERATIVE: Code("262061000", "SCT", "Postoperative"),
}
# Codes of the NCI Thesaurus for the categories of response.
_RESPONSES = {
    Category.COMPLETE: Code("C4870", "NCIt", "Complete Response"),
    Category.PARTIAL: Code("C18058", "NCIt", "Partial Response"),
    Category.STABLE: Code("C18213", "NCIt", "Stable Disease"),
    Category.PROGRESSION: Code("C35571", "NCIt", "Progressive Disease"),
}


@dataclass(frozen=True)
class Findings:
    """The findings of a result, and of the comparison in which it takes part.

    Attributes:
        residual: residual tumour after surgery, or the extent of resection from a comparison.
        responses: of this study, by each set of criteria.
        studies: of the comparison, if lesions have its numbers.
    """

    residual: ResidualAnswer | Resection | None = None
    responses: Sequence[Assessment] = field(default=())
    studies: FollowedStudies | None = None

    def groups(self, series_uid: str, enhancing: Code, lesion: Code) -> list[sr.MeasurementsAndQualitativeEvaluations]:
        """A measurement group (TID 1501) per finding, and per lesion and other study.

        Args:
            series_uid: Series Instance UID of the source, from which Tracking UIDs are made.
            enhancing: the code of enhancing tumour.
            lesion: the code of the lesions that are followed.
        """
        groups = [] if self.residual is None else [_residual(self.residual, series_uid, enhancing)]
        groups += [_response(one, series_uid) for one in self.responses]
        if self.studies:
            groups += [
                sr.MeasurementsAndQualitativeEvaluations(
                    tracking_identifier=sr.TrackingIdentifier(uid=self.studies.uids[number], identifier=name),
                    time_point_context=time_point(self.studies.when[place], place + 1, self.studies.names[place]),
                    finding_type=lesion,
                    measurements=sizes(one),
                )
                for place, lesions in enumerate(self.studies.lesions)
                if place != self.studies.place
                for number, (name, one) in lesions.items()
            ]
        return groups


def time_point(when: TimePoint, order: int | None = None, name: str = "") -> sr.TimePointContext | None:
    """The time point of a study, and its position in a comparison; ``None`` when neither is known."""
    kind, days = _KINDS.get(when.kind), when.days_since_surgery
    if kind is None and order is None:
        return None
    stated = f"{days:g} days after surgery" if days is not None else kind.meaning if kind else ""
    return sr.TimePointContext(
        time_point=", ".join(filter(None, (name, stated))) or "Time point not stated",
        time_point_type=kind,
        time_point_order=order,
    )


def volume(volume_ml: float) -> sr.Measurement:
    """A volume in mL, rounded to 0.001 mL (the volume of a voxel of 1 mm)."""
    return sr.Measurement(name=codes.SCT.Volume, value=round(volume_ml, 3), unit=_MILLILITRE)


def sizes(lesion: Lesion) -> list[sr.Measurement]:
    """Volume (mL) and diameters (mm) of a lesion."""
    axes = ((codes.SCT.LongAxis, lesion.long_mm), (codes.SCT.ShortAxis, lesion.perpendicular_mm))
    lengths = [sr.Measurement(name=name, value=round(mm, 1), unit=codes.UCUM.Millimeter) for name, mm in axes]
    return [volume(lesion.volume_ml), *lengths]


def _private(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning[:64])


def _tracked(series_uid: str, name: str) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(uid=generate_uid(entropy_srcs=[series_uid, name]), identifier=name)


def _percent(name: Code, percent: float) -> sr.Measurement:
    return sr.Measurement(name=name, value=round(percent, 1), unit=_PERCENT)


def _residual(
    found: ResidualAnswer | Resection, series_uid: str, enhancing: Code
) -> sr.MeasurementsAndQualitativeEvaluations:
    said = [
        sr.QualitativeEvaluation(
            name=_private("after-surgery", "Enhancement after surgery"),
            value=_private(found.finding.name.lower().replace("_", "-"), found.finding.value),
        )
    ]
    measured = [volume(found.residual.volume_ml)]
    if isinstance(found, Resection) and found.finding in (Finding.RESIDUAL, Finding.GROSS_TOTAL):
        measured += [
            _percent(
                _private(f"extent-of-resection-{one.region.value.lower()}", f"Extent of resection, {one.region.value}"),
                one.percent,
            )
            for one in found.extents
        ]
        if found.rano:
            number = found.rano.number
            said.append(
                sr.QualitativeEvaluation(
                    name=_private("rano-resect-class", "RANO resect class"),
                    value=_private(f"class-{number.lower().replace(' ', '-')}", f"{number}: {found.rano.name}"),
                )
            )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(series_uid, "Enhancing tumour after surgery"),
        finding_type=enhancing,
        measurements=measured,
        qualitative_evaluations=said,
    )


def _response(found: Assessment, series_uid: str) -> sr.MeasurementsAndQualitativeEvaluations:
    name = found.criteria.name
    category = _RESPONSES.get(found.category) or _private(found.category.name.lower(), found.category.value)
    known = found.targets and found.category is not Category.NOT_COMPARABLE
    changes = (
        (("from-baseline", "Change from baseline"), found.from_baseline),
        (
            ("from-smallest", "Change from the smallest since baseline"),
            found.from_smallest,
        ),
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(series_uid, f"Response by {name}"),
        measurements=[_percent(_private(*code), 100 * value) for code, value in changes if known and value is not None]
        or None,
        qualitative_evaluations=[
            sr.QualitativeEvaluation(name=codes.DCM.CurrentResponse, value=category),
            sr.QualitativeEvaluation(
                name=codes.DCM.ResponseEvaluationMethod,
                value=_private(name.lower().replace(" ", "-").replace(",", "")[:16], name),
            ),
        ],
    )
