"""Rigid registration of two images, with measures of its quality.

Mattes mutual information, multi-resolution, six degrees of freedom (SimpleITK). A registration that "converged" may
still be wrong, so two measures are computed:

* normalised mutual information, (H(A) + H(B)) / H(A, B), from 1 (independent) to 2 (identical up to grey values);
* mirror contrast: how much better the image fits than its left-right mirror image. A head is nearly symmetric, so a
  registered image fits clearly better than its mirror image (contrast above 1), a mirrored one clearly worse (below 1),
  and one of another patient, or a misregistered one, about equally (near 1).

On 51 real pairs (clinical T1c with T1n, T2 or FLAIR, skull-stripped BraTS, two time points after surgery) the mirror
contrast was 1.09 to 2.09, and with one image mirrored 0.49 to 0.92; ``python -m Testing.bench registration`` measures
it on all such pairs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import optimize

from GliomaSegLib.io.grid import centre, corners
from GliomaSegLib.preprocessing.resampling import as_type
from GliomaSegLib.preprocessing.similarity import CLEARLY_BETTER, HISTOGRAM_BINS, SMALLEST_OVERLAP, Similarity, shrink

WORKING_SPACING_MM = 2.0  # voxel size of the images in registration
SAMPLES = 40_000
RANDOM_SEED = 1

IN_PLACE_WITHIN = 1.5  # mm and degrees: an image is in place if no position this near is clearly better
LEAST_SHIFT_MM = 1.0  # smaller corrections are ignored, as interpolation would lose more than they gain
# mm and degrees: a given transform is doubtful if a position this near fits better. Of 16 clinical pairs this was true
# for none as registered or moved by 1 mm, for 2 moved by 2 mm, and for all moved by 5, 9 or 15 mm.
GIVEN_WITHIN = 4.0

# With a mirror contrast below this, the position is doubtful, and others are tried.
DOUBTFUL_BELOW = 1.02

_COARSE_SPACING_MM = 6.0  # on which many places are compared: the mirror image's, and those of a turned head
_MIRROR_STEPS = (6.0, 6.0, 6.0)  # degrees, degrees, mm: the first of the search for the mirror plane
_MIRROR_PLACES = 40
_TURNS_DEGREES = (-40.0, -20.0, 0.0, 20.0, 40.0)  # about each axis
_TURNED_STARTS = 3


@dataclass(frozen=True)
class Registration:
    """The rigid transform between two images, and how well it fits.

    Attributes:
        transform: maps points of the fixed image to points of the moving one (LPS mm); ``None`` for the identity.
        overlapped: whether the fields of view overlapped in scanner coordinates, before registration.
        nmi: normalised mutual information after registration, 1 to 2.
        mirror_contrast: ratio of (NMI - 1) to that of the mirror image; see the module.
        shift_mm: mean distance that the transform moves the head's field of view.
        better_nearby: for a given transform: whether a position within ``GIVEN_WITHIN`` fits better.
    """

    transform: sitk.Transform | None
    overlapped: bool
    nmi: float
    mirror_contrast: float
    shift_mm: float
    better_nearby: bool = False


def register(fixed: sitk.Image, moving: sitk.Image) -> Registration:
    """Register ``moving`` to ``fixed`` rigidly, unless it is in place already.

    It starts from scanner coordinates, the centres or the centres of mass of the fields of view, whichever fits best;
    if the result is doubtful, also from rotations of up to 40 degrees. Deterministic with any number of threads.

    Raises:
        InputError: one of the images has no contrast.
    """
    pair = _Pair(fixed, moving)
    identity = _euler(centre(fixed))
    best = identity
    if not pair.similarity.is_local_best(identity, IN_PLACE_WITHIN):
        found = _refined(pair, max(_starts(pair), key=pair.similarity.nmi))
        if _mean_shift(found, pair.corners) >= LEAST_SHIFT_MM:
            best = max(identity, found, key=pair.similarity.nmi)
    described = _described(pair, best)
    if described.mirror_contrast < DOUBTFUL_BELOW:
        turned = max((_refined(pair, start) for start in _turned_starts(pair)), key=pair.similarity.nmi)
        if pair.similarity.nmi(turned) - 1 > CLEARLY_BETTER * (described.nmi - 1):
            best, described = turned, _described(pair, turned)
    return replace(described, transform=None, shift_mm=0.0) if best is identity else described


def evaluate(fixed: sitk.Image, moving: sitk.Image, transform: sitk.Euler3DTransform) -> Registration:
    """The quality measures of a given ``transform``, as :func:`register` computes them.

    Raises:
        InputError: one of the images has no contrast.
    """
    pair = _Pair(fixed, moving)
    about_the_middle = _euler(centre(fixed))  # so that steps in its angles are steps of the head
    about_the_middle.SetMatrix(transform.GetMatrix())
    about_the_middle.SetTranslation((np.array(transform.TransformPoint(centre(fixed))) - centre(fixed)).tolist())
    better_nearby = not pair.similarity.is_local_best(about_the_middle, GIVEN_WITHIN)
    return replace(_described(pair, about_the_middle), overlapped=True, better_nearby=better_nearby)


class _Pair:
    """Two images at the resolution of registration, and the measure of their similarity.

    Raises:
        InputError: one of them has no contrast.
    """

    def __init__(self, fixed: sitk.Image, moving: sitk.Image) -> None:
        fixed, moving = (as_type(image, sitk.sitkFloat32) for image in (fixed, moving))
        self.similarity = Similarity(fixed, moving)
        self.coarse = Similarity(fixed, moving, _COARSE_SPACING_MM)
        self.middles = centre(fixed), centre(moving)
        self.corners = corners(fixed)
        self.fixed, self.moving = shrink(fixed, WORKING_SPACING_MM), shrink(moving, WORKING_SPACING_MM)


def _described(pair: _Pair, best: sitk.Euler3DTransform) -> Registration:
    nmi = pair.similarity.nmi(best)
    mirrored = _mirrored_nmi(pair, best) if nmi > 1 else 1.0  # else they do not even meet
    return Registration(
        transform=best,
        overlapped=pair.similarity.overlap(_euler(pair.middles[0])) >= SMALLEST_OVERLAP,
        nmi=nmi,
        mirror_contrast=(nmi - 1) / max(mirrored - 1, 1e-6),
        shift_mm=_mean_shift(best, pair.corners),
    )


def _starts(pair: _Pair) -> list[sitk.Euler3DTransform]:
    """The starts: identity, alignment of the centres, alignment of the centres of mass."""
    starts = [_euler(pair.middles[0])]
    for middle, other in (pair.middles, (_centre_of_mass(pair.fixed), _centre_of_mass(pair.moving))):
        start = _euler(middle)
        start.SetTranslation(np.subtract(other, middle).tolist())
        starts.append(_rounded(start))
    return starts


def _centre_of_mass(image: sitk.Image) -> tuple[float, float, float]:
    """The centre of mass (LPS mm) of the image's grey values."""
    array = sitk.GetArrayViewFromImage(image).astype(np.float64)
    total = array.sum() or 1.0
    sides = [array.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in (2, 1, 0)]
    index = [float(side @ np.arange(len(side)) / total) for side in sides]
    return image.TransformContinuousIndexToPhysicalPoint(index)


def _rounded(transform: sitk.Transform) -> sitk.Euler3DTransform:
    """Round to six digits, so that results do not depend on the computer."""
    rounded = sitk.Euler3DTransform(transform)
    rounded.SetCenter([round(value, 6) for value in rounded.GetCenter()])
    rounded.SetParameters([round(value, 6) for value in rounded.GetParameters()])
    return rounded


def _refined(pair: _Pair, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    found = _optimise(pair, start)
    if pair.similarity.is_local_best(found, IN_PLACE_WITHIN):
        return found
    return _optimise(pair, found)  # few thick slices: the samples led beside the peak


def _optimise(pair: _Pair, start: sitk.Euler3DTransform) -> sitk.Euler3DTransform:
    """The rigid transform with the largest mutual information near ``start``."""
    method = sitk.ImageRegistrationMethod()
    # ITK sums the metric per work unit and makes as many of these as there are threads, however many it may use: with
    # one, the same case gives the same answer to the last digit everywhere.
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, SAMPLES / pair.fixed.GetNumberOfPixels()), RANDOM_SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=0.01, numberOfIterations=100, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    transform = sitk.Euler3DTransform(start)
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(pair.fixed, pair.moving)
    except RuntimeError:  # all samples fell outside, or no contrast: the start stands, and is judged as it is
        return start
    return _rounded(transform)


def _turned_starts(pair: _Pair) -> list[sitk.Euler3DTransform]:
    """The rotations about the centres of mass with the best fit on a coarse grid."""
    middle = _centre_of_mass(pair.fixed)
    starts = []
    for degrees in itertools.product(_TURNS_DEGREES, repeat=3):
        start = _euler(middle)
        start.SetRotation(*np.radians(degrees).tolist())
        start.SetTranslation(np.subtract(_centre_of_mass(pair.moving), middle).tolist())
        starts.append(_rounded(start))
    return sorted(starts, key=pair.coarse.nmi, reverse=True)[:_TURNED_STARTS]


def _mirrored_nmi(pair: _Pair, found: sitk.Euler3DTransform) -> float:
    """The NMI of the mirror image of the moving image at its best position.

    That is the reflection in the mid-sagittal plane, which is searched (two angles and a shift) with the Nelder-Mead
    simplex on a coarse grid.
    """
    axes = np.reshape(pair.fixed.GetDirection(), (3, 3)).T
    across = int(np.argmax(np.abs(axes[:, 0])))  # the voxel axis that runs nearest to left and right
    middle = np.array(_centre_of_mass(pair.fixed))

    def reflected(plane: NDArray[np.float64]) -> sitk.CompositeTransform:
        normal = axes[across] + np.tan(np.radians(plane[:2])) @ np.delete(axes, across, axis=0)
        normal /= np.linalg.norm(normal)
        reflection = sitk.AffineTransform(3)
        reflection.SetMatrix((np.eye(3) - 2 * np.outer(normal, normal)).ravel().tolist())
        reflection.SetCenter((middle + plane[2] * axes[across]).tolist())
        return sitk.CompositeTransform([found, reflection])  # the last one is applied first

    search = optimize.minimize(
        lambda plane: -pair.coarse.nmi(reflected(plane)),
        np.zeros(3),
        method="Nelder-Mead",
        options={"initial_simplex": np.vstack([np.zeros(3), np.diag(_MIRROR_STEPS)]), "maxfev": _MIRROR_PLACES},
    )
    return pair.similarity.nmi(reflected(search.x))


def _mean_shift(transform: sitk.Transform, points: Sequence[tuple[float, float, float]]) -> float:
    return float(np.mean([math.dist(point, transform.TransformPoint(point)) for point in points])) / 2


def _euler(middle: tuple[float, float, float]) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(middle)
    return transform
