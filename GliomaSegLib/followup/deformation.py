"""The brain's own deformation between two studies of one patient, beyond the rigid registration.

Volumes and diameters are measured before anything is moved. A deformation only helps to tell which lesion is which:
after surgery the brain sinks into the cavity, so that a lesion may come to lie beside where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.preprocessing.resampling import model_grid, resample_image, resample_labels

DEFORMATION = "diffeomorphic demons (Vercauteren 2009, NeuroImage 45:S61; SimpleITK)"

# Demons compare grey values, and see no finer detail than this; the field is smoothed by so much, as elastic tissue is.
_SPACING_MM = 2.0
_SMOOTHING_MM = 4.0
_LEVELS = ((4, 60), (2, 40), (1, 20))  # voxels averaged along each axis, and iterations
_HISTOGRAM_LEVELS, _MATCH_POINTS = 256, 15
_AROUND_LESIONS_MM = 4.0


@dataclass(frozen=True)
class Deformation:
    """The transform between two studies: rigid, then a displacement field.

    Attributes:
        there: takes points of the one to points of the other (LPS mm).
        back: its inverse.
        within_mm: 95 % of the head move by less than this beyond what the rigid registration does.
    """

    there: sitk.Transform
    back: sitk.Transform
    within_mm: float


def deform(
    fixed: sitk.Image,
    moving: sitk.Image,
    rigid: sitk.Transform | None,
    fixed_labels: sitk.Image,
    moving_labels: sitk.Image,
) -> Deformation:
    """The deformation that is left when ``rigid`` has brought ``moving`` to ``fixed``.

    Both images show the same contrast; their grey values are matched first. In and around what is labelled in either
    they are made equal, so that a lesion that has grown or gone pulls at nothing, and the field is continued into it
    from around (masking, as Brett 2001, NeuroImage 14:486).

    Args:
        fixed_labels, moving_labels: label maps on any grid in the space of their images; what is not 0 is a lesion.
    """
    rigid = rigid or sitk.Transform(3, sitk.sitkIdentity)
    grid = model_grid(fixed, (max(_SPACING_MM, *fixed.GetSpacing()[:2]),) * 3, "LPS")
    still = resample_image(sitk.BinShrink(fixed, _shrinking(fixed)), grid)
    brought = resample_image(sitk.BinShrink(moving, _shrinking(moving)), grid, rigid)
    matched = sitk.HistogramMatching(brought, still, _HISTOGRAM_LEVELS, _MATCH_POINTS, True)
    lesions = sitk.Maximum(
        resample_labels(_labelled(fixed_labels), grid, sitk.Transform(3, sitk.sitkIdentity)),
        resample_labels(_labelled(moving_labels), grid, rigid),
    )
    around = sitk.BinaryDilate(lesions, [round(_AROUND_LESIONS_MM / edge) for edge in grid.GetSpacing()])
    field = _demons(still, sitk.Mask(matched, around == 0) + sitk.Mask(still, around))
    inverse = sitk.InvertDisplacementField(field, maximumNumberOfIterations=20)
    shifts = np.linalg.norm(sitk.GetArrayFromImage(field), axis=-1)
    grey = sitk.GetArrayViewFromImage(still)
    within = float(np.percentile(shifts[grey > grey.mean()], 95))
    bent, straightened = sitk.DisplacementFieldTransform(field), sitk.DisplacementFieldTransform(inverse)
    return Deformation(  # of several transforms the last one is applied first
        sitk.CompositeTransform([rigid, bent]), sitk.CompositeTransform([straightened, rigid.GetInverse()]), within
    )


def _demons(fixed: sitk.Image, moving: sitk.Image) -> sitk.Image:
    """The displacement field on the grid of ``fixed``, coarse to fine."""
    field: sitk.Image | None = None
    for factor, iterations in _LEVELS:
        small = [max(1, min(factor, size // 16)) for size in fixed.GetSize()]
        one, other = sitk.BinShrink(fixed, small), sitk.BinShrink(moving, small)
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfThreads(1)  # the same case must give the same answer everywhere
        demons.SetNumberOfIterations(iterations)
        demons.SetSmoothDisplacementField(True)
        demons.SetStandardDeviations([_SMOOTHING_MM / spacing for spacing in one.GetSpacing()])
        field = demons.Execute(one, other) if field is None else demons.Execute(one, other, _on(field, one))
    assert field is not None
    return _on(field, fixed)


def _on(field: sitk.Image, grid: sitk.Image) -> sitk.Image:
    identity = sitk.Transform(3, sitk.sitkIdentity)
    return sitk.Resample(field, grid, identity, sitk.sitkLinear, 0.0, sitk.sitkVectorFloat64)


def _labelled(labels: sitk.Image) -> sitk.Image:
    return sitk.Cast(labels != 0, sitk.sitkUInt8)


def _shrinking(image: sitk.Image) -> list[int]:
    return [max(1, int(_SPACING_MM / spacing)) for spacing in image.GetSpacing()]
