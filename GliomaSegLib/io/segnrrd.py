"""Reads and writes 3D Slicer's segmentation files (``.seg.nrrd``): label maps with names, colours and codes.

The format is that of Slicer's vtkMRMLSegmentationStorageNode: an NRRD image with ``SegmentN_*`` and ``Segmentation_*``
fields. Slicer may renumber label values, crop the image to the segments and store overlapping segments in several
layers (components of a vector image), so segments are recognised by names and codes, never by their values.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on, empty_like, quiet_itk, uncropped
from GliomaSegLib.io.terminology import (
    PAINT_ORDER,
    SegmentStyle,
    known_names,
    recognise,
    segment_styles,
    undivided_style,
)
from GliomaSegLib.label_maps import values_held
from GliomaSegLib.labels import Label, Region, distinguishes_parts

_REPRESENTATION = "Binary labelmap"
_GEOMETRY_NUMBERS = 22  # of Slicer's text for a grid, see _reference_geometry
_MOST_LOST = 0.01  # fraction of the drawn voxels that may lie outside of the image: rounding at its border
_SAME_STEP = 1e-3  # fraction of a voxel: tolerance for equal voxel sizes
_MOST_VOXELS = 2**30  # larger grids are damaged


def write_segmentation(labels: sitk.Image, path: Path, regions: Collection[Region] = tuple(Region)) -> None:
    """Write an internal label map (3-D, integer) as a Slicer segmentation with one segment per label.

    All four segments are always written, also empty ones, so that a reviewer can draw what is missing. If parts of the
    tumour were not distinguished (neither TC nor ET in ``regions``), there is one segment for the whole tumour, and one
    for the cavity if RC is in ``regions``. Label values are the internal ones; the image has the whole grid of
    ``labels``, which is also the reference geometry.

    Raises:
        ValueError: a label occurs that has no segment.
        InputError: the file cannot be written.
    """
    array = sitk.GetArrayViewFromImage(labels).astype(np.uint8)
    styles = _styles_for(regions)
    nameless = set(values_held(array)) - {style.label for style in styles}
    if nameless:
        raise ValueError(f"the labels {sorted(map(int, nameless))} have no segment when the regions are {regions}")
    image = array_on(array, labels)
    for key, value in _segmentation_fields(image).items():
        image.SetMetaData(key, value)
    for index, style in enumerate(styles):
        for key, value in _segment_fields(style, array == style.label).items():
            image.SetMetaData(f"Segment{index}_{key}", value)
    try:
        with quiet_itk():
            sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise InputError(
            f"The segmentation '{path}' cannot be written; check that the folder exists, is writable and has space."
        ) from error


def read_segmentation(path: Path, reference: sitk.Image | None = None) -> sitk.Image:
    """As :func:`read_segments`, the label map alone."""
    return read_segments(path, reference)[0]


def read_segments(path: Path, reference: sitk.Image | None = None) -> tuple[sitk.Image, frozenset[Label]]:
    """Read a Slicer segmentation into an internal label map (``uint8``, 3-D), and the labels that have a segment.

    Segments are recognised by name (also of copies: ``Enhancing tumour_1``), else by their coded type, else by their
    identifier; several segments of one kind are joined. Where different ones overlap, ET goes before NETC, RC, SNFH.

    Args:
        path: a ``.seg.nrrd`` file with one or several layers.
        reference: the image to whose grid the result is resampled (nearest neighbour); by default the grid of the image
            on which it was drawn, which Slicer stores in the file.

    Raises:
        InputError: the file is no segmentation, holds a segment of another name, or does not overlap ``reference``.
    """
    image = _read_image(path)
    layers = _layers(image)
    masks: dict[Label, NDArray[np.bool_]] = {}
    for segment in _segments(image, path):
        label = _recognise(segment, path)
        if not 0 <= segment.layer < len(layers):
            raise InputError(f"The segmentation '{path}' is damaged: the layer of '{segment.name}' is not there.")
        mask = layers[segment.layer] == segment.value
        masks[label] = masks[label] | mask if label in masks else mask
    array = np.zeros(layers[0].shape, np.uint8)
    for label in PAINT_ORDER:
        if label in masks:
            array[masks[label]] = label
    labels = array_on(array, image)
    return _resample(labels, _drawn_on(image) if reference is None else reference, path), frozenset(masks)


def _styles_for(regions: Collection[Region]) -> list[SegmentStyle]:
    if distinguishes_parts(regions):
        return list(segment_styles().values())
    return [undivided_style(), *([segment_styles()[Label.RC]] if Region.RC in regions else [])]


@dataclass(frozen=True)
class _Segment:
    """One segment of a file: its name, identifier and codes, and its value in its layer."""

    name: str
    identifier: str
    terminology: str
    layer: int
    value: int


def _segmentation_fields(image: sitk.Image) -> dict[str, str]:
    return {
        "Segmentation_ContainedRepresentationNames": f"{_REPRESENTATION}|",
        "Segmentation_ConversionParameters": f"Reference image geometry|{_reference_geometry(image)}|&",
        "Segmentation_MasterRepresentation": _REPRESENTATION,
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }


def _reference_geometry(image: sitk.Image) -> str:
    """Slicer's text for a grid: the voxel-to-RAS matrix by rows and the extent, each number followed by ``;``."""
    to_world = np.eye(4)
    to_world[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    to_world[:3, 3] = image.GetOrigin()
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ to_world
    extent = [bound for size in image.GetSize() for bound in (0, size - 1)]
    return "".join(f"{number:.17g};" for number in [*to_ras.ravel(), *extent])


def _drawn_on(image: sitk.Image) -> sitk.Image:
    """The reference grid of a file that Slicer may have cropped; that of the image if none is stored."""
    key = "Segmentation_ConversionParameters"
    text = image.GetMetaData(key) if image.HasMetaDataKey(key) else ""
    found = re.search(r"Reference image geometry\|([-+.\deE;]+)", text)
    try:
        numbers = [float(number) for number in found.group(1).split(";") if number] if found else []
    except ValueError:
        return image
    if len(numbers) != _GEOMETRY_NUMBERS:
        return image
    to_world = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.reshape(numbers[:16], (4, 4))
    first, last = np.array(numbers[16::2]), np.array(numbers[17::2])
    spacing = np.linalg.norm(to_world[:3, :3], axis=0)
    own = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    size = last - first + 1
    if (
        np.abs(own - to_world[:3, :3]).max() > _SAME_STEP * spacing.min()
        or (size < image.GetSize()).any()
        or size.prod() > _MOST_VOXELS
    ):
        return image  # the voxels of the segmentation are finer than those of the image
    grid = sitk.Image(size.astype(int).tolist(), sitk.sitkUInt8)
    grid.SetSpacing(image.GetSpacing())
    grid.SetDirection(image.GetDirection())
    grid.SetOrigin((to_world[:3, :3] @ first + to_world[:3, 3]).tolist())
    return grid


def _segment_fields(style: SegmentStyle, mask: NDArray[np.bool_]) -> dict[str, str]:
    return {
        "ID": style.identifier,
        "Name": style.name,
        "NameAutoGenerated": "0",
        "Color": " ".join(f"{channel / 255:.6g}" for channel in style.colour),
        "ColorAutoGenerated": "0",
        "LabelValue": str(int(style.label)),
        "Layer": "0",
        "Extent": _extent(mask),
        "Tags": f"TerminologyEntry:{style.slicer_entry}|",
    }


def _extent(mask: NDArray[np.bool_]) -> str:
    """First and last voxel along x, y, z; ``0 -1`` thrice for an empty segment."""
    bounds = []
    for axis in (2, 1, 0):
        occupied = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        bounds += [occupied[0], occupied[-1]] if occupied.size else [0, -1]
    return " ".join(map(str, bounds))


def _read_image(path: Path) -> sitk.Image:
    if not Path(path).is_file():
        raise InputError(f"The segmentation '{path}' does not exist; check the path.")
    try:
        with quiet_itk():
            image = sitk.ReadImage(str(path))
    except (RuntimeError, ValueError, MemoryError) as error:
        raise InputError(f"The segmentation '{path}' cannot be read as an NRRD image; save it again.") from error
    if image.GetDimension() != 3:
        raise InputError(f"The segmentation '{path}' is {image.GetDimension()}-D; give a three-dimensional one.")
    return image


def _layers(image: sitk.Image) -> list[NDArray]:
    """The label map of each layer, ``[z, y, x]``."""
    array = sitk.GetArrayFromImage(image)
    return [array] if array.ndim == 3 else list(np.moveaxis(array, -1, 0))


def _segments(image: sitk.Image, path: Path) -> list[_Segment]:
    indices = sorted(
        int(match.group(1))
        for match in (re.fullmatch(r"Segment(\d+)_ID", key) for key in image.GetMetaDataKeys())
        if match
    )
    # A segmentation that Slicer saved after its last segment was deleted names its content but has no segment.
    if not indices and not image.HasMetaDataKey("Segmentation_ContainedRepresentationNames"):
        raise InputError(
            f"'{path}' is a plain image without segments; give a segmentation saved by GliomaSeg or Slicer."
        )

    def field(index: int, key: str, default: str) -> str:
        name = f"Segment{index}_{key}"
        return image.GetMetaData(name).strip() if image.HasMetaDataKey(name) else default

    try:
        # Files from before layers were shared have neither field: each segment is a layer of ones.
        return [
            _Segment(
                name=field(index, "Name", ""),
                identifier=field(index, "ID", ""),
                terminology=field(index, "Tags", ""),
                layer=int(field(index, "Layer", str(index))),
                value=int(field(index, "LabelValue", "1")),
            )
            for index in indices
        ]
    except ValueError as error:
        raise InputError(f"The segmentation '{path}' is damaged: a layer or label value is no number.") from error


def _recognise(segment: _Segment, path: Path) -> Label:
    label = recognise(segment.name, segment.identifier, segment.terminology)
    if label is None:
        raise InputError(
            f"The segmentation '{path}' holds the segment '{segment.name}', which is none of {known_names()}; rename "
            "or delete it."
        )
    return label


def _resample(labels: sitk.Image, reference: sitk.Image, path: Path) -> sitk.Image:
    drawn = sitk.GetArrayViewFromImage(labels) != 0
    shown = uncropped(empty_like(reference) + 1, labels)
    lost = np.count_nonzero(drawn & (sitk.GetArrayViewFromImage(shown) == 0))
    if lost > _MOST_LOST * np.count_nonzero(drawn):
        raise InputError(
            f"The segmentation '{path}' lies outside of the image that it is read for with {lost} of its "
            f"{np.count_nonzero(drawn)} voxels; give the image that it was drawn on."
        )
    return uncropped(labels, reference)
