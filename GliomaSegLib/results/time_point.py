"""One time point of a patient for comparisons: a result folder, or a label file with the image it was drawn on."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.case import Modality, StudyIdentity, TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import oriented_like, same_grid
from GliomaSegLib.io.images import read_image
from GliomaSegLib.io.names import image_stem
from GliomaSegLib.io.voxels import pixels_sha256
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.measures.volumes import Measures, measure
from GliomaSegLib.options import ReviewState
from GliomaSegLib.results.manifest import Manifest
from GliomaSegLib.results.reading import made_for, read_any_segmentation, read_original, read_probabilities, read_result


@dataclass(frozen=True)
class SegmentedTimePoint:
    """One study of the patient with its segmentation; all images are on the grid of ``labels``.

    Attributes:
        name: for the page.
        labels: internal label map.
        regions: those that the segmentation distinguishes.
        image: the sequence that the labels were drawn on, ``float32``; ``None`` when it is not available.
        sequence: which sequence that is, where it is known.
        probabilities: 0 to 1, of the regions that have a map; none after an edit, of which the maps know nothing.
        date: of the study.
        patient: DICOM's Patient ID, for the check that all studies are of one; ``named`` is whether it may be shown.
        has_native_t1: whether T1 without contrast was used; ``None`` when not known.
        origin: a text: what made the segmentation, and the state of its review.
        review: the state of the review; ``None`` for a label file.
        sequences: those that the model was given; ``None`` for a label file.
        task: what the model was made for; ``None`` when not known.
        made_for: the time points that the model was made for; empty when not known.
        doubts: warnings for the reader, a sentence each.
        images: by what its images are known again, that of the labels first: SHA-256 of the voxels, or the path of a
            label file without its image.
    """

    name: str
    path: Path
    labels: sitk.Image
    regions: frozenset[Region]
    measures: Measures
    time_point: TimePoint = field(default_factory=TimePoint)
    image: sitk.Image | None = None
    sequence: Modality | None = None
    brain: sitk.Image | None = None
    probabilities: Mapping[Region, sitk.Image] = field(default_factory=dict)
    date: date | None = None
    patient: str | None = None
    named: bool = True
    has_native_t1: bool | None = None
    origin: str = ""
    review: ReviewState | None = None
    sequences: frozenset[Modality] | None = None
    task: str | None = None
    made_for: frozenset[TimePointKind] = frozenset()
    doubts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


def read_time_point(
    path: Path,
    image: Path | None = None,
    scheme: LabelScheme = LabelScheme.GLIOMASEG,
    when: TimePoint | None = None,
    day: date | None = None,
) -> SegmentedTimePoint:
    """Read a time point.

    Args:
        path: a result folder, a label map or a ``.seg.nrrd``.
        image: the scan that a label file was drawn on.
        scheme: numbering of a label map.
        when: the time point, instead of what the folder says, whose days since surgery count unless others are given.
        day: the date of the study, instead of what its DICOM files say.

    Raises:
        InputError: a file cannot be read, the results were edited and not measured since, or a label map and its image
            have different grids.
    """
    if path.is_dir():
        return _from_results(path, when, day)
    return _from_file(path, image, scheme, when or TimePoint(), day)


def _from_results(folder: Path, when: TimePoint | None, day: date | None) -> SegmentedTimePoint:
    result = read_result(folder)
    manifest, labels = result.manifest, result.labels
    # After an edit the maps are not those of the contours.
    probabilities = read_probabilities(folder, labels) if manifest.changed is None else {}
    image, series, doubts = None, None, manifest.warnings
    try:
        image, series = read_original(manifest.sequences[manifest.reference], labels)
    except InputError as error:
        doubts = (str(error), *doubts)
    made_on = series or manifest.identity or StudyIdentity()  # the images may be gone, or files made of DICOM
    task, time_points = made_for(manifest)
    if when is None or (when.days_since_surgery is None and when.kind is manifest.time_point):
        when = manifest.when
    return SegmentedTimePoint(
        name=manifest.case_id,
        path=folder,
        labels=labels,
        regions=frozenset(manifest.regions),
        measures=measure(labels, result.brain, manifest.regions, probabilities),
        time_point=when,
        image=image,
        sequence=manifest.reference,
        brain=result.brain,
        probabilities=probabilities,
        date=day or _study_date(made_on.study_date),
        patient=made_on.patient_id or None,
        named=manifest.job.identity,
        has_native_t1=Modality.T1N in manifest.sequences,
        origin=_origin(manifest),
        review=manifest.review,
        sequences=frozenset(manifest.sequences),
        task=task,
        made_for=time_points,
        doubts=doubts,
        images=tuple(
            one.pixels_sha256 for one in sorted(manifest.sequences.values(), key=lambda one: not one.is_reference)
        ),
    )


def _study_date(text: str) -> date | None:
    with contextlib.suppress(ValueError):  # absent, or no date
        return date.fromisoformat(f"{text[:4]}-{text[4:6]}-{text[6:8]}")
    return None


def _origin(manifest: Manifest) -> str:
    model = f"{manifest.model.title} ({manifest.model.id} {manifest.model.version})"
    review = "not reviewed" if manifest.review is ReviewState.DRAFT else manifest.review.value
    return f"{model}, {review}"


def _from_file(
    path: Path, image: Path | None, scheme: LabelScheme, when: TimePoint, day: date | None
) -> SegmentedTimePoint:
    scan = None if image is None else read_image(image)
    segmented = read_any_segmentation(path, scheme, scan)
    drawn_on = "" if scan is None else pixels_sha256(scan)
    if scan is not None and image is not None:
        scan = on_labels_grid(scan, image, segmented.labels, path)
    regions = segmented.regions
    if scheme is LabelScheme.CORE_WITH_CAVITY:  # what it calls core and whole tumour is more than tumour
        regions &= {Region.ET}
    return SegmentedTimePoint(
        name=image_stem(path),
        path=path,
        labels=segmented.labels,
        regions=regions,
        measures=measure(segmented.labels, None, regions, scan=scan),
        time_point=when,
        image=scan,
        date=day,
        origin="label file",
        images=(str(path.resolve()) if scan is None else drawn_on,),
    )


def on_labels_grid(scan: sitk.Image, scan_path: Path, labels: sitk.Image, labels_path: Path) -> sitk.Image:
    """The scan with its voxel axes running as those of the labels that were drawn on it.

    Raises:
        InputError: they have different grids.
    """
    turned = oriented_like(scan, labels)
    if not same_grid(turned, labels):
        raise InputError(
            f"{labels_path} and {scan_path} have different grids; give the image that the labels were drawn on."
        )
    return turned


def check_order(studies: Sequence[SegmentedTimePoint]) -> None:
    """Refuse studies that cannot be of one patient in this order.

    Raises:
        InputError: they have different patients, one is earlier than the one before it, or two are of one examination:
            the same folder, or images that are the same and of one date.
    """
    patients = {study.patient: study for study in studies if study.patient}
    if len(patients) > 1:
        (one, first), (other, second) = list(patients.items())[:2]
        raise InputError(
            f"{first.path} and {second.path} are of different patients ({one} and {other}); give studies of one "
            "patient."
        )
    for earlier, later in ((studies[i], studies[j]) for i, j in twice(studies)):
        if earlier.path.resolve() == later.path.resolve() or (earlier.date and earlier.date == later.date):
            raise InputError(
                f"{earlier.path} and {later.path} are of the same images, between which nothing can change; give "
                "another study ('gliomaseg agree' compares two segmentations of one examination)."
            )
    dated = [study for study in studies if study.date]  # also with one between them whose date is not known
    for earlier, later in (*itertools.pairwise(dated), *itertools.pairwise(studies)):
        if _is_before(later, earlier):
            raise InputError(
                f"{later.path} was made before {earlier.path}, which is given first; give the studies in the order in "
                "which they were made."
            )


def twice(studies: Sequence[SegmentedTimePoint]) -> list[tuple[int, int]]:
    """The pairs of studies, by index, of which one was drawn on an image of the other."""
    return [
        (i, j)
        for (i, one), (j, other) in itertools.combinations(enumerate(studies), 2)
        if {*one.images[:1]} & {*other.images} or {*other.images[:1]} & {*one.images}
    ]


def _is_before(later: SegmentedTimePoint, earlier: SegmentedTimePoint) -> bool:
    """By their dates where both are known: after a second operation the days since surgery begin anew."""
    if later.date and earlier.date and later.date != earlier.date:
        return later.date < earlier.date
    kinds = earlier.time_point.kind, later.time_point.kind
    if kinds == (TimePointKind.POSTOPERATIVE, TimePointKind.PREOPERATIVE):
        return True
    before, after = earlier.time_point.days_since_surgery, later.time_point.days_since_surgery
    return not (later.date and earlier.date) and before is not None and after is not None and after < before
