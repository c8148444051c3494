"""Lesion-wise Dice and HD95 beside the program of BraTS 2023 (github.com/rachitsaluja/BraTS-2023-Metrics).

``python -m Testing.parity.lesionwise PYTHON CHECKOUT`` (PYTHON with pandas below 2) scores
the ten generated pairs of :mod:`Testing.support.lesions` with both and writes what the challenge's program says to
``Testing/data/lesionwise.json``, which a test reads. Further arguments are pairs of label files in the numbering of
BraTS 2023, prediction and reference, which are compared alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from GliomaSegLib.evaluation.metrics import How, evaluate_fully
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Challenge
from Testing.support.lesions import CASES, generated_pair

RECORDED = Path(__file__).parents[1] / "data" / "lesionwise.json"
REGIONS = (Region.WT, Region.TC, Region.ET)
_COLUMNS = {"LesionWise_Score_Dice": "lesion_dice", "LesionWise_Score_HD95": "lesion_hd95_mm",
            "Num_TP": "lesions_found", "Num_FN": "lesions_missed", "Num_FP": "lesions_false"}  # fmt: skip


# Run by the Python that has the packages that the challenge's program asks for (pandas below 2).
_PEER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import metrics, pandas
replace = pandas.DataFrame.replace

def in_numbers(table, *given, **named):  # later versions also compare lists of lesions with the value, and fail
    lists = [name for name in table if any(hasattr(cell, "shape") and cell.shape for cell in table[name])]
    changed = replace(table.drop(columns=lists), *given, **named)
    return changed if changed is None else changed.join(table[lists])

pandas.DataFrame.replace = in_numbers
table = metrics.get_LesionWiseResults(*sys.argv[2:])
print("SCORES" + table.to_json(orient="records"))
"""


def peer_scores(
    python: Path, checkout: Path, prediction: Path, reference: Path, challenge: Challenge
) -> dict[str, dict[str, float]]:
    """Per region what the challenge's program says."""
    given = [str(prediction), str(reference), f"BraTS-{challenge.value.upper()}"]
    ended = subprocess.run(
        [python, "-W", "ignore", "-c", _PEER, checkout, *given], capture_output=True, text=True, check=True
    )
    rows = json.loads(ended.stdout.rpartition("SCORES")[2])
    return {row["Labels"]: {ours: float(row[its]) for its, ours in _COLUMNS.items()} for row in rows}


def own_scores(prediction: sitk.Image, reference: sitk.Image, challenge: Challenge) -> dict[str, dict[str, float]]:
    """Per region what :mod:`GliomaSegLib.evaluation.lesionwise` says."""
    found = evaluate_fully(prediction, reference, REGIONS, How(challenge=challenge))
    return {region.value: {name: getattr(one, name) for name in _COLUMNS.values()} for region, one in found.items()}


def largest_difference(own: dict[str, dict[str, float]], other: dict[str, dict[str, float]]) -> float:
    """Of any figure of any region."""
    return max(abs(own[region][name] - other[region][name]) for region in own for name in own[region])


def main(python: Path, checkout: Path, *files: Path) -> None:
    """Compare, print the largest difference of every pair, and record the generated ones."""
    if files:
        for prediction, reference in zip(files[::2], files[1::2], strict=True):
            theirs = peer_scores(python, checkout, prediction, reference, Challenge.GLI)
            ours = own_scores(read_labels(prediction), read_labels(reference), Challenge.GLI)
            print(prediction.name, json.dumps(ours), f"largest difference {largest_difference(ours, theirs):.2g}")
        return
    recorded = []
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "prediction.nii.gz"), Path(folder, "reference.nii.gz")
        for number in range(CASES):
            images = generated_pair(number)
            for image, path in zip(images, paths, strict=True):
                x, y, z = image.GetSpacing()
                affine = np.diag([x, y, z, 1.0])
                nib.save(nib.Nifti1Image(sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine), path)
            challenge = list(Challenge)[number % len(Challenge)]
            theirs = peer_scores(python, checkout, *paths, challenge)
            difference = largest_difference(own_scores(*images, challenge), theirs)
            print(f"case {number}, {challenge.value}: largest difference {difference:.2g}")
            recorded.append({"case": number, "challenge": challenge.value, "scores": theirs})
    RECORDED.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
