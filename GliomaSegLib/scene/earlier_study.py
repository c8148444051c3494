"""Exports a segmentation of an earlier study and the image that it was drawn on, for the worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.label_maps import from_internal, region_mask
from GliomaSegLib.labels import LabelScheme, Region, regions_of_segments
from GliomaSegLib.scene.segmentation import label_of, labels_of
from GliomaSegLib.scene.volumes import check_volume, exporting, ijk_to_world, write_voxels

_SAME_PLACE_MM = 0.01


def export_study(
    node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, folder: Path, name: str
) -> dict[str, str]:
    """Write a segmentation and the image that it was drawn on to ``folder``, in the positions that the scene shows.

    Args:
        name: of the segmentation's file; the comparison names the study by it.

    Returns:
        a :class:`~GliomaSegLib.job.ComparedStudy` as JSON, without its time point.

    Raises:
        InputError: they are on different grids, a segment is unknown, or as
            :func:`~GliomaSegLib.scene.volumes.exporting`.
    """
    labels, matrix = _labels_on(volume, node)
    scheme = _scheme_of(node)
    path, image = folder / f"{name}.nrrd", folder / "scan-of-it.nrrd"
    write_voxels(from_internal(labels, scheme), matrix, path)
    exporting(volume, image)()
    return {"path": str(path), "image": str(image), "scheme": scheme.value}


def export_tumour(
    node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode, folder: Path
) -> dict[str, str]:
    """As :func:`export_study`, for a model that needs the study before surgery: writes the mask of the tumour core.

    Returns:
        the fields of :class:`~GliomaSegLib.job.Job` with the paths of the image and the mask.

    Raises:
        InputError: also when there is no segment of enhancing tumour or necrosis, which the model needs.
    """
    labels, matrix = _labels_on(volume, node)
    if _scheme_of(node) is LabelScheme.WHOLE_TUMOUR:
        raise InputError(
            f"The segmentation '{node.GetName()}' does not tell enhancing tumour and necrosis apart from edema, as the "
            "model needs it; segment the study before surgery with a model that does."
        )
    path, image = folder / "tumour.nrrd", folder / "scan.nrrd"
    write_voxels(region_mask(labels, Region.TC).astype(np.uint8), matrix, path)
    exporting(volume, image)()
    return {"preoperative": str(image), "preoperative_mask": str(path)}


def _labels_on(
    volume: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLSegmentationNode
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The :func:`~GliomaSegLib.scene.segmentation.labels_of` a node, which must be on the grid of ``volume``."""
    check_volume(volume)
    labels, matrix = labels_of(node)
    if labels.shape != volume.GetImageData().GetDimensions()[::-1] or not np.allclose(
        matrix, ijk_to_world(volume), atol=_SAME_PLACE_MM
    ):
        raise InputError(
            f"The segmentation '{node.GetName()}' lies on another grid than the volume '{volume.GetName()}'; choose "
            "the volume that it was drawn on."
        )
    return labels, matrix


def _scheme_of(node: slicer.vtkMRMLSegmentationNode) -> LabelScheme:
    """The label scheme of a node's segments."""
    segmentation = node.GetSegmentation()
    found = {label_of(node, segmentation.GetNthSegmentID(i)) for i in range(segmentation.GetNumberOfSegments())}
    regions = regions_of_segments(found)
    if Region.TC in regions:
        return LabelScheme.BRATS2024
    return LabelScheme.WHOLE_TUMOUR if Region.WT in regions else LabelScheme.ENHANCING
