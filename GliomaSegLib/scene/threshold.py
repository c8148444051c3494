"""Applies another threshold to the whole tumour's probability map, with a preview while a slider moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.results.layout import BRAIN, probability_map
from GliomaSegLib.scene.edits import Edits
from GliomaSegLib.scene.keeping import copies_of, has_file
from GliomaSegLib.scene.segmentation import labels_of, set_labels
from GliomaSegLib.scene.volumes import own_matrix

MODEL_THRESHOLD = 0.5
_MAP = probability_map(Path(), Region.WT).name
_LEAST_SHOWN = 0.05  # the file holds 0 where the probability is lower


def thresholded(labels: NDArray[np.uint8], probability: NDArray[np.uint8], threshold: float) -> NDArray[np.uint8]:
    """The labels with another threshold for the whole tumour.

    At the model's own threshold nothing changes. Above it, tumour with a lower probability than ``threshold`` becomes
    background; below it, background with at least this probability becomes SNFH. The resection cavity stays.

    Args:
        labels: internal scheme, any shape.
        probability: 0..255, same shape.
        threshold: 0 to 1.
    """
    likely = probability >= threshold * 255
    changed = labels.copy()
    if threshold > MODEL_THRESHOLD:
        changed[region_mask(labels, Region.WT) & ~likely] = Label.BACKGROUND
    elif threshold < MODEL_THRESHOLD:
        changed[(labels == Label.BACKGROUND) & likely] = Label.SNFH
    return changed


class Rethreshold:
    """Previews thresholds: each :meth:`preview` starts from the original labels, :meth:`keep` makes it an edit.

    Args:
        change: gives the labels from the original ones, the probability and a threshold; by default
            :func:`thresholded`, for one lesion :func:`~GliomaSegLib.scene.lesions.lesion_thresholded`.

    Raises:
        InputError: see :func:`load_probability`.
    """

    def __init__(
        self,
        edits: Edits,
        change: Callable[[NDArray[np.uint8], NDArray[np.uint8], float], NDArray[np.uint8]] = thresholded,
    ) -> None:
        self._edits, self._change = edits, change
        self._before, _ = labels_of(edits.node)
        self._probability = load_probability(edits.node)
        self._now = self._before

    def preview(self, threshold: float) -> None:
        """Show the labels with ``threshold`` (0 to 1)."""
        now = self._change(self._before, self._probability, threshold)
        if not np.array_equal(now, self._now):
            set_labels(self._edits.node, now)
            self._now = now

    def keep(self) -> None:
        """Keep the preview, as one edit that can be undone."""
        self._edits.remember(self._before, self._now)
        self._before = self._now


def has_probability(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether a result has a probability map of the whole tumour: only one that may be thresholded is stored."""
    return has_file(node, _MAP)


def load_probability(node: slicer.vtkMRMLSegmentationNode) -> NDArray[np.uint8]:
    """The whole tumour's probability map of a segmentation node, 0..255 ``[k, j, i]`` on the node's grid.

    Raises:
        InputError: there is none, or it does not fit.
    """
    crop, offset = _crop(node)
    whole = np.zeros(labels_of(node)[0].shape, np.uint8)
    place = tuple(slice(begin, begin + size) for begin, size in zip(offset[::-1], crop.shape, strict=True))
    if min(offset) < 0 or whole[place].shape != crop.shape:
        raise InputError(f"The probability map of '{node.GetName()}' does not fit it; segment the case again.")
    whole[place] = crop
    return whole


def show_probability(
    scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLSegmentationNode
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add the probability map (0..255) as a volume node in the position of the segmentation, for an overlay.

    Raises:
        InputError: there is no map.
    """
    crop, offset = _crop(node)
    _, matrix = labels_of(node)
    shift = np.eye(4)
    shift[:3, 3] = offset
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{node.GetName()} probability of {Region.WT.value}")
    slicer.util.updateVolumeFromArray(volume, crop)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix @ shift))
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 255)
    display.SetLowerThreshold(_LEAST_SHOWN * 255)
    display.ApplyThresholdOn()
    if scene.GetNodeByID("vtkMRMLColorTableNodeRainbow") is not None:
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    return volume


def _crop(node: slicer.vtkMRMLSegmentationNode) -> tuple[NDArray[np.uint8], list[int]]:
    """The cropped map ``[k, j, i]`` of the file, and the index (i, j, k) of its first voxel on the result's grid."""
    if not has_probability(node):
        raise InputError(
            f"There is no probability map of '{node.GetName()}': its model gives none that may be thresholded, or the "
            "files of the result are gone."
        )
    with copies_of(node, _MAP, BRAIN) as folder:
        crop, grid = read_volume(folder / _MAP), read_volume(folder / BRAIN)  # the brain mask is on the whole grid
    offset = np.round((np.linalg.inv(own_matrix(grid)) @ own_matrix(crop))[:3, 3]).astype(int)
    return slicer.util.arrayFromVolume(crop), offset.tolist()


def read_volume(path: Path) -> slicer.vtkMRMLScalarVolumeNode:
    """Read an image file of a result as a node that is in no scene.

    Raises:
        InputError: it is missing or damaged.
    """
    volume, storage = slicer.vtkMRMLScalarVolumeNode(), slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not path.is_file() or not storage.ReadData(volume):
        raise InputError(f"{path} is missing or damaged; segment the case again.")
    return volume
