"""Co-registered, 1 mm, skull-stripped cases with reference labels.

Networks are trained on them, and the effect of missing sequences is studied on them: registration and brain mask are
the same for every subset, so only the network's input differs (Eijgelaar 2020).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import CaseRow
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.folder import MANIFEST, PROGRAM, is_result_folder, written_whole
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.images import read_image, read_labels
from GliomaSegLib.io.names import file_stem
from GliomaSegLib.label_maps import from_internal
from GliomaSegLib.options import BrainMethod
from GliomaSegLib.preprocessing.prepare import prepare
from GliomaSegLib.preprocessing.registration import register_case
from GliomaSegLib.preprocessing.resampling import resample_labels
from GliomaSegLib.progress import Silent
from GliomaSegLib.study.reading import oriented_case, read_case
from GliomaSegLib.zoo.brain_mask import brain_extractor

SPACING_MM = (1.0, 1.0, 1.0)

_REFERENCE = "truth.nii.gz"


@dataclass(frozen=True)
class PreparedCase:
    """A case on one grid of ``SPACING_MM``, its voxel axes running LPS.

    Attributes:
        images: ``float32``, exactly 0 outside the brain.
        brain: ``uint8`` mask.
        reference: ``uint8`` labels, internal scheme.
    """

    images: Mapping[Modality, sitk.Image]
    brain: sitk.Image
    reference: sitk.Image


def prepare_case(row: CaseRow, device: torch.device, bias_correction: bool = False) -> PreparedCase:
    """Prepare one case as :mod:`GliomaSegLib.pipeline.run` does.

    A case whose geometry is a placeholder cannot be registered. Its images must be stripped and on one grid; their axes
    are taken for LPS and a voxel for 1 mm.

    Args:
        bias_correction: whether N4 corrects each image.

    Raises:
        InputError: a file cannot be used, or the labels do not lie on the image that they were drawn on.
    """
    if row.placeholder and bias_correction:
        raise InputError("its geometry is a placeholder, so that no bias field can be estimated; do without N4.")
    if row.placeholder:
        return _without_geometry(row)
    case = oriented_case(read_case(None, dict(row.images), identifier=row.case, wanted=tuple(row.images)))
    registrations = register_case(case, Silent())
    prepared = prepare(
        case,
        registrations,
        brain_extractor(BrainMethod.DEEPBET, device, torch.float32),
        Silent(),
        spacing_mm=SPACING_MM,
        orientation="LPS",
        stripped=True,
        bias_correction=bias_correction,
    )
    internal = read_labels(row.reference, row.scheme)
    drawn_on = registrations.get(row.drawn_on) if row.drawn_on else None
    moved = resample_labels(internal, prepared.brain, drawn_on.transform if drawn_on else None)
    if sitk.GetArrayViewFromImage(internal).any() and not sitk.GetArrayViewFromImage(moved).any():
        raise InputError(
            f"none of the labels of {row.reference} lie on the images; check that they are of the same study."
        )
    return PreparedCase(prepared.images, prepared.brain, moved)


def _without_geometry(row: CaseRow) -> PreparedCase:
    images = {sequence: sitk.GetArrayFromImage(read_image(path)) for sequence, path in row.images.items()}
    reference = sitk.GetArrayFromImage(read_labels(row.reference, row.scheme))
    if len({array.shape for array in (*images.values(), reference)}) > 1:
        raise InputError("its files have different shapes; without a geometry they must be of one grid.")
    brain = np.any([array != 0 for array in images.values()], axis=0).astype(np.uint8)
    return PreparedCase(
        {sequence: sitk.GetImageFromArray(array) for sequence, array in images.items()},
        sitk.GetImageFromArray(brain),
        sitk.GetImageFromArray(reference),
    )


def kept_prepared(row: CaseRow, cache: Path, device: torch.device) -> CaseRow:
    """The table row of the prepared case, whose files are in the folder ``cache``; they are made if they do not exist.

    Raises:
        InputError: see :func:`prepare_case`, or the files cannot be written.
    """
    folder = cache / f"{file_stem(row.case)}-{row.key[:12]}"
    names = {sequence: f"{sequence.value}.nii.gz" for sequence in row.images}
    if not is_result_folder(folder):
        there = prepare_case(row, device)
        with written_whole(folder) as partial:
            for sequence, name in names.items():
                sitk.WriteImage(there.images[sequence], partial / name, useCompression=True)
            numbered = from_internal(sitk.GetArrayFromImage(there.reference), row.scheme)
            sitk.WriteImage(array_on(numbered, there.reference), partial / _REFERENCE, useCompression=True)
            about = {"program": PROGRAM, "kind": "case in place", "case": row.case}
            (partial / MANIFEST).write_text(json.dumps(about), encoding="utf-8")
    images = {sequence: folder / name for sequence, name in names.items()}
    return dataclasses.replace(row, images=images, reference=folder / _REFERENCE, drawn_on=None)
