"""Training cases: preprocessed like the studies of the pipeline, and stored on disk."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import CaseRow
from GliomaSegLib.datasets.prepared_case import prepare_case
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.names import file_stem
from GliomaSegLib.io.renaming import rename
from GliomaSegLib.labels import Region
from GliomaSegLib.preprocessing.cropping import bounding_box
from GliomaSegLib.preprocessing.normalisation import clipped_z_score
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.training.sampling import CHANNELS

_MARGIN_VOXELS = 2


@dataclass(frozen=True)
class TrainingCase:
    """A preprocessed case, cropped to the brain, in LPS orientation.

    Attributes:
        images: ``float16 [4, z, y, x]`` in the order T1n, T1c, T2w, T2f: z-scores inside the brain, exactly 0 outside
            it and in the channels of missing modalities.
        brain: ``bool [z, y, x]``.
        labels: ``uint8 [z, y, x]``, internal scheme.
        known: the regions with reference labels; losses ignore the others.
        spacing_mm: voxel size along z, y, x.
        soft: pseudo-labels, probabilities of WT, TC and ET, ``float16 [3, z, y, x]``, or ``None``.
    """

    name: str
    patient: str
    hospital: str
    images: NDArray[np.float16]
    brain: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    known: tuple[Region, ...]
    spacing_mm: tuple[float, float, float]
    soft: NDArray[np.float16] | None = field(default=None, repr=False)

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which of the four modalities the case has, ``bool [4]``."""
        return np.any(self.images, axis=(1, 2, 3))

    def by_modality(self) -> dict[Modality, NDArray[np.float32]]:
        """The images ``[z, y, x]`` by modality."""
        pairs = zip(CHANNELS, self.present, self.images, strict=True)
        return {modality: image.astype(np.float32) for modality, there, image in pairs if there}


def prepared_path(row: CaseRow, cache: Path) -> Path:
    """The path of a prepared case in the folder ``cache``."""
    return cache / f"{file_stem(row.case)}.npz"


def prepare_all(
    rows: Sequence[CaseRow],
    cache: Path,
    device: torch.device,
    progress: Progress | None = None,
    bias_correction: bool = False,
    then: Callable[[TrainingCase], TrainingCase] = lambda case: case,
) -> None:
    """Prepare every case that is not in the folder ``cache`` yet; each file is written atomically.

    Args:
        cache: a folder for one set of preprocessing options.
        bias_correction: whether to apply N4 to each image.
        then: applied to each case before it is written.

    Raises:
        InputError: a case cannot be prepared; the message begins with its name.
    """
    progress = progress or Silent()
    cache.mkdir(parents=True, exist_ok=True)
    progress.stage("preparing the cases")
    for done, row in enumerate(rows):
        progress.advance(done / len(rows), row.case)
        if is_kept(row, row.key, prepared_path(row, cache)):
            continue
        try:
            case = then(prepare_training_case(row, device, bias_correction))
        except InputError as error:
            raise InputError(f"Case '{row.case}': {error}") from error
        write_case(case, row.key, prepared_path(row, cache))


def prepare_training_case(row: CaseRow, device: torch.device, bias_correction: bool = False) -> TrainingCase:
    """Prepare a case, normalised and cropped to the brain.

    Raises:
        InputError: see :func:`GliomaSegLib.datasets.prepared_case.prepare_case`.
    """
    there = prepare_case(row, device, bias_correction)
    brain, labels = (sitk.GetArrayFromImage(image) for image in (there.brain, there.reference))
    return _cropped(row, there.images, brain > 0, labels)


def _cropped(
    row: CaseRow, images: Mapping[Modality, sitk.Image], brain: NDArray[np.bool_], labels: NDArray[np.uint8]
) -> TrainingCase:
    box = bounding_box(brain, _MARGIN_VOXELS)
    channels = np.zeros((len(CHANNELS), *brain[box].shape), np.float16)
    for sequence, image in images.items():
        array = clipped_z_score(sitk.GetArrayViewFromImage(image), f"{row.case} {sequence.title}")[box]
        channels[CHANNELS.index(sequence)] = np.where(brain[box], array, 0)
    spacing = next(iter(images.values())).GetSpacing()[::-1]
    return TrainingCase(row.case, row.patient, row.hospital, channels, brain[box], labels[box], row.regions, spacing)


def write_case(case: TrainingCase, key: str, path: Path) -> None:
    """Write a prepared case atomically.

    Args:
        key: identifies its inputs, see :func:`stored_key`.
    """
    arrays: dict[str, Any] = {"images": case.images, "brain": case.brain, "labels": case.labels}
    if case.soft is not None:
        arrays["soft"] = case.soft
    text = {
        "name": case.name,
        "patient": case.patient,
        "hospital": case.hospital,
        "known": [region.value for region in case.known],
        "spacing_mm": case.spacing_mm,
        "key": key,
    }
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            np.savez(stream, about=np.array(json.dumps(text)), **arrays)
        rename(partial, path)
    except OSError as error:
        raise InputError(f"The prepared case {path} could not be written ({error.strerror}); make room.") from error
    finally:
        partial.unlink(missing_ok=True)


def read_prepared(path: Path) -> TrainingCase:
    """A case that :func:`write_case` wrote.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        with np.load(path) as stored:
            about = json.loads(str(stored["about"]))
            soft = stored.get("soft")
            return TrainingCase(
                name=about["name"],
                patient=about["patient"],
                hospital=about["hospital"],
                images=stored["images"],
                brain=stored["brain"],
                labels=stored["labels"],
                known=tuple(Region(region) for region in about["known"]),
                spacing_mm=tuple(about["spacing_mm"]),
                soft=soft,
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"The prepared case {path} cannot be read ({error}); delete it, it is made again.") from error


def stored_key(path: Path) -> str | None:
    """The key with which a prepared case was written; ``None`` if it is missing or damaged."""
    return _about(path).get("key")


def is_kept(row: CaseRow, key: str, path: Path) -> bool:
    """Whether the case of a row was written to ``path`` with this key.

    Its patient and hospital become those of the row, as the table may have been corrected since.
    """
    about = _about(path)
    if about.get("key") != key:
        return False
    if (about["patient"], about["hospital"]) != (row.patient, row.hospital):
        case = dataclasses.replace(read_prepared(path), patient=row.patient, hospital=row.hospital)
        write_case(case, key, path)
    return True


def _about(path: Path) -> dict[str, Any]:
    try:
        with np.load(path) as stored:
            return json.loads(str(stored["about"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return {}
