"""Rigid registration of every sequence to the reference, and the doubts that one must have about it.

Mattes mutual information, multi-resolution, six degrees of freedom (SimpleITK). A registration that "converged" may
still be wrong, so each is judged by two figures:

* normalised mutual information, (H(A) + H(B)) / H(A, B), from 1 (independent) to 2 (the same up to grey values);
* mirror contrast: how much better the image fits than its own left-right mirror image does. A head is nearly
  symmetric, so an image that is in place fits clearly better than its mirror image (contrast above 1), a mirrored one
  clearly worse (below 1), and one of another patient, or in the wrong place, about equally (near 1).

On 30 pairs of clinical T1c with T1n or FLAIR the mirror contrast was 1.05 to 2.5, so that of the same images mirrored
is 0.4 to 0.95; ``python -m Testing.bench registration`` takes it on all such pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.case import Case, Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import centre, corners
from GliomaSegLib.preprocessing.resampling import model_grid
from GliomaSegLib.progress import Progress

WORKING_SPACING_MM = 2.0  # registration sees no finer detail than this
JUDGING_SPACING_MM = 3.0  # grid on which the quality figures are taken
HISTOGRAM_BINS = 32
SAMPLES = 40_000
RANDOM_SEED = 1

ALIGNED_WITHIN = 1.5  # mm and degrees: no clearly better place this near means that an image is in place already
CLEARLY_BETTER = 1.01  # ratio of (information - 1): less is noise
LEAST_SHIFT_MM = 1.0  # a smaller correction would cost more by interpolation than it gains
MIRRORED_BELOW = 0.97
DOUBTFUL_BELOW = 1.02
FAILED_BELOW_NMI = 1.03
# mm and degrees: a given transform is doubted when a place this far from its own fits better. On 16 clinical pairs that
# was so of none as registered or moved by 1 mm, of 2 moved by 2 mm, and of all moved by 5, 9 or 15 mm.
GIVEN_WITHIN = 4.0
RIGID_WITHIN = 1e-3  # largest entry of MᵀM - 1: more is no rounding, at the border of a head it is 0.1 mm
SMALLEST_OVERLAP = 0.25  # share of the smaller field of view that must lie in the other

_OUTSIDE = -1e9  # grey value of what lies outside the moving image; no MR image comes near it


@dataclass(frozen=True)
class Registration:
    """How one sequence lies to the reference.

    Attributes:
        transform: maps points of the reference to points of the sequence (LPS mm); ``None`` when it was in place.
        overlapped: whether the two fields of view met in the scanner's coordinates, before registration.
        information: normalised mutual information there, 1 to 2.
        mirror_contrast: (information - 1) over the same of its mirror image; see the module's text.
        shift_mm: mean distance that the transform moves the head's field of view.
        beaten: whether a place ``GIVEN_WITHIN`` from that of a given transform fits better.
    """

    transform: sitk.Transform | None
    overlapped: bool
    information: float
    mirror_contrast: float
    shift_mm: float
    beaten: bool = False


def align_case(
    case: Case,
    progress: Progress,
    given: Mapping[Modality, sitk.Euler3DTransform] | None = None,
    registering: bool = True,
) -> dict[Modality, Registration]:
    """Register every sequence of the case but the reference to the reference.

    Warns through ``progress`` about doubtful ones.

    Args:
        given: transforms that are used instead, and judged as if they had been found.
        registering: ``False`` to look at those with a given transform only; all others are known to lie in place.

    Raises:
        InputError: the fields of view do not meet, an image is mirrored left to right, or nothing fits.
    """
    given = given or {}
    reference = case.reference
    others = [
        case.volumes[sequence]
        for sequence in case.present
        if sequence is not reference.sequence and (registering or sequence in given)
    ]
    registrations = {}
    for done, moving in enumerate(others):
        progress.advance(done / len(others), moving.sequence.title)
        images, names = (reference.image, moving.image), (str(reference), str(moving))
        if moving.sequence in given:
            with _named(*names):
                registration = as_given(*images, given[moving.sequence])
            _judge_given(registration, *names, progress)
        else:
            registration = register_judged(*images, *names, progress, one_exam=True)
        registrations[moving.sequence] = registration
    return registrations


def register_judged(
    fixed: sitk.Image, moving: sitk.Image, fixed_name: str, moving_name: str, progress: Progress, one_exam: bool = False
) -> Registration:
    """As :func:`register`; a doubtful fit is told to ``progress``.

    Args:
        one_exam: both are of one examination, so that they should meet in the scanner's coordinates.

    Raises:
        InputError: they do not fit, or one is mirrored left to right; the sentence names both.
    """
    with _named(fixed_name, moving_name):
        found = register(fixed, moving)
    _judge(found, fixed_name, moving_name, progress, one_exam)
    return found


@contextmanager
def _named(fixed: str, moving: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{moving} cannot be registered to {fixed}: {error}") from error


def given_transforms(paths: Mapping[Modality, Path], case: Case) -> dict[Modality, sitk.Euler3DTransform]:
    """Read the transforms that a user gives for sequences of ``case``.

    Raises:
        InputError: there is no such sequence, it is the reference, or a file is no rigid transform.
    """
    for sequence, path in paths.items():
        if sequence not in case.volumes:
            raise InputError(f"{path} is given to move {sequence.title}, which the case does not have; leave it out.")
        if sequence is case.reference.sequence:
            raise InputError(
                f"{path} is given to move {sequence.title}, but that is the image to which the others are moved; give "
                "the transforms of the others."
            )
    return {sequence: read_rigid(path) for sequence, path in paths.items()}


def read_rigid(path: Path) -> sitk.Euler3DTransform:
    """Read a rigid transform of space (LPS mm) from an ITK file of any kind of transform.

    Raises:
        InputError: the file cannot be read, or its transform does more than turn and shift.
    """
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        what = "is no ITK transform file (.tfm, .txt, .h5, .mat)" if path.is_file() else "does not exist"
        raise InputError(f"The transform {path} {what}; check the path.") from error
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise InputError(_not_rigid(path))
    shift = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(axis)) - shift for axis in np.eye(3).tolist()]
    matrix = np.stack(columns, axis=1)
    departure = np.abs(matrix.T @ matrix - np.eye(3)).max()
    if not departure <= RIGID_WITHIN or np.linalg.det(matrix) < 0:
        raise InputError(_not_rigid(path))
    left, _, right = np.linalg.svd(matrix)
    rigid = sitk.Euler3DTransform()
    rigid.SetMatrix((left @ right).ravel().tolist())
    rigid.SetTranslation(shift.tolist())
    return rigid


def _not_rigid(path: Path) -> str:
    return (
        f"The transform {path} is not rigid (it scales, shears, mirrors or bends, or is not three-dimensional); give "
        "one that turns and shifts, or none, and the sequence is registered."
    )


def as_given(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Euler3DTransform) -> Registration:
    """What :func:`register` says, of a ``transform`` that somebody else found.

    Raises:
        InputError: one of the images has no contrast.
    """
    fixed, moving = sitk.Cast(fixed, sitk.sitkFloat32), sitk.Cast(moving, sitk.sitkFloat32)
    fit = _Fit(fixed, moving)
    turning_about_the_middle = _euler(centre(fixed))  # so that steps in its angles are steps of the head
    turning_about_the_middle.SetMatrix(transform.GetMatrix())
    turning_about_the_middle.SetTranslation(
        (np.array(transform.TransformPoint(centre(fixed))) - centre(fixed)).tolist()
    )
    found = _described(fixed, moving, fit, turning_about_the_middle)
    return replace(found, overlapped=True, beaten=not fit.is_local_best(turning_about_the_middle, GIVEN_WITHIN))


def register(fixed: sitk.Image, moving: sitk.Image) -> Registration:
    """Rigid registration of ``moving`` to ``fixed``; left as it is when it is in place already.

    The start is the scanner's own coordinates, the middles or the centres of mass of the two fields of view,
    whichever fits best. Deterministic: samples are drawn with a fixed seed.

    Raises:
        InputError: one of the images has no contrast, so that nothing can be matched.
    """
    fixed, moving = sitk.Cast(fixed, sitk.sitkFloat32), sitk.Cast(moving, sitk.sitkFloat32)
    fit = _Fit(fixed, moving)
    identity = _euler(centre(fixed))
    best = identity
    if not fit.is_local_best(identity):
        found = _optimise(fixed, moving, max(_starts(fixed, moving), key=fit.information))
        if not fit.is_local_best(found):  # few thick slices: the random samples led beside the peak
            found = _optimise(fixed, moving, found)
        if _mean_shift(found, fixed) >= LEAST_SHIFT_MM:
            best = max(identity, found, key=fit.information)
    if best is identity:
        return replace(_described(fixed, moving, fit, identity), transform=None, shift_mm=0.0)
    return _described(fixed, moving, fit, best)


def _described(fixed: sitk.Image, moving: sitk.Image, fit: _Fit, best: sitk.Euler3DTransform) -> Registration:
    information = fit.information(best)
    mirrored = _mirrored_information(fixed, moving, best) if information > 1 else 1.0  # else they do not even meet
    return Registration(
        transform=best,
        overlapped=fit.overlap(_euler(centre(fixed))) >= SMALLEST_OVERLAP,
        information=information,
        mirror_contrast=(information - 1) / max(mirrored - 1, 1e-6),
        shift_mm=_mean_shift(best, fixed),
    )


def _judge(found: Registration, fixed: str, moving: str, progress: Progress, one_exam: bool) -> None:
    apart = one_exam and not found.overlapped
    lost = " and their fields of view do not meet in the scanner's coordinates" if apart else ""
    or_without = ", or leave it out (--without)" if one_exam else ""
    if found.information < FAILED_BELOW_NMI:
        raise InputError(
            f"{moving} could not be registered to {fixed}: no position was found where they fit (mutual information "
            f"{found.information:.3f}){lost}; check that both are heads of one patient{or_without}."
        )
    if found.mirror_contrast < MIRRORED_BELOW:
        raise InputError(
            f"{moving} is mirrored left to right with respect to {fixed}: its mirror image fits better (contrast "
            f"{found.mirror_contrast:.2f}); correct the one that is wrong{or_without}."
        )
    if found.mirror_contrast < DOUBTFUL_BELOW:
        progress.warn(
            f"The registration of {moving} to {fixed} is doubtful: it fits no better than its mirror image (contrast "
            f"{found.mirror_contrast:.2f}){lost}. Check that both are of one patient and that it lies in place."
        )
    elif apart:
        progress.warn(f"{moving} was placed by its content alone: it and {fixed} do not meet in the scanner's space.")


def _judge_given(registration: Registration, fixed: str, moving: str, progress: Progress) -> None:
    way_out = "correct the transform, or leave it out and the sequence is registered"
    if registration.information < FAILED_BELOW_NMI:
        raise InputError(
            f"{moving} does not fit {fixed} where the given transform puts it (mutual information "
            f"{registration.information:.3f}); {way_out}."
        )
    if registration.mirror_contrast < MIRRORED_BELOW:
        raise InputError(
            f"{moving} fits {fixed} worse than its mirror image does where the given transform puts it (contrast "
            f"{registration.mirror_contrast:.2f}): the transform is wrong or an image is mirrored; {way_out}."
        )
    if registration.mirror_contrast < DOUBTFUL_BELOW or registration.beaten:
        progress.warn(
            f"The transform that was given for {moving} is doubtful: "
            + (
                f"a place {GIVEN_WITHIN:g} mm or degrees away fits better"
                if registration.beaten
                else f"it fits no better than its mirror image (contrast {registration.mirror_contrast:.2f})"
            )
            + ". Check that it lies in place."
        )


class _Fit:
    """How well two images fit under a transform, on one coarse grid."""

    def __init__(self, fixed: sitk.Image, moving: sitk.Image) -> None:
        self._moving = _shrink(moving, JUDGING_SPACING_MM)
        self._low, self._high = _contrast_range(sitk.GetArrayViewFromImage(self._moving))
        self._grid = model_grid(fixed, (JUDGING_SPACING_MM,) * 3, "LPS")
        self._smaller = min(1.0, _volume_mm3(moving) / _volume_mm3(fixed))
        values = sitk.GetArrayFromImage(sitk.Resample(_shrink(fixed, JUDGING_SPACING_MM), self._grid))
        self._fixed_bins = _digitise(values, *_contrast_range(values))

    def overlap(self, transform: sitk.Transform) -> float:
        """Share of the smaller field of view that lies in the other, 0 to about 1."""
        return float(self._inside(self._values(transform)).mean() / self._smaller)

    def information(self, transform: sitk.Transform) -> float:
        """Normalised mutual information, 1 to 2; 1 when the images barely overlap."""
        values = self._values(transform)
        inside = self._inside(values)
        if inside.mean() < SMALLEST_OVERLAP * self._smaller:
            return 1.0
        return _normalised_mutual_information(
            self._fixed_bins[inside], _digitise(values[inside], self._low, self._high)
        )

    def is_local_best(self, transform: sitk.Euler3DTransform, step: float = ALIGNED_WITHIN) -> bool:
        """Whether no ``step`` (mm, degrees) along or about an axis fits clearly better."""
        here = self.information(transform) - 1
        around = (self.information(near) - 1 for near in _neighbours(transform, step))
        return here > 0 and all(there <= CLEARLY_BETTER * here for there in around)

    def _values(self, transform: sitk.Transform) -> NDArray[np.float32]:
        resampled = sitk.Resample(self._moving, self._grid, transform, sitk.sitkLinear, _OUTSIDE)
        return sitk.GetArrayFromImage(resampled)

    @staticmethod
    def _inside(values: NDArray[np.float32]) -> NDArray[np.bool_]:
        return values > _OUTSIDE / 2


def _neighbours(transform: sitk.Euler3DTransform, size: float) -> list[sitk.Euler3DTransform]:
    steps = [math.radians(size)] * 3 + [size] * 3
    found = []
    for index, step in enumerate(steps):
        for sign in (-1, 1):
            near = sitk.Euler3DTransform(transform)
            parameters = list(transform.GetParameters())
            parameters[index] += sign * step
            near.SetParameters(parameters)
            found.append(near)
    return found


def _starts(fixed: sitk.Image, moving: sitk.Image) -> list[sitk.Euler3DTransform]:
    identity = _euler(centre(fixed))
    modes = sitk.CenteredTransformInitializerFilter.GEOMETRY, sitk.CenteredTransformInitializerFilter.MOMENTS
    return [identity, *(_rounded(sitk.CenteredTransformInitializer(fixed, moving, identity, mode)) for mode in modes)]


def _rounded(transform: sitk.Transform) -> sitk.Euler3DTransform:
    """To six digits: sums over an image come out a little different with each number of threads."""
    rounded = sitk.Euler3DTransform(transform)
    rounded.SetCenter([round(value, 6) for value in rounded.GetCenter()])
    rounded.SetParameters([round(value, 6) for value in rounded.GetParameters()])
    return rounded


def _optimise(fixed: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    fixed, moving = _shrink(fixed, WORKING_SPACING_MM), _shrink(moving, WORKING_SPACING_MM)
    method = sitk.ImageRegistrationMethod()
    # ITK sums the metric per work unit and makes as many of these as there are threads, however many it may use: with
    # one, the same case gives the same answer to the last digit everywhere.
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, SAMPLES / fixed.GetNumberOfPixels()), RANDOM_SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=0.01, numberOfIterations=100, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4, 2, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    transform = sitk.Euler3DTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # all samples fell outside, or no contrast: the start stands, and is judged as it is
        return start
    return _rounded(transform)


def _mirrored_information(fixed: sitk.Image, moving: sitk.Image, found: sitk.Euler3DTransform) -> float:
    """How well the mirror image of ``moving`` fits at its own best place."""
    in_place = sitk.Resample(moving, fixed, found, sitk.sitkLinear, 0.0)
    axis = int(np.argmax(np.abs(np.reshape(fixed.GetDirection(), (3, 3))[0])))  # the voxel axis nearest to left-right
    mirrored = sitk.Flip(in_place, [index == axis for index in range(3)])
    mirrored.CopyInformation(in_place)
    fit = _Fit(fixed, mirrored)
    start = max(_starts(fixed, mirrored), key=fit.information)
    return max(fit.information(_optimise(fixed, mirrored, start)), fit.information(start))


def _mean_shift(transform: sitk.Transform, image: sitk.Image) -> float:
    return float(np.mean([math.dist(point, transform.TransformPoint(point)) for point in corners(image)])) / 2


def _volume_mm3(image: sitk.Image) -> float:
    return math.prod(image.GetSize()) * math.prod(image.GetSpacing())


def _euler(middle: tuple[float, float, float]) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(middle)
    return transform


def _shrink(image: sitk.Image, spacing_mm: float) -> sitk.Image:
    """Average neighbouring voxels up to about ``spacing_mm``; axes that are coarser already stay as they are."""
    return sitk.BinShrink(image, [max(1, int(spacing_mm / spacing)) for spacing in image.GetSpacing()])


def _contrast_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """The grey values between which the histogram is taken: bright vessels and fat must not squeeze the rest."""
    low, high = np.quantile(values, [0.005, 0.995])
    if not high > low:
        raise InputError("one of them has no contrast (nearly all of its voxels are equal); check the file.")
    return float(low), float(high)


def _digitise(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.intp]:
    return np.clip((values - low) / (high - low) * HISTOGRAM_BINS, 0, HISTOGRAM_BINS - 1).astype(np.intp)


def _normalised_mutual_information(first: NDArray[np.intp], second: NDArray[np.intp]) -> float:
    """Studholme, Hill and Hawkes, Pattern Recognition 32:71-86, 1999."""
    joint = np.bincount(first * HISTOGRAM_BINS + second, minlength=HISTOGRAM_BINS**2).astype(float)
    joint = joint.reshape(HISTOGRAM_BINS, HISTOGRAM_BINS) / joint.sum()
    return (_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / _entropy(joint)


def _entropy(probabilities: NDArray[np.float64]) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())
