"""Folders of results on small grids, and their segmentation nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.io.segnrrd import write_segmentation
from GliomaSegLib.labels import Region
from GliomaSegLib.scene.segmentation_files import read_result, show_result
from Testing.support.scene_host import LPS, SceneHost, ijk_to_ras


def result_of(folder: Path, array: np.ndarray, world: sitk.Image, regions: tuple[Region, ...] = tuple(Region)) -> dict:
    """A folder of results with a segmentation on the grid of ``world``."""
    folder.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(world)
    path, manifest = folder / "segmentation.seg.nrrd", folder / "manifest.json"
    write_segmentation(image, path, regions)
    manifest.write_text(json.dumps({"sha256": {path.name: sha256_of(path)}}))
    return {
        "case_id": "P7",
        "output": str(folder),
        "files": {"slicer_segmentation": str(path), "manifest": str(manifest)},
    }


def moved_image(image: sitk.Image, matrix: np.ndarray) -> sitk.Image:
    """The image where a transform node with ``matrix`` (RAS) shows it."""
    placed = LPS @ matrix @ ijk_to_ras(image)
    result = sitk.Image(image)
    result.SetOrigin(placed[:3, 3].tolist())
    result.SetDirection((placed[:3, :3] / image.GetSpacing()).ravel().tolist())
    return result


def load(host: SceneHost, result: dict[str, Any], reference: Any) -> Any:
    """A segmentation node of a result, in the scene."""
    return show_result(host.scene, read_result(result), result, reference)
