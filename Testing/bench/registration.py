"""How well mutual information tells images in place from mirrored ones and from those of another patient."""

from __future__ import annotations

import itertools

import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.preprocessing.rigid import register
from GliomaSegLib.study.reading import read_case
from Testing.bench.cases import clinical


def mirror_contrast() -> None:
    """Mirror contrast of T1n and FLAIR against T1c: the patient's own, mirrored, and another patient's."""
    cases = [case for case in (read_case(study) for study in clinical()) if Modality.T1C in case.volumes]
    found: dict[str, list[float]] = {"own": [], "mirrored": [], "another patient's": []}
    for case, other in itertools.pairwise([*cases, cases[0]]):
        fixed = sitk.DICOMOrient(case.volumes[Modality.T1C].image, "LPS")
        for sequence in set(case.volumes) - {Modality.T1C}:
            moving = sitk.DICOMOrient(case.volumes[sequence].image, "LPS")
            mirrored = sitk.Flip(moving, [True, False, False])
            mirrored.CopyInformation(moving)
            found["own"].append(register(fixed, moving).mirror_contrast)
            found["mirrored"].append(register(fixed, mirrored).mirror_contrast)
            if sequence in other.volumes:
                foreign = sitk.DICOMOrient(other.volumes[sequence].image, "LPS")
                found["another patient's"].append(register(fixed, foreign).mirror_contrast)
    for kind, values in found.items():
        ordered = sorted(values)
        print(
            f"{kind:<18} {len(values)} pairs: least {ordered[0]:.2f}, median {ordered[len(ordered) // 2]:.2f}, "
            f"greatest {ordered[-1]:.2f}"
        )
