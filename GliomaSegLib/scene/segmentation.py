"""The labels of a segmentation node as one array, exact after any edit of its segments.

Slicer renumbers labels, crops images and moves segments into other layers. So a segment is never identified by its
label value: what its name says counts, as that is what the user sees; under another name it carries its label of the
internal scheme in a tag (which Slicer saves), and segments that a user made are recognised by terminology. All labels
are on the voxel grid of the node's reference volume.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.terminology import PAINT_ORDER, known_names, recognise, segment_styles
from GliomaSegLib.label_maps import values_held
from GliomaSegLib.labels import Label
from GliomaSegLib.preprocessing.cropping import Box, bounding_box
from GliomaSegLib.scene.attributes import GRID, LABEL_TAG, volume_role
from GliomaSegLib.scene.volumes import parent_to_world

_BINARY = "Binary labelmap"
REFERENCE_GEOMETRY = "Reference image geometry"
_TERMINOLOGY = "TerminologyEntry"


def labels_of(node: slicer.vtkMRMLSegmentationNode) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The labels of a segmentation node in the internal scheme, on its reference grid.

    Returns:
        ``uint8`` array ``[k, j, i]``, and the 4 x 4 matrix from (i, j, k) to RAS mm of the world. Where segments
        overlap, ET has precedence over NETC, RC, SNFH.

    Raises:
        InputError: a segment is none that GliomaSeg knows, or the node has no reference grid.
    """
    grid = grid_of(node)
    labels = np.zeros(grid.GetDimensions()[::-1], np.uint8)
    box, masks = _masks(node, grid)
    known = {identifier: label_of(node, identifier) for identifier in masks}
    for label in PAINT_ORDER:
        for identifier, mask in masks.items():
            if known[identifier] is label:
                labels[box][mask] = label
    return labels, parent_to_world(node) @ matrix_of(grid)


def set_labels(node: slicer.vtkMRMLSegmentationNode, labels: NDArray[np.uint8]) -> None:
    """Give a segmentation node other labels: ``uint8`` ``[k, j, i]`` on its reference grid, internal scheme.

    Segments keep name, colour and terminology, and are stored in one layer. Of several segments of one label each keeps
    its voxels, and the first gets the new ones. A label without a segment gets one.

    Raises:
        InputError: as :func:`labels_of`.
    """
    grid = grid_of(node)
    box, masks = _masks(node, grid)
    owners: dict[Label, list[str]] = {}
    for identifier in masks:
        owners.setdefault(label_of(node, identifier), []).append(identifier)
    for value in map(int, values_held(labels)):
        if Label(value) not in owners:
            owners[Label(value)] = [_add_segment(node, Label(value))]
    values, layer = {}, labels.copy()
    for label, (first, *others) in owners.items():
        values[first] = int(label)
        for extra in others:
            values[extra] = len(Label) + len(values)
            layer[box][masks[extra] & (labels[box] == label) & ~masks[first]] = values[extra]
    _put_layer(node, grid, layer, values)


def label_of(node: slicer.vtkMRMLSegmentationNode, identifier: str) -> Label:
    """The label of a segment: by its name (also of a copy), which a user may have changed, else its tag, its
    terminology or its identifier.

    Raises:
        InputError: it is none that GliomaSeg knows.
    """
    segment = node.GetSegmentation().GetSegment(identifier)
    named, tagged = recognise(segment.GetName(), "", ""), _tag(segment, LABEL_TAG)
    if tagged and named is None:
        return Label(int(tagged))
    label = named or recognise("", identifier, _tag(segment, _TERMINOLOGY))
    if label is None:
        raise InputError(
            f"The segmentation '{node.GetName()}' holds the segment '{segment.GetName()}', which is none of "
            f"{known_names()}; rename or delete it."
        )
    return label


def known_labels(node: slicer.vtkMRMLSegmentationNode) -> dict[str, Label]:
    """The label of each segment by its identifier, without the segments that GliomaSeg does not know."""
    found, segmentation = {}, node.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        with contextlib.suppress(InputError):
            found[segmentation.GetNthSegmentID(index)] = label_of(node, segmentation.GetNthSegmentID(index))
    return found


def reference_of(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume that a segmentation was made on; ``None`` when it is not in the scene."""
    return node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())


def volumes_of(segmentation: slicer.vtkMRMLSegmentationNode) -> dict[Modality, slicer.vtkMRMLScalarVolumeNode]:
    """The images from which a result was made, as far as they are still in the scene."""
    nodes = {modality: segmentation.GetNodeReference(volume_role(modality)) for modality in Modality}
    return {modality: node for modality, node in nodes.items() if node is not None}


def segments_of(node: slicer.vtkMRMLSegmentationNode) -> list[slicer.vtkSegment]:
    """The segments in the order of the node."""
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]


def layers_of(node: slicer.vtkMRMLSegmentationNode) -> list[slicer.vtkOrientedImageData]:
    """The label maps of the node; several segments may share one."""
    segmentation = node.GetSegmentation()
    return [segmentation.GetLayerDataObject(index, _BINARY) for index in range(segmentation.GetNumberOfLayers(_BINARY))]


def grid_of(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkOrientedImageData:
    """The reference grid as an image without voxels; that of a result also when the editor's source volume changed."""
    text = node.GetAttribute(GRID) or node.GetSegmentation().GetConversionParameter(REFERENCE_GEOMETRY)
    grid = slicer.vtkOrientedImageData()
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, grid, False):
        raise InputError(
            f"The segmentation '{node.GetName()}' has no reference grid; choose its source volume in the editor."
        )
    return grid


def _masks(
    node: slicer.vtkMRMLSegmentationNode, grid: slicer.vtkOrientedImageData
) -> tuple[tuple[slice, ...], dict[str, NDArray[np.bool_]]]:
    """A box of ``grid`` around all segments, and the mask ``[k, j, i]`` of each in it by its identifier: the tumour is
    a hundredth of the grid, and masks of the whole grid would slow down each edit."""
    segmentation = node.GetSegmentation()
    if not segmentation.GetNumberOfSegments():
        return (slice(0, 0),) * 3, {}
    if not segmentation.CreateRepresentation(_BINARY):
        raise InputError(f"The segmentation '{node.GetName()}' cannot be turned into voxels; undo its last change.")
    segments = {segmentation.GetNthSegmentID(index): segment for index, segment in enumerate(segments_of(node))}
    layer_of = {identifier: segment.GetRepresentation(_BINARY) for identifier, segment in segments.items()}
    found = {layer.GetAddressAsString(""): layer for layer in layer_of.values()}
    found = {key: _on_grid(layer, grid) for key, layer in found.items()}
    filled = [(begin, voxels) for begin, voxels in found.values() if voxels.size]
    if not filled:
        return (slice(0, 0),) * 3, dict.fromkeys(segments, np.zeros((0, 0, 0), bool))
    low = np.min([begin for begin, _ in filled], axis=0)
    high = np.max([begin + voxels.shape[::-1] for begin, voxels in filled], axis=0)
    masks = {}
    for identifier, segment in segments.items():
        begin, voxels = found[layer_of[identifier].GetAddressAsString("")]
        masks[identifier] = np.zeros((high - low)[::-1], bool)
        masks[identifier][_box(begin - low, begin - low + voxels.shape[::-1])] = voxels == segment.GetLabelValue()
    return _box(low, high), masks


def _on_grid(
    layer: slicer.vtkOrientedImageData, grid: slicer.vtkOrientedImageData
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """The labels of a layer in the smallest box around all that are not 0, after the box's first voxel (i, j, k) on
    ``grid``: shifted by whole voxels where possible, else resampled with nearest neighbour."""
    nothing = np.array(grid.GetExtent()[::2]), np.zeros((0, 0, 0), np.uint8)
    if not layer.GetNumberOfPoints() or layer.GetPointData().GetScalars() is None:
        return nothing
    shift = np.linalg.inv(matrix_of(grid)) @ matrix_of(layer)
    offset = np.round(shift[:3, 3]).astype(int)
    exact = np.eye(4)
    exact[:3, 3] = offset
    size = max(np.abs(layer.GetExtent()).max(), 1)
    if np.abs((shift - exact)[:3, :3]).max() * size > 0.1 or np.abs((shift - exact)[:3, 3]).max() > 0.1:
        resampled = slicer.vtkOrientedImageData()
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(layer, grid, resampled)
        layer, offset = resampled, np.zeros(3, int)
    begin, end = np.reshape(layer.GetExtent(), (3, 2)).T
    begin, end = begin + offset, end + offset + 1
    low, high = np.maximum(begin, 0), np.minimum(end, grid.GetDimensions())
    if (low >= high).any():
        return nothing
    voxels = vtk_to_numpy(layer.GetPointData().GetScalars()).reshape(layer.GetDimensions()[::-1])
    voxels = voxels[_box(low - begin, high - begin)]
    box = occupied_box(voxels)
    return low + [side.start for side in box[::-1]], voxels[box]


def _put_layer(
    node: slicer.vtkMRMLSegmentationNode,
    grid: slicer.vtkOrientedImageData,
    layer: NDArray[np.uint8],
    values: Mapping[str, int],
) -> None:
    image = slicer.vtkOrientedImageData()
    image.SetExtent(grid.GetExtent())
    matrix = vtk.vtkMatrix4x4()
    grid.GetImageToWorldMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    image.GetPointData().SetScalars(numpy_to_vtk(layer.ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR))
    segmentation = node.GetSegmentation()
    with slicer.util.NodeModify(node):
        for identifier, value in values.items():
            segment = segmentation.GetSegment(identifier)
            segment.SetLabelValue(value)
            segment.AddRepresentation(_BINARY, image)
        image.Modified()  # notifies the segmentation, which makes its surfaces again


def _add_segment(node: slicer.vtkMRMLSegmentationNode, label: Label) -> str:
    style = segment_styles()[label]
    segment = slicer.vtkSegment()
    segment.SetName(style.name)
    segment.SetColor(*(channel / 255 for channel in style.colour))
    segment.SetTag(_TERMINOLOGY, style.slicer_entry)
    segment.SetTag(LABEL_TAG, str(int(label)))
    segmentation = node.GetSegmentation()
    identifier = segmentation.GenerateUniqueSegmentID(style.identifier)
    segmentation.AddSegment(segment, identifier)
    return identifier


def _tag(segment: slicer.vtkSegment, key: str) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(key, value) else ""


def matrix_of(image: slicer.vtkOrientedImageData) -> NDArray[np.float64]:
    """The 4 x 4 matrix from (i, j, k) to RAS mm."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def image_data(array: NDArray[np.generic], vtk_type: int | None = None) -> vtk.vtkImageData:
    """A copy of an array ``[k, j, i]`` as VTK image data with spacing 1, by default in the array's own type."""
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True, array_type=vtk_type))
    return image


def _box(low: NDArray[np.integer], high: NDArray[np.integer]) -> tuple[slice, ...]:
    return tuple(slice(int(begin), int(end)) for begin, end in zip(low[::-1], high[::-1], strict=True))


def occupied_box(array: NDArray) -> Box:
    """The smallest box around all non-zero elements ``[k, j, i]``; empty when all are 0."""
    mask = array != 0
    return bounding_box(mask) if mask.any() else (slice(0, 0),) * 3
