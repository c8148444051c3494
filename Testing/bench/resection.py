"""Surgery on real cases: simulated, where every answer is known, and that of treated patients.

``python -m Testing.bench resection simulated-residual treated``
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from GliomaSegLib import case
from GliomaSegLib.case import TimePoint, TimePointKind
from GliomaSegLib.datasets.case_table import read_splits, same_patient
from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.froc import match_lesions
from GliomaSegLib.evaluation.metrics import score
from GliomaSegLib.followup.compare import RegisteredComparison, compare
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.images import read_image, read_labels
from GliomaSegLib.job import Job
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.measures.lesion_size import LEAST_LESION_MM3, without_specks
from GliomaSegLib.measures.resection import GROSS_TOTAL_BELOW_ML
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.resources import resource
from GliomaSegLib.results.layout import LABEL_MAP
from GliomaSegLib.results.time_point import read_time_point
from Testing.bench.cases import OWN_MODEL, SHARED, brats2021
from Testing.support.simulated_surgery import Operated, operate

PRE, POST = TimePoint(TimePointKind.PREOPERATIVE), TimePoint(TimePointKind.POSTOPERATIVE, 1)

# What is left, mL, case by case: nothing, below and above the limit of gross total resection, and of each RANO class.
LEFT_ML = (0.0, 0.1, 0.3, 0.8, 2.0, 6.0, 0.0, 0.5)
PLANTED_RADIUS_MM = 3.0  # 0.11 mL: with nothing else left that is a gross total resection
_ENDINGS = {"t1": case.Modality.T1N, "t1ce": case.Modality.T1C, "t2": case.Modality.T2W, "flair": case.Modality.T2F}


def simulated() -> None:
    """Resections and planted lesions on eight BraTS 2021 cases, masks given: reference and what 'compare' finds."""
    with tempfile.TemporaryDirectory() as folder:
        for number, study in enumerate(brats2021()):
            before = _brats(study)
            after = _operated(before, number)
            print(f"\n{study.name}: {LEFT_ML[number]:g} mL to leave")
            try:
                aligned = _compared(before, after, Path(folder) / study.name)
            except InputError as error:
                print(f"  refused: {error}")
                continue
            for name, reference_labels, answer in _answers(before, after, aligned):
                right = "" if answer == reference_labels else f"   reference {reference_labels}"
                print(f"  {name:<28} {answer}{right}")


def simulated_residual() -> None:
    """What gliomaseg-any-v2 finds of the rest on the simulated studies; it was trained on studies before surgery."""
    splits = _split_of()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, study in enumerate(brats2021()):
            after = _operated(_brats(study), number)
            place = Path(folder) / study.name
            _written(after.images, place / "study")
            found = _segmented(
                place, {one: place / "study" / f"{one.value}.nii.gz" for one in after.images}, "stripped"
            )
            drawn = region_mask(sitk.GetArrayFromImage(after.labels), Region.ET)
            rows.append(
                _Row(
                    f"{study.name} ({splits.get(same_patient(study.name), 'not in a split')})",
                    found,
                    drawn,
                    after.voxel_ml,
                )
            )
            print(rows[-1].text, flush=True)
    _print_summary(rows)


def treated() -> None:
    """Six treated glioblastomas (Brain-Tumor-Progression), twelve scans: gliomaseg-any-v2 on T1 + contrast alone."""
    splits = _split_of()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for patient in sorted((SHARED / "data" / "brain-tumor-progression").iterdir()):
            for time in ("time1", "time2"):
                image, mask = (patient / f"{time}_{what}.nii.gz" for what in ("t1c", "enhancing"))
                found = _segmented(Path(folder) / f"{patient.name}-{time}", {case.Modality.T1C: image}, "deepbet")
                labels = read_labels(mask)
                split = splits.get(f"BTP_{patient.name}", "not in a split")
                reference_labels = sitk.GetArrayFromImage(labels) > 0
                rows.append(_Row(f"{patient.name} {time} ({split})", found, reference_labels, _voxel_ml(labels)))
                print(rows[-1].text, flush=True)
    for split in ("test", "train"):
        _print_summary([row for row in rows if f"({split})" in row.name], f"{split}: ")


# --- the simulated operation -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Before:
    images: dict[case.Modality, sitk.Image]
    labels: sitk.Image
    brain: sitk.Image

    def ml(self, region: Region) -> float:
        """Volume of a region."""
        return float(region_mask(sitk.GetArrayFromImage(self.labels), region).sum()) * _voxel_ml(self.labels)


def _brats(study: Path) -> _Before:
    images = {one: read_image(study / f"{study.name}_{ending}.nii.gz") for ending, one in _ENDINGS.items()}
    labels = read_labels(study / f"{study.name}_seg.nii.gz", LabelScheme.BRATS2017)
    brain = np.any([sitk.GetArrayFromImage(image) != 0 for image in images.values()], axis=0)
    return _Before(images, labels, array_on(ndimage.binary_fill_holes(brain).astype(np.uint8), labels))


def _operated(before: _Before, number: int) -> Operated:
    return operate(before.images, before.labels, before.brain, LEFT_ML[number], PLANTED_RADIUS_MM, seed=number)


def _compared(before: _Before, after: Operated, folder: Path) -> RegisteredComparison:
    points = []
    for name, images, labels, when in (
        ("pre", before.images, before.labels, PRE), ("post", after.images, after.labels, POST)
    ):  # fmt: skip
        _written({"t1c": images[case.Modality.T1C], "labels": labels}, folder / name)
        points.append(
            read_time_point(folder / name / "labels.nii.gz", folder / name / "t1c.nii.gz", LabelScheme.BRATS2024, when)
        )
    return compare(points)


def _written(images: dict, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, image in images.items():
        sitk.WriteImage(image, folder / f"{getattr(name, 'value', name)}.nii.gz")


def _answers(before: _Before, after: Operated, aligned: RegisteredComparison) -> Iterable[tuple[str, str, str]]:
    """Name, reference and answer of every number, as text of the same form."""
    found = aligned.comparison
    resection = found.resection
    assert resection is not None
    left_ml = _counted(after.left | after.planted) * after.voxel_ml
    yield "enhancing tumour left", f"{left_ml:.4f} mL", f"{resection.residual.volume_ml:.4f} mL"
    for one in resection.extents:
        was = before.ml(one.region)
        yield f"extent of resection, {one.region.value}", f"{1 - left_ml / was:.4%}", f"{one.fraction:.4%}"
    yield "finding", _finding(left_ml), resection.finding.value
    yield "cavity", f"{after.cavity.sum() * after.voxel_ml:.3f} mL", f"{resection.cavity_ml:.3f} mL"
    lesions = sum(step.change.value == "new" for step in found.course.steps[-1])
    yield "new lesions", "1", str(lesions)
    ball = max(
        (track.lesions[1] for track in found.course.tracks if not track.lesions[0] and track.lesions[1]),
        key=lambda lesion: lesion.volume_ml,
    )
    radius, (left, posterior, superior) = after.planted_mm
    yield "its volume", f"{4 / 3 * np.pi * radius**3 / 1000:.2f} mL", f"{ball.volume_ml:.2f} mL"
    yield (
        "its diameters",
        f"{2 * radius:.0f} x {2 * radius:.0f} mm",
        f"{ball.long_mm:.0f} x {ball.perpendicular_mm:.0f} mm",
    )
    apart = np.linalg.norm(np.array(ball.centre_ras_mm) - (-left, -posterior, superior))
    yield "its centre, off by", "0.0 mm", f"{apart:.1f} mm"
    yield "registration, off by", "0.0 mm", f"{_off_mm(after, aligned):.1f} mm"


def _finding(left_ml: float) -> str:
    return "residual tumour" if left_ml >= GROSS_TOTAL_BELOW_ML else "gross total resection"


def _counted(mask: np.ndarray) -> int:
    """Voxels (1 mm³) without the specks; separated by another library than the program's."""
    numbers, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(numbers.ravel())[1:]
    return int(sizes[sizes >= LEAST_LESION_MM3].sum())


def _off_mm(after: Operated, aligned: RegisteredComparison) -> float:
    """Mean distance over the voxels of the whole tumour and cavity between the place found and the true one."""
    transform = aligned.transforms[0] or sitk.Transform(3, sitk.sitkIdentity)
    places = np.argwhere(sitk.GetArrayFromImage(after.labels) != Label.BACKGROUND)[::50, ::-1].tolist()
    points = [after.labels.TransformIndexToPhysicalPoint(place) for place in places]
    return (
        float(
            np.mean([np.subtract(transform.TransformPoint(one), after.move.TransformPoint(one)) ** 2 for one in points])
            * 3
        )
        ** 0.5
    )


# --- a model against masks -------------------------------------------------------------------------------------------


def _segmented(folder: Path, volumes: dict[case.Modality, Path], brain: str) -> np.ndarray:
    """Enhancing tumour as the model finds it, ``[z, y, x]`` on the grid of T1 + contrast."""
    job = Job(
        volumes=volumes, model=OWN_MODEL, output=folder / "out", brain=brain, days_since_surgery=1, probabilities=False
    )
    run(job)
    return region_mask(sitk.GetArrayFromImage(read_labels(folder / "out" / LABEL_MAP)), Region.ET)


class _Row:
    """One scan, as Helland 2023 judges it: without specks, residual tumour from 0.175 mL on."""

    def __init__(self, name: str, found: np.ndarray, reference_labels: np.ndarray, voxel_ml: float) -> None:
        spacing = (10 * voxel_ml ** (1 / 3),) * 3  # only the volume counts
        found = without_specks(found, spacing)
        self.name = name
        self.dice = score(found, reference_labels, (1.0, 1.0, 1.0)).dice
        self.found_ml, self.truth_ml = found.sum() * voxel_ml, reference_labels.sum() * voxel_ml
        matched = match_lesions(found, without_specks(reference_labels, spacing))
        self.lesions, self.lesions_found = len(matched.reference), sum(lesion.dice > 0 for lesion in matched.reference)
        self.false_lesions = sum(not lesion.hits for lesion in matched.predicted)

    @property
    def text(self) -> str:
        return (
            f"{self.name:<28} reference {self.truth_ml:7.2f} mL, found {self.found_ml:7.2f} mL, Dice {self.dice:.3f}, "
            f"lesions {self.lesions_found} of {self.lesions} found, {self.false_lesions} false"
        )


def _print_summary(rows: Sequence[_Row], title: str = "") -> None:
    positive = [row for row in rows if row.truth_ml >= GROSS_TOTAL_BELOW_ML]
    hit = [row for row in positive if row.found_ml >= GROSS_TOTAL_BELOW_ML]
    clean = [row for row in rows if row.truth_ml < GROSS_TOTAL_BELOW_ML]
    cleared = [row for row in clean if row.found_ml < GROSS_TOTAL_BELOW_ML]
    lesions, found, false = (
        sum(getattr(row, name) for row in rows) for name in ("lesions", "lesions_found", "false_lesions")
    )
    dice = [row.dice for row in positive]
    print(
        f"{title}{len(rows)} scans. Patient-wise, residual from {GROSS_TOTAL_BELOW_ML} mL: {len(hit)} of "
        f"{len(positive)} with it found, {len(cleared)} of {len(clean)} without it left clear. Dice over the "
        f"{len(positive)} with it: mean {np.mean(dice):.3f}, median {np.median(dice):.3f}. Lesion-wise (from "
        f"{LEAST_LESION_MM3:g} mm³): {found} of {lesions} found, {false} false ones."
    )


def _split_of() -> dict[str, str]:
    splits = read_splits(resource("recipes") / "splits.json")
    return {patient: split for split in ("train", "test", "validation") for patient in splits[split]}


def _voxel_ml(image: sitk.Image) -> float:
    return float(np.prod(image.GetSpacing())) / 1000
