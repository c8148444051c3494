"""Deformable registration of two studies of one patient, after the rigid one.

It only helps to match lesions: after surgery the brain shifts into the cavity, so that a lesion may lie beside its
former position. Volumes and diameters are measured without any transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.preprocessing.resampling import model_grid, resample_image, resample_labels

DEFORMATION = "diffeomorphic demons (Vercauteren 2009, NeuroImage 45:S61; SimpleITK)"

# Voxel size for the demons, and sigma of the Gaussian that smooths the field, as tissue deforms smoothly.
_SPACING_MM = 2.0
_SMOOTHING_MM = 4.0
_LEVELS = ((4, 60), (2, 40), (1, 20))  # shrink factor along each axis, and iterations
_HISTOGRAM_LEVELS, _MATCH_POINTS = 256, 15
_AROUND_LESIONS_MM = 4.0


@dataclass(frozen=True)
class Deformation:
    """The transform between two studies: rigid transform and displacement field.

    Attributes:
        forward: maps points of the fixed study to the moving one (LPS mm).
        inverse: its inverse.
        within_mm: 95th percentile of the displacement in the head, without the rigid part.
    """

    forward: sitk.Transform
    inverse: sitk.Transform
    within_mm: float


def deform(
    fixed: sitk.Image,
    moving: sitk.Image,
    rigid: sitk.Transform | None,
    fixed_labels: sitk.Image,
    moving_labels: sitk.Image,
) -> Deformation:
    """Register ``moving`` to ``fixed`` with diffeomorphic demons, starting from ``rigid`` (fixed to moving, LPS mm).

    Both images show the same contrast; their histograms are matched first. In and around the lesions of either the
    images are made equal, so that a lesion that has grown or gone exerts no force and the field is interpolated there
    (cost-function masking, Brett 2001, NeuroImage 14:486).

    Args:
        fixed_labels, moving_labels: label maps on any grid in the space of their images; 0 is background.
    """
    rigid = rigid or sitk.Transform(3, sitk.sitkIdentity)
    grid = model_grid(fixed, (max(_SPACING_MM, *fixed.GetSpacing()[:2]),) * 3, "LPS")
    fixed_on_grid = resample_image(sitk.BinShrink(fixed, _shrinking(fixed)), grid)
    moving_on_grid = resample_image(sitk.BinShrink(moving, _shrinking(moving)), grid, rigid)
    matched = sitk.HistogramMatching(moving_on_grid, fixed_on_grid, _HISTOGRAM_LEVELS, _MATCH_POINTS, True)
    lesions = sitk.Maximum(
        resample_labels(_labelled(fixed_labels), grid, sitk.Transform(3, sitk.sitkIdentity)),
        resample_labels(_labelled(moving_labels), grid, rigid),
    )
    around = sitk.BinaryDilate(lesions, [round(_AROUND_LESIONS_MM / edge) for edge in grid.GetSpacing()])
    field = _demons(fixed_on_grid, sitk.Mask(matched, around == 0) + sitk.Mask(fixed_on_grid, around))
    inverse = sitk.InvertDisplacementField(field, maximumNumberOfIterations=20)
    shifts = np.linalg.norm(sitk.GetArrayFromImage(field), axis=-1)
    grey = sitk.GetArrayViewFromImage(fixed_on_grid)
    within = float(np.percentile(shifts[grey > grey.mean()], 95))
    forward, backward = sitk.DisplacementFieldTransform(field), sitk.DisplacementFieldTransform(inverse)
    return Deformation(  # ITK applies the last transform first
        sitk.CompositeTransform([rigid, forward]), sitk.CompositeTransform([backward, rigid.GetInverse()]), within
    )


def _demons(fixed: sitk.Image, moving: sitk.Image) -> sitk.Image:
    """The displacement field on the grid of ``fixed``, from coarse to fine levels."""
    field: sitk.Image | None = None
    for factor, iterations in _LEVELS:
        small = [max(1, min(factor, size // 16)) for size in fixed.GetSize()]
        one, other = sitk.BinShrink(fixed, small), sitk.BinShrink(moving, small)
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetNumberOfThreads(1)  # for results that do not depend on the machine
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
