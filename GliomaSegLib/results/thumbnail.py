"""Draws a small picture of a result: the axial slice with the largest area of tumour, with outlines of regions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from GliomaSegLib.case import Source
from GliomaSegLib.errors import GliomaSegError
from GliomaSegLib.io.grid import oriented
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.terminology import region_styles
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.results.layout import BRAIN, LABEL_MAP
from GliomaSegLib.results.slice_pictures import DRAWING_ORDER, Viewer
from GliomaSegLib.study.reading import read_source

_HEIGHT_PIXELS = 160
_MARGIN = 0.08  # of the brain's size, left around it


def thumbnail(folder: Path, manifest: Mapping[str, Any], kept: Path) -> bool:
    """Draw the picture of a result folder; ``False`` if that failed.

    Args:
        kept: the JPEG file of the picture, which is drawn again when the labels are newer.
    """
    try:
        if not kept.is_file() or kept.stat().st_mtime < (folder / LABEL_MAP).stat().st_mtime:
            kept.parent.mkdir(parents=True, exist_ok=True)
            draw(folder, manifest).save(kept, "JPEG", quality=80)
        return True
    except Exception:  # whatever is wrong with a result: a picture is not worth a batch
        return False


def draw(folder: Path, manifest: Mapping[str, Any]) -> Image.Image:
    """The picture in radiological convention: the patient's right on the left, anterior at the top.

    Where the image of the study is no longer there, the brain mask is drawn instead.
    """
    labels = read_labels(folder / LABEL_MAP, LabelScheme(manifest["job"].get("label_scheme", "gliomaseg")))
    brain = read_labels(folder / BRAIN)
    image = _reference(manifest, labels)
    viewer = Viewer(labels, brain if image is None else image, brain, list(Region))
    index = viewer.largest("axial").index
    grey = viewer.grey(sitk.Cast(brain, sitk.sitkFloat32) if image is None else image)[index]
    marked = oriented(labels)
    drawn = sitk.GetArrayFromImage(marked)[index]
    around = _box(sitk.GetArrayFromImage(oriented(brain))[index] + drawn)
    return _outlined(grey[around], drawn[around], marked.GetSpacing()[:2])


def _box(mask: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns around a mask with some margin; everything if it is empty."""
    if not mask.any():
        return slice(None), slice(None)
    rows, columns = ndimage.find_objects((mask > 0).astype(np.uint8))[0]
    more = round(_MARGIN * max(rows.stop - rows.start, columns.stop - columns.start))
    return (
        slice(max(0, rows.start - more), rows.stop + more),
        slice(max(0, columns.start - more), columns.stop + more),
    )


def _reference(manifest: Mapping[str, Any], labels: sitk.Image) -> sitk.Image | None:
    record = next(one for one in manifest["sequences"].values() if one["is_reference"])
    try:
        image, _ = read_source(Source(Path(record["path"]), record["series_uid"], record.get("series_part", "")))
    except GliomaSegError:
        return None
    return image if image.GetSize() == labels.GetSize() else None


def _outlined(grey: NDArray[np.uint8], labels: NDArray[np.uint8], spacing_mm: tuple[float, float]) -> Image.Image:
    """A slice ``[y, x]`` whose pixels are ``spacing_mm`` (x, y) large, in square pixels of the picture's height."""
    rows = _HEIGHT_PIXELS
    columns = max(1, round(rows * grey.shape[1] * spacing_mm[0] / (grey.shape[0] * spacing_mm[1])))
    picture = np.asarray(Image.fromarray(grey).resize((columns, rows), Image.Resampling.BICUBIC).convert("RGB")).copy()
    large = np.asarray(Image.fromarray(labels).resize((columns, rows), Image.Resampling.NEAREST))
    for region in DRAWING_ORDER:
        mask = region_mask(large, region)
        picture[mask & ~ndimage.binary_erosion(mask)] = region_styles()[region].colour
    return Image.fromarray(picture)
