"""Lists, deletes, accepts and thresholds the lesions of a segmentation: connected components of the whole tumour.

Position and volume come from the present voxels, diameters from the last measures (the worker's): a lesion that was
edited since has none until it is measured again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from GliomaSegLib.errors import InputError
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.scene.attributes import ACCEPTED_LESIONS
from GliomaSegLib.scene.edits import Edits
from GliomaSegLib.scene.segmentation import image_data, labels_of, occupied_box
from GliomaSegLib.scene.threshold import thresholded

try:
    from vtkITK import vtkITKIslandMath  # in the application
except ImportError:
    from slicer import vtkITKIslandMath  # in slicer-core


_MEASURED = ("long_mm", "perpendicular_mm", "side", "midline_mm", "certainty", "slice")


@dataclass(frozen=True)
class Lesion:
    """One connected component (26 neighbours) of the whole tumour.

    Attributes:
        id: 1 for the largest.
        centre_ras_mm: centroid in world coordinates.
        long_mm, perpendicular_mm, side, midline_mm: from the last measures; ``None`` when the lesion was changed since.
        certainty: the highest probability in it, 0 to 1, from the last measures.
        slice: index of the slice on which it was measured, along the measures' ``slice_axis``.
        accepted: a reader has confirmed it as it is; an edit of it voids that.
    """

    id: int
    voxels: int
    volume_ml: float
    centre_ras_mm: tuple[float, float, float]
    long_mm: float | None
    perpendicular_mm: float | None
    side: str | None
    midline_mm: float | None
    certainty: float | None
    accepted: bool
    slice: int | None = None


def lesions_of(node: slicer.vtkMRMLSegmentationNode, measures: Mapping[str, Any] | None = None) -> list[Lesion]:
    """The lesions, largest first.

    Args:
        measures: the last :class:`~GliomaSegLib.measures.volumes.Measures` as JSON, for the diameters.

    Raises:
        InputError: see :func:`~GliomaSegLib.scene.segmentation.labels_of`.
    """
    labels, matrix = labels_of(node)
    voxel_ml = abs(np.linalg.det(matrix[:3, :3])) / 1000
    accepted = json.loads(node.GetAttribute(ACCEPTED_LESIONS) or "[]")
    rows = (measures or {}).get("lesions", ())  # those of the largest region that was measured come first
    measured = [row for row in rows if row["region"] == rows[0]["region"]]
    lesions = []
    for number, voxels in enumerate(_components(labels), start=1):
        right, anterior, superior = map(float, (matrix @ [*voxels.mean(axis=0)[::-1], 1])[:3])
        centre = (right, anterior, superior)
        row = _measured(measured, len(voxels), centre)
        lesions.append(
            Lesion(
                id=number,
                voxels=len(voxels),
                volume_ml=len(voxels) * voxel_ml,
                centre_ras_mm=centre,
                accepted=_key(labels, voxels) in accepted,
                **{name: row.get(name) for name in _MEASURED},
            )
        )
    return lesions


def delete_lesion(edits: Edits, lesion: Lesion) -> None:
    """Make a lesion background.

    Raises:
        InputError: it is not there any more.
    """
    labels, matrix = labels_of(edits.node)
    labels[tuple(_find(labels, matrix, lesion).T)] = Label.BACKGROUND
    edits.apply(labels)


def lesion_thresholded(
    node: slicer.vtkMRMLSegmentationNode, lesion: Lesion
) -> Callable[[NDArray[np.uint8], NDArray[np.uint8], float], NDArray[np.uint8]]:
    """As :func:`~GliomaSegLib.scene.threshold.thresholded`, for one lesion and what is then connected to it.

    Raises:
        InputError: when called: the lesion is not there any more.
    """
    matrix = labels_of(node)[1]

    def change(labels: NDArray[np.uint8], probability: NDArray[np.uint8], threshold: float) -> NDArray[np.uint8]:
        here = np.zeros(labels.shape, bool)
        here[tuple(_find(labels, matrix, lesion).T)] = True
        everywhere = thresholded(labels, probability, threshold)
        others = region_mask(labels, Region.WT) & ~here
        # New voxels belong to this lesion only where they are connected to it, and not through another lesion.
        joined = np.zeros(labels.shape, np.uint8)
        joined[(here | region_mask(everywhere, Region.WT)) & ~others] = Label.SNFH
        mine = np.zeros(labels.shape, bool)
        for voxels in _components(joined):
            place = tuple(voxels.T)
            if here[place].any():
                mine[place] = True
        return np.where(mine, everywhere, labels)

    return change


def accept_lesion(node: slicer.vtkMRMLSegmentationNode, lesion: Lesion, accepted: bool = True) -> None:
    """Record in an attribute of the node that a reader has confirmed a lesion, or withdraw that.

    Raises:
        InputError: it is not there any more.
    """
    labels, matrix = labels_of(node)
    key = _key(labels, _find(labels, matrix, lesion))
    kept = [other for other in json.loads(node.GetAttribute(ACCEPTED_LESIONS) or "[]") if other != key]
    node.SetAttribute(ACCEPTED_LESIONS, json.dumps([*kept, key] if accepted else kept))


def _components(labels: NDArray[np.uint8]) -> list[NDArray[np.intp]]:
    """Voxel indices (k, j, i) ``[n, 3]`` of each connected component of the whole tumour, largest first."""
    box = occupied_box(labels)  # most of the volume is background
    tumour = region_mask(labels[box], Region.WT)
    occupied = np.argwhere(tumour)
    if not len(occupied):
        return []
    numbers = _numbered(tumour.astype(np.uint32))[tumour]
    order = np.argsort(numbers, kind="stable")
    occupied += [side.start for side in box]
    return np.split(occupied[order], np.cumsum(np.bincount(numbers)[1:])[:-1])


def component_at(mask: NDArray[np.bool_], index: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """The connected component (26 neighbours) of a mask at a voxel; ``None`` when that is not in the mask."""
    if not mask[index]:
        return None
    box = occupied_box(mask)
    numbers = _numbered(mask[box].astype(np.uint32))
    part = np.zeros_like(mask)
    part[box] = numbers == numbers[tuple(place - side.start for place, side in zip(index, box, strict=True))]
    return part


def _numbered(mask: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The number of each voxel's connected component (26 neighbours), 1 for the largest; 0 outside of the mask."""
    islands = vtkITKIslandMath()
    islands.SetInputData(image_data(mask, vtk.VTK_UNSIGNED_INT))
    islands.SetFullyConnected(True)
    islands.SetMinimumSize(0)
    islands.Update()
    return vtk_to_numpy(islands.GetOutput().GetPointData().GetScalars()).reshape(mask.shape)


def _find(labels: NDArray[np.uint8], matrix: NDArray[np.float64], lesion: Lesion) -> NDArray[np.intp]:
    for voxels in _components(labels):
        centre = (matrix @ [*voxels.mean(axis=0)[::-1], 1])[:3]
        if len(voxels) == lesion.voxels and math.dist(centre, lesion.centre_ras_mm) < 1:
            return voxels
    raise InputError(f"Lesion {lesion.id} is not there any more as it was listed; look at the list again.")


def _measured(rows: list[Mapping[str, Any]], voxels: int, centre: tuple[float, ...]) -> Mapping[str, Any]:
    same = [row for row in rows if row["voxels"] == voxels and math.dist(row["centre_ras_mm"], centre) < 1]
    return min(same, key=lambda row: math.dist(row["centre_ras_mm"], centre), default={})


def _key(labels: NDArray[np.uint8], voxels: NDArray[np.intp]) -> str:
    """A key from a lesion's labels and centroid, so that an edit changes the key."""
    sizes = np.bincount(labels[tuple(voxels.T)], minlength=len(Label))
    return f"{sizes.tolist()} at {np.round(voxels.mean(axis=0), 2).tolist()}"
