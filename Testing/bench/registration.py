"""How well mutual information tells images in place from mirrored ones and from those of another patient, and what the
mirror check takes of a registration's processor time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.io.images import read_image
from GliomaSegLib.preprocessing import rigid
from GliomaSegLib.preprocessing.registration import DOUBTFUL_BELOW, MIRRORED_BELOW
from GliomaSegLib.study.reading import read_case
from Testing.bench.cases import SHARED, brats2021, clinical

Pair = tuple[str, sitk.Image, sitk.Image]
"""A name and two images of a patient."""


def mirror_contrast() -> None:
    """Mirror contrast of every real pair of one patient: as it is, mirrored, and with the next patient's image."""
    sets = {
        "clinical, 1.2 mm in the plane": _within(clinical()),
        "as left the scanner": _within([SHARED / "data" / "tcga-fg-6692-raw"]),
        "BraTS, skull-stripped": _within([*brats2021(), *sorted((SHARED / "data" / "brats-other").iterdir())]),
        "two time points of treated glioblastoma": _time_points(),
    }
    for title, pairs in sets.items():
        found: dict[str, list[float]] = {"own": [], "mirrored": [], "another patient's": []}
        seconds: dict[str, float] = {"registration": 0.0, "mirror check": 0.0}
        previous: Pair | None = None
        for name, fixed, moving in pairs:
            begun = time.process_time()
            own = rigid.register(fixed, moving)
            seconds["registration"] += time.process_time() - begun
            pair = rigid._Pair(fixed, moving)
            begun = time.process_time()
            rigid._mirrored_nmi(pair, own.transform or rigid._euler(pair.middles[0]))
            seconds["mirror check"] += time.process_time() - begun
            other = rigid.register(fixed, _mirrored(moving))
            found["own"].append(own.mirror_contrast)
            found["mirrored"].append(other.mirror_contrast)
            if own.mirror_contrast < DOUBTFUL_BELOW or other.mirror_contrast >= MIRRORED_BELOW:
                print(f"  {name}: own {own.mirror_contrast:.3f}, mirrored {other.mirror_contrast:.3f}")
            if previous and previous[0].split()[0] != name.split()[0]:
                found["another patient's"].append(rigid.register(fixed, previous[2]).mirror_contrast)
            previous = (name, fixed, moving)
        share = seconds["mirror check"] / seconds["registration"]
        print(f"{title}: the mirror check took {share:.0%} of the registration")
        for kind, values in found.items():
            if values:
                print(
                    f"  {kind:<18} {len(values)} pairs: least {min(values):.2f}, median {np.median(values):.2f}, "
                    f"greatest {max(values):.2f}; {sum(value < MIRRORED_BELOW for value in values)} called mirrored, "
                    f"{sum(MIRRORED_BELOW <= value < DOUBTFUL_BELOW for value in values)} doubtful"
                )


def _within(studies: list[Path]) -> Iterator[Pair]:
    """Every other sequence beside the case's reference."""
    for study in studies:
        case = read_case(study)
        for modality in case.present:
            if modality is not case.reference.sequence:
                yield f"{study.name} {modality.value}", case.reference.image, case.volumes[modality].image


def _time_points() -> Iterator[Pair]:
    for patient in sorted((SHARED / "data" / "brain-tumor-progression").iterdir()):
        yield f"{patient.name} {Modality.T1C.value}", *(read_image(patient / f"time{k}_t1c.nii.gz") for k in (1, 2))


def _mirrored(image: sitk.Image) -> sitk.Image:
    """The pixels flipped from left to right, the geometry kept."""
    axis = int(np.argmax(np.abs(np.reshape(image.GetDirection(), (3, 3))[0])))
    flipped = sitk.Flip(image, [index == axis for index in range(3)])
    flipped.CopyInformation(image)
    return flipped
