"""Time points of a patient drawn in code: balls, rims and boxes of known volume on any grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import TimePoint, TimePointKind
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.volumes import measure
from GliomaSegLib.results.time_point import SegmentedTimePoint

Shape = Callable[[np.ndarray], np.ndarray]
"""Of points ``[n, 3]`` (LPS mm) which lie inside."""

PRE = TimePoint(TimePointKind.PREOPERATIVE)


def after(days: float | None = None) -> TimePoint:
    """A time point after surgery."""
    return TimePoint(TimePointKind.POSTOPERATIVE, days)


def ellipsoid(middle: Sequence[float], half_axes: Sequence[float]) -> Shape:
    """An ellipsoid along the patient's axes."""
    return lambda points: (((points - middle) / half_axes) ** 2).sum(axis=1) <= 1


def ball(middle: Sequence[float], radius: float) -> Shape:
    """A ball."""
    return ellipsoid(middle, (radius,) * 3)


def rim(middle: Sequence[float], radius: float, wall: float) -> Shape:
    """The shell of a ball."""
    outer, inner = ball(middle, radius), ball(middle, radius - wall)
    return lambda points: outer(points) & ~inner(points)


def labels_of(
    *drawn: tuple[Shape, Label],
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    size_mm: Sequence[float] = (90.0, 90.0, 60.0),
    orientation: str = "LPS",
    centre: Sequence[float] = (0.0, 0.0, 0.0),
) -> sitk.Image:
    """An internal label map whose middle is at ``centre``; of two shapes the later one stays.

    Args:
        spacing: along the voxel axes, which run as ``orientation``.
        size_mm: along them.
    """
    size = [round(length / mm) for length, mm in zip(size_mm, spacing, strict=True)]
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing(list(spacing))
    grid.SetDirection(sitk.DICOMOrientImageFilter.GetDirectionCosinesFromOrientation(orientation))
    middle = grid.TransformContinuousIndexToPhysicalPoint([(count - 1) / 2 for count in size])
    grid.SetOrigin((np.asarray(centre) - middle).tolist())
    index = np.indices(size[::-1]).reshape(3, -1)[::-1].T
    points = (index * spacing) @ np.reshape(grid.GetDirection(), (3, 3)).T + grid.GetOrigin()
    array = np.zeros(len(index), np.uint8)
    for shape, label in drawn:
        array[shape(points)] = label
    image = sitk.GetImageFromArray(array.reshape(size[::-1]))
    image.CopyInformation(grid)
    return image


def segmented(
    labels: sitk.Image, when: TimePoint | None = None, day: date | None = None, name: str = "study", **more: object
) -> SegmentedTimePoint:
    """A time point with these labels, drawn by a person, without an image."""
    made = SegmentedTimePoint(
        name=name,
        path=Path(name),
        labels=labels,
        regions=frozenset(Region),
        measures=measure(labels, None, tuple(Region)),
        time_point=when or TimePoint(),
        date=day,
        origin="label file",
    )
    regions = more.pop("regions", None)
    if regions:
        made = replace(made, regions=frozenset(regions), measures=measure(labels, None, tuple(regions)))
    return replace(made, **more)
