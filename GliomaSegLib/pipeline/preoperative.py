"""The pre-operative study as input of networks for the post-operative study (Helland 2023, inputs D and E)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.case import Modality, Preoperative, SequenceVolume, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.folder import is_result_folder
from GliomaSegLib.io.grid import array_on, oriented
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.preprocessing.prepare import Prepared
from GliomaSegLib.preprocessing.registration import register_checked
from GliomaSegLib.preprocessing.resampling import resample_image, resample_labels
from GliomaSegLib.progress import Progress
from GliomaSegLib.results.time_point import on_labels_grid, read_time_point
from GliomaSegLib.study.reading import read_case


@dataclass(frozen=True)
class EarlierStudy:
    """The pre-operative study.

    Attributes:
        name: for messages.
        image: T1 + contrast, in LPS orientation.
        tumour: mask (``uint8``) of the enhancing tumour and what it encloses, on the grid of ``image``.
        patient: Patient ID; empty if not known.
    """

    name: str
    image: sitk.Image
    tumour: sitk.Image
    patient: str = ""

    def registered_to(self, reference: SequenceVolume, progress: Progress) -> RegisteredStudy:
        """Register it to the reference image of the post-operative study.

        Raises:
            InputError: they are of different patients, do not fit, or one is mirrored.
        """
        if self.patient and reference.patient and self.patient != reference.patient:
            raise InputError(
                f"{self.name} and {reference} are of different patients ({self.patient} and {reference.patient}); give "
                "studies of one patient."
            )
        found = register_checked(reference.image, self.image, str(reference), self.name, progress)
        return RegisteredStudy(self, found.transform)


@dataclass(frozen=True)
class RegisteredStudy:
    """The pre-operative study with the transform from the post-operative reference image to it (LPS mm); ``None``:
    identity."""

    study: EarlierStudy
    transform: sitk.Transform | None

    def channels(self, prepared: Prepared, stripped: bool) -> dict[Preoperative, NDArray[np.float32]]:
        """The channels ``[z, y, x]`` on the network's grid; with ``stripped`` 0 outside the post-operative brain.

        Raises:
            InputError: no part of the tumour lies in the post-operative image.
        """
        image = resample_image(self.study.image, prepared.brain, self.transform)
        tumour = resample_labels(self.study.tumour, prepared.brain, self.transform)
        if stripped:
            image, tumour = sitk.Mask(image, prepared.brain), sitk.Mask(tumour, prepared.brain)
        if not sitk.GetArrayViewFromImage(tumour).any():
            raise InputError(
                f"The tumour of {self.study.name} lies wholly outside the brain of the study after surgery; check that "
                "both are of one patient."
            )
        shown = {Preoperative.T1C: image, Preoperative.TUMOUR: tumour}
        return {which: sitk.GetArrayFromImage(one).astype(np.float32) for which, one in shown.items()}


def read_earlier(study: Path, mask: Path | None = None) -> EarlierStudy:
    """Read the pre-operative study.

    Args:
        study: a folder of results, or the T1 + contrast image (a file, or a DICOM folder with only that series).
        mask: label file of the tumour on that image; all values but 0 count.

    Raises:
        InputError: a file cannot be read or does not fit; the results do not distinguish the core, are post-operative
            or have no T1 + contrast; the mask is missing, empty, or given together with results.
    """
    if study.is_dir() and is_result_folder(study):
        if mask is not None:
            raise InputError(f"{study} says itself where the tumour is; leave {mask} out, or give its image instead.")
        return _of_results(study)
    if mask is None:
        raise InputError(
            f"{study} is no folder of results, so the tumour on it is not known; give it with --preoperative-mask, or "
            "segment that study first."
        )
    volume = read_case(None, {Modality.T1C: study}).reference
    labels = read_labels(mask)
    return _made(str(study), on_labels_grid(volume.image, study, labels, mask), labels, str(mask), volume.patient)


def _of_results(folder: Path) -> EarlierStudy:
    before = read_time_point(folder)
    if before.time_point.kind is TimePointKind.POSTOPERATIVE:
        raise InputError(f"{folder} is of a study after surgery; give the one before it.")
    if before.image is None:
        raise InputError(f"The scan of {folder} is not at hand: {before.doubts[0]}")
    if before.sequence is not Modality.T1C or Region.TC not in before.regions:
        raise InputError(
            f"{folder} was made without T1 + contrast, or its model gives no tumour core, which the network "
            "needs; segment that study with T1 + contrast and another model."
        )
    core = region_mask(sitk.GetArrayViewFromImage(before.labels), Region.TC)
    return _made(
        str(folder), before.image, array_on(core.astype(np.uint8), before.labels), str(folder), before.patient or ""
    )


def _made(name: str, image: sitk.Image, labels: sitk.Image, source: str, patient: str) -> EarlierStudy:
    tumour = array_on((sitk.GetArrayViewFromImage(labels) != 0).astype(np.uint8), labels)
    if not sitk.GetArrayViewFromImage(tumour).any():
        raise InputError(f"There is no tumour before surgery in {source}; check that it is the right study.")
    return EarlierStudy(name, oriented(image), oriented(tumour), patient)
