"""The phantom as a whole: make a head with a tumour, scan it, and write the study with its reference labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on, uncropped
from GliomaSegLib.phantom.anatomy import make_brain, make_skull
from GliomaSegLib.phantom.dicom import write_series
from GliomaSegLib.phantom.painting import Canvas, paint_brain, paint_head, paint_tumour
from GliomaSegLib.phantom.scan import PROTOCOLS, head_movement, scan_head
from GliomaSegLib.phantom.tumour import grow_tumour


@dataclass(frozen=True)
class Phantom:
    """A synthetic study with its reference labels, brain mask and transforms.

    Attributes:
        images: the scan of each sequence, ``uint16``; each with its own grid and head position.
        reference: internal labels (``uint8``: 1 NETC, 2 SNFH, 3 ET) on the grid of T1c.
        brain: the brain with its ventricles and sulci (``uint8``: 1 brain), on the grid of T1c.
        transforms: for each sequence the rigid transform from a point of T1c to the same point of the head in that
            sequence (LPS mm), as ``SimpleITK.Resample`` takes it to resample the sequence to T1c.
    """

    images: Mapping[Modality, sitk.Image]
    reference: sitk.Image
    brain: sitk.Image
    transforms: Mapping[Modality, sitk.Transform]

    def write(self, folder: Path, dicom: bool = False) -> Path:
        """Write the study under ``folder / "study"`` and the reference labels as ``folder / "truth.nii.gz"``.

        The study is one NIfTI file per sequence, or with ``dicom`` one folder of classic MR Image files per series.
        Files of the same names are replaced.

        Returns:
            The folder of the study.

        Raises:
            InputError: the folder cannot be written.
        """
        study = folder / "study"
        try:
            study.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(self.reference, folder / "truth.nii.gz")
            identity = hashlib.sha256(sitk.GetArrayViewFromImage(self.reference).tobytes()).hexdigest()
            for sequence, image in self.images.items():
                if dicom:
                    write_series(image, sequence, study / sequence.value, identity)
                else:
                    sitk.WriteImage(image, study / f"head_{sequence.value}.nii.gz")
        except (OSError, RuntimeError) as error:  # SimpleITK reports a failed write as RuntimeError
            raise InputError(f"The phantom cannot be written to {folder}; choose a folder that can be.") from error
        return study


def make_phantom(seed: int = 0, spacing_mm: float = 1.0) -> Phantom:
    """Make a head with a glioma and scan it four times.

    T1n is a sagittal and T1c an axial volume with cubic voxels of ``spacing_mm``; T2w and T2f are axial slices about
    5 mm thick (a whole number of voxels), those of T2f tilted. T1c is the reference; in the others the head has turned
    by some degrees and moved by some millimetres. The same seed gives the same study bit by bit, and at another spacing
    the same head.

    Args:
        seed: chooses the head's shape, the tumour's outline, the movements and the noise; 0 or more.
        spacing_mm: voxel length of T1n and T1c. 1 takes some seconds; 3 takes one, for tests.

    Raises:
        InputError: the spacing is not between 1 and 4 mm.
    """
    if not 1 <= spacing_mm <= 4:
        raise InputError(f"A phantom cannot be made with voxels of {spacing_mm} mm; choose 1 to 4 mm.")
    head_random, tumour_random, scan_random = (np.random.default_rng([seed, part]) for part in range(3))
    brain = make_brain(spacing_mm, head_random)
    skull = make_skull(brain, head_random)
    tumour = grow_tumour(brain, tumour_random)

    canvas = Canvas(skull.grid)
    paint_head(canvas, skull, head_random)
    paint_brain(canvas, brain)
    paint_tumour(canvas, tumour, tumour_random)

    transforms = {sequence: head_movement(sequence, scan_random) for sequence in Modality}
    images = {
        sequence: scan_head(
            canvas.picture(sequence), PROTOCOLS[sequence], transforms[sequence], spacing_mm, scan_random
        )
        for sequence in Modality
    }
    return Phantom(
        images=images,
        reference=uncropped(array_on(tumour.labels, tumour.grid), images[Modality.T1C]),
        brain=uncropped(array_on(brain.mask, brain.grid), images[Modality.T1C]),
        transforms=transforms,
    )
