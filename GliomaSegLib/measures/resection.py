"""The result of surgery: residual tumour, extent of resection and the class of the RANO resect group.

The wording depends on the time. A study within 72 hours of surgery shows what was left; later, enhancement may be an
effect of treatment, and is called neither 'residual tumour' nor 'gross total resection'.
"""

from __future__ import annotations

import math
from enum import Enum

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import same_grid
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.lesion_size import LEAST_LESION_MM3, digitisation_error, reaches, without_specks
from GliomaSegLib.measures.volumes import volume_text
from GliomaSegLib.options import Surgery
from GliomaSegLib.postprocessing import components
from GliomaSegLib.record import Record

# Helland 2023 (Sci Rep 13:18897): less enhancing tumour than this is a gross total resection, and the images were made
# within 72 hours of surgery.
GROSS_TOTAL_BELOW_ML = 0.175
EARLY_DAYS = 3.0

# The residual volume is also given at these thresholds of the probability map. They are a convention of this program
# and show how far the answer depends on the threshold; they are not a confidence interval.
SURE, POSSIBLE = 0.75, 0.25

# RANO resect group (Karschnia 2023, Neuro Oncol 25:940): residual volumes, in mL, that bound the classes. With the same
# names the recommendations of 2021 (Karschnia, Eur J Cancer 149:23) also asked for a share removed (near total 95 %,
# subtotal 80 %), which had no prognostic value of its own in 2023 and is no part of the classes any more.
NEAR_TOTAL_ML = 1.0
SUBTOTAL_ML = 5.0
SUPRAMAXIMAL_OTHER_ML = 5.0


class Finding(str, Enum):
    """The interpretation of enhancement after surgery."""

    RESIDUAL = "residual tumour"
    GROSS_TOTAL = "gross total resection"
    LATE = "enhancing volume, may be treatment effect"
    UNDATED = "enhancing volume"
    NOT_JUDGED = "enhancing volume, not judged"


class Residual(Record):
    """The enhancing tumour that is left.

    Attributes:
        volume_ml, voxels: without the objects of less than ``least_mm3``.
        removed_objects, removed_ml: number and volume of these objects.
        above_limit_ml: distance from the limit of gross total resection, negative below it.
        sure_ml, possible_ml: the volume when the map is thresholded at 0.75 and at 0.25; ``None`` without a map.
        digitisation: see :func:`digitisation_error`; ``None`` also when nothing is left.
    """

    volume_ml: float
    voxels: int
    least_mm3: float = LEAST_LESION_MM3
    removed_objects: int
    removed_ml: float
    limit_ml: float = GROSS_TOTAL_BELOW_ML
    above_limit_ml: float
    sure_ml: float | None
    possible_ml: float | None
    digitisation: float | None

    @property
    def depends_on_threshold(self) -> bool | None:
        """Whether another threshold would change the finding; ``None`` without a probability map."""
        if self.sure_ml is None or self.possible_ml is None:
            return None
        return reaches(self.sure_ml, self.limit_ml) != reaches(self.possible_ml, self.limit_ml)


class Extent(Record):
    """(before - after) / before of one region; negative when there is more than before."""

    region: Region
    before_ml: float
    after_ml: float
    removed_ml: float
    fraction: float

    @property
    def percent(self) -> float:
        """The fraction in per cent, to one decimal; 100 only when nothing is left."""
        return round(min(100 * self.fraction, 99.9 if self.after_ml else 100.0), 1)


class ResectionClass(Record):
    """A class of the RANO resect group."""

    number: str
    name: str


class Resection(Record):
    """Residual tumour and extent of resection of one operation.

    Attributes:
        extents: of ET and of the core, where both studies distinguish them and there was some before.
        rano: ``None`` unless the study was made within 72 hours of surgery, and where it has no class.
        cavity_ml: the resection cavity; ``None`` when the model does not mark it.
        answer: one sentence.
        notes: sentences on the limits of the answer.
    """

    finding: Finding
    residual: Residual
    extents: tuple[Extent, ...]
    rano: ResectionClass | None
    cavity_ml: float | None
    answer: str
    notes: tuple[str, ...]


def is_early(time_point: TimePoint) -> bool | None:
    """Whether a post-operative study was made within 72 hours; ``None`` when the days are not stated.

    Raises:
        InputError: the study is said to be pre-operative.
    """
    if time_point.kind is TimePointKind.PREOPERATIVE:
        raise InputError("The later study is said to be pre-operative; check the order of the two studies.")
    days = time_point.days_since_surgery
    return None if days is None else days <= EARLY_DAYS


def residual(labels: sitk.Image, probability: sitk.Image | None = None) -> Residual:
    """Measure the enhancing tumour of a post-operative label map (internal scheme).

    Args:
        probability: of ET on the same grid, 0 to 1.

    Raises:
        InputError: the map has another grid.
    """
    if probability is not None and not same_grid(labels, probability):
        raise InputError("The probability map and the label map have different grids; give the maps of one result.")
    mask = region_mask(sitk.GetArrayViewFromImage(labels), Region.ET)
    voxel_mm3 = math.prod(labels.GetSpacing())
    spacing = labels.GetSpacing()
    kept = without_specks(mask, spacing)
    voxels, removed = int(kept.sum()), mask & ~kept
    volume_ml = voxels * voxel_mm3 / 1000
    sure, possible = (
        (None, None)
        if probability is None
        else (
            int(without_specks(sitk.GetArrayViewFromImage(probability) >= level, spacing).sum()) * voxel_mm3 / 1000
            for level in (SURE, POSSIBLE)
        )
    )
    return Residual(
        volume_ml=volume_ml,
        voxels=voxels,
        removed_objects=int(np.count_nonzero(components(removed, 26)[1])),
        removed_ml=int(removed.sum()) * voxel_mm3 / 1000,
        above_limit_ml=volume_ml - GROSS_TOTAL_BELOW_ML,
        sure_ml=sure,
        possible_ml=possible,
        digitisation=digitisation_error(volume_ml, labels.GetSpacing()) if voxels else None,
    )


def tumour_ml(labels: sitk.Image, region: Region) -> float:
    """The volume of a region without the objects that :func:`residual` leaves out, before surgery as after it."""
    mask = region_mask(sitk.GetArrayViewFromImage(labels), region)
    return int(without_specks(mask, labels.GetSpacing()).sum()) * math.prod(labels.GetSpacing()) / 1000


def extent_of_resection(region: Region, before_ml: float, after_ml: float) -> Extent:
    """The extent of resection of one region.

    Raises:
        InputError: there was none of it before surgery.
    """
    if before_ml <= 0:
        raise InputError(
            f"There is no {region.words} before surgery (0 mL), so that no extent of resection can be given; check "
            "the pre-operative segmentation."
        )
    removed = before_ml - after_ml
    return Extent(
        region=region, before_ml=before_ml, after_ml=after_ml, removed_ml=removed, fraction=removed / before_ml
    )


def resection_class(enhancing: Extent, other_ml: float | None, surgery: Surgery | None = None) -> ResectionClass | None:
    """The RANO resect group's class of glioblastoma surgery, by what is left alone.

    Supramaximal resection was found to help those of whose non-enhancing tumour 60 % or more were removed and 5 mL or
    less left (Karschnia 2023); the class is bound by what is left.

    Args:
        enhancing: extent of resection of the enhancing tumour.
        other_ml: residual non-enhancing tumour (FLAIR abnormality without the cavity); ``None`` when not determined.
        surgery: kind of surgery, where it is stated. Images do not show that it was a biopsy: a tumour that is not
            smaller has no class unless this is stated.
    """
    if surgery is Surgery.BIOPSY:
        return ResectionClass(number="4", name="biopsy")
    left = enhancing.after_ml
    if left >= enhancing.before_ml:
        return None
    if left > SUBTOTAL_ML:
        return ResectionClass(number="3B", name="partial resection of enhancing tumour")
    if left > NEAR_TOTAL_ML:
        return ResectionClass(number="3A", name="subtotal resection of enhancing tumour")
    if left > 0:
        return ResectionClass(number="2B", name="near total resection of enhancing tumour")
    if other_ml is None:
        return ResectionClass(
            number="1 or 2A", name="complete resection of enhancing tumour; the non-enhancing one is not determined"
        )
    if other_ml > SUPRAMAXIMAL_OTHER_ML:
        return ResectionClass(number="2A", name="complete resection of enhancing tumour")
    return ResectionClass(number="1", name="supramaximal resection")


class ResidualAnswer(Record):
    """Findings of a post-operative study without a pre-operative one; fields as in :class:`Resection`."""

    finding: Finding
    residual: Residual
    answer: str
    notes: tuple[str, ...]


def assess_residual(
    labels: sitk.Image,
    time_point: TimePoint,
    has_native_t1: bool | None,
    probability: sitk.Image | None = None,
    obstacle: str = "",
) -> ResidualAnswer:
    """Assess the enhancing tumour of a label map that distinguishes it; arguments as for :func:`assess_resection`.

    Raises:
        InputError: the study is pre-operative.
    """
    left = residual(labels, probability)
    finding = _finding(is_early(time_point), left, obstacle)
    return ResidualAnswer(
        finding=finding,
        residual=left,
        answer=_answer(finding, left, time_point, obstacle),
        notes=tuple(_notes(finding, left, (), has_native_t1, {})),
    )


def assess_resection(
    before: dict[Region, float],
    labels: sitk.Image,
    regions: frozenset[Region],
    time_point: TimePoint,
    has_native_t1: bool | None,
    probability: sitk.Image | None = None,
    surgery: Surgery | None = None,
    obstacle: str = "",
) -> Resection:
    """Compare a post-operative segmentation with the pre-operative volumes.

    Args:
        before: :func:`tumour_ml` of ET and TC, as far as the pre-operative segmentation distinguishes them.
        labels: internal label map after surgery, on its own grid.
        regions: those that it distinguishes.
        time_point: of the post-operative study.
        has_native_t1: whether T1 without contrast was among its sequences; ``None`` when not known.
        probability: of ET after surgery.
        surgery: kind of surgery, where it is stated.
        obstacle: why the segmentation cannot be judged, a clause; then volumes are given, and no finding or class.

    Raises:
        InputError: the study is pre-operative, ET is not distinguished in both, or there was no tumour before.
    """
    early = is_early(time_point)
    if Region.ET not in before or Region.ET not in regions:
        which = "pre" if Region.ET not in before else "post"
        raise InputError(
            f"The {which}-operative study does not tell the enhancing tumour apart, which needs T1 + contrast, so that "
            "residual tumour cannot be judged."
        )
    array = sitk.GetArrayViewFromImage(labels)
    voxel_ml = math.prod(labels.GetSpacing()) / 1000
    left = residual(labels, probability)
    after = {Region.ET: left.volume_ml}
    if Region.TC in before and Region.TC in regions:
        after[Region.TC] = tumour_ml(labels, Region.TC)
    if all(before[region] <= 0 for region in after):
        extent_of_resection(Region.ET, before[Region.ET], left.volume_ml)  # says why
    extents = tuple(extent_of_resection(region, before[region], ml) for region, ml in after.items() if before[region])
    enhancing = next((one for one in extents if one.region is Region.ET), None)
    other_ml = float(np.isin(array, (Label.SNFH, Label.NETC)).sum() * voxel_ml) if Region.WT in regions else None
    finding = _finding(early, left, obstacle)
    judged = finding in (Finding.RESIDUAL, Finding.GROSS_TOTAL)
    rano = resection_class(enhancing, other_ml, surgery) if judged and enhancing else None
    notes = _notes(finding, left, extents, has_native_t1, before)
    if judged and enhancing and rano is None:
        notes.append(
            "No RANO resect class: the enhancing tumour is not smaller than before, and it is not stated that the "
            "operation was a biopsy (class 4)."
        )
    return Resection(
        finding=finding,
        residual=left,
        extents=extents,
        rano=rano,
        cavity_ml=float((array == Label.RC).sum() * voxel_ml) if Region.RC in regions else None,
        answer=_answer(finding, left, time_point, obstacle),
        notes=tuple(notes),
    )


def _finding(early: bool | None, left: Residual, obstacle: str) -> Finding:
    if obstacle:
        return Finding.NOT_JUDGED
    if early is None:
        return Finding.UNDATED
    if not early:
        return Finding.LATE
    return Finding.RESIDUAL if reaches(left.volume_ml, left.limit_ml) else Finding.GROSS_TOTAL


def _answer(finding: Finding, left: Residual, time_point: TimePoint, obstacle: str) -> str:
    volume = volume_text(left.volume_ml)
    if finding is Finding.NOT_JUDGED:
        return f"Residual tumour is not judged, because {obstacle}; the enhancing volume is {volume}."
    if finding is Finding.LATE:
        return (
            f"Enhancing volume {volume}, may be treatment effect: {time_point.days_since_surgery:g} days after surgery "
            "residual tumour cannot be told from it."
        )
    if finding is Finding.UNDATED:
        return (
            f"Enhancing volume {volume}: it is not stated that the study was made within 72 hours of surgery, so it "
            "cannot be called residual tumour."
        )
    side = "above" if reaches(left.volume_ml, left.limit_ml) else "below"
    coarse = "" if left.digitisation is None else f" (counting voxels, ±{100 * left.digitisation:.0f} % on average)"
    return (
        f"{finding.value.capitalize()}: {volume} of enhancing tumour{coarse}, {volume_text(abs(left.above_limit_ml))} "
        f"{side} the limit of {left.limit_ml:g} mL for gross total resection."
    )


def _notes(
    finding: Finding,
    left: Residual,
    extents: tuple[Extent, ...],
    has_native_t1: bool | None,
    before: dict[Region, float],
) -> list[str]:
    notes = []
    judged = finding in (Finding.RESIDUAL, Finding.GROSS_TOTAL)
    if judged and left.depends_on_threshold is None:
        notes.append("How sure the volume is, is not available: there is no probability map of the enhancing tumour.")
    elif judged and left.sure_ml is not None and left.possible_ml is not None:
        notes.append(
            f"Between {volume_text(left.sure_ml)} (probability {SURE:g} and more) and {volume_text(left.possible_ml)} "
            f"({POSSIBLE:g} and more): the answer {'depends' if left.depends_on_threshold else 'does not depend'} on "
            "the threshold. That is no confidence interval."
        )
    if left.digitisation is not None:
        notes.append(
            f"On voxels of this size the volume of a ball of {volume_text(left.volume_ml)} is off by "
            f"{100 * left.digitisation:.0f} % on average."
        )
    if left.removed_objects:
        notes.append(
            f"Not counted: {left.removed_objects} enhancing {'speck' if left.removed_objects == 1 else 'specks'} of "
            f"less than {left.least_mm3:g} mm³, {volume_text(left.removed_ml)} in all."
        )
    if has_native_t1 is not True:
        known = "There is no" if has_native_t1 is False else "It is not known whether there was a"
        notes.append(f"{known} T1 without contrast: without one blood and residual tumour cannot be told apart.")
    notes += [f"There is more {one.region.words} than before surgery." for one in extents if one.fraction < 0]
    notes += [
        f"Of the {region.words} there was none before surgery, so that no extent of resection can be given."
        for region in (Region.ET, Region.TC)
        if before.get(region) == 0
    ]
    return notes
