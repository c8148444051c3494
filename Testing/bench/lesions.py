"""Lesions found and missed by trainings that differ in their loss (Shirokikh 2019).

``python -m Testing.bench.lesions [RUN…]``: the metastases of the case table ``mets-cases.csv``, of patients whom no
training saw. Each run's averaged weights go through the shipped model's own pipeline
(:mod:`GliomaSegLib.zoo.loaders.stretched_brain`); lesions are matched by :mod:`GliomaSegLib.evaluation.froc`.
Sizes are in voxels of the scans as they are, brains stretched to 108 x 108 x 54 voxels: no mm, no mL.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from GliomaSegLib import case
from GliomaSegLib.datasets.case_table import CaseRow, read_splits, read_table
from GliomaSegLib.evaluation.froc import CaseLesions, LesionCurve, lesion_curve, match_lesions, with_intervals
from GliomaSegLib.inference.device import choose_precision
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.io.images import read_image, read_labels
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.training.checkpoint import read_checkpoint
from GliomaSegLib.training.loop import LAST
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import any_unet, stretched_brain
from Testing.bench.cases import SHARED

MODEL = "gliomaseg-mets-v1"
CPU = torch.device("cpu")
SMALL_VOXELS = 100  # lesions below this are shown apart; fixed before anything was trained
FALSE_POSITIVES = (0.5, 1.0, 2.0, 4.0)  # per scan, at which the FROC is read


def main() -> None:
    """Print the figures of every run, and write the curves."""
    parser = argparse.ArgumentParser(prog="python -m Testing.bench.lesions", description=__doc__.splitlines()[0])
    parser.add_argument(
        "runs", type=Path, nargs="*", metavar="RUN", help="folders of trainings; none: the shipped model"
    )
    parser.add_argument("--split", choices=("test", "train"), default="test")
    parser.add_argument("--curves", type=Path, metavar="CSV", help="write the points of all curves")
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    rows = chosen_rows(parsed.split)
    print(f"{parsed.split}: {len(rows)} scans of {len({row.patient for row in rows})} patients", flush=True)
    points = []
    for name, segmenter in [(run.name, of_run(run)) for run in parsed.runs] or [(MODEL, shipped())]:
        lesions, dice = measured(segmenter, rows)
        print(described(name, rows, lesions, dice), flush=True)
        for size, limit in (("all", None), ("small", SMALL_VOXELS)):
            curve = lesion_curve(lesions, limit)
            points += [{"run": name, "size": size, **point.model_dump()} for point in curve.points]
    if parsed.curves:
        with parsed.curves.open("w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, list(points[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(points)


def chosen_rows(split: str) -> list[CaseRow]:
    """The scans of a split's patients."""
    recipes = resource("recipes")
    patients = read_splits(recipes / "mets-splits.json")[split]
    return [row for row in read_table(recipes / "mets-cases.csv", SHARED / "data") if row.patient in patients]


def shipped() -> Segmenter:
    """The model that comes with GliomaSeg."""
    card = find_card(MODEL)
    return stretched_brain.load(resource(card.weights.shipped.path), card.loader_parameters, CPU, choose_precision(CPU))


def of_run(run: Path) -> Segmenter:
    """The averaged weights of a training, led over the image as the shipped model is."""
    state = read_checkpoint(run / LAST)["average"]
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        any_unet.write_weights({stretched_brain.STAGE: state}, weights)
        parameters = find_card(MODEL).loader_parameters | {"certainty": 0.0}  # the whole curve is asked for
        return stretched_brain.load(weights, parameters, CPU, choose_precision(CPU))


def measured(segmenter: Segmenter, rows: Sequence[CaseRow]) -> tuple[list[CaseLesions], list[float]]:
    """Per scan its lesions and its Dice over all voxels."""
    lesions, dice = [], []
    for row in rows:
        image = sitk.GetArrayFromImage(read_image(row.images[case.Modality.T1C]))
        reference_labels = sitk.GetArrayFromImage(read_labels(row.reference)) > 0
        answer = segmenter.predict({case.Modality.T1C: image}, Silent(), seed=1)
        found = region_mask(answer.labels, Region.ET)
        lesions.append(match_lesions(found, reference_labels, answer.probabilities[Region.ET]))
        dice.append(_dice(found, reference_labels))
    return lesions, dice


def _dice(found: NDArray[np.bool_], reference_labels: NDArray[np.bool_]) -> float:
    return float(2 * (found & reference_labels).sum() / (found.sum() + reference_labels.sum()))


def described(name: str, rows: Sequence[CaseRow], lesions: Sequence[CaseLesions], dice: Sequence[float]) -> str:
    """A run's figures as text."""
    each = [lesion.dice for one in lesions for lesion in one.reference]
    hit = [value for value in each if value > 0]
    patients = [row.patient for row in rows]
    lines = [
        f"{name}: Dice per scan mean {np.mean(dice):.3f}, median {np.median(dice):.3f}; per lesion median "
        f"{np.median(each):.3f} of all {len(each)}, {np.median(hit) if hit else 0:.3f} of the {len(hit)} that were hit"
    ]
    for title, limit in (("all lesions", None), (f"below {SMALL_VOXELS} voxels", SMALL_VOXELS)):
        whole = with_intervals(lesion_curve(lesions, limit), lesions, patients, np.random.default_rng(0), limit)
        last = whole.points[-1]
        froc = ", ".join(f"{recall_at(whole, most):.2f} at {most:g}" for most in FALSE_POSITIVES)
        limits = _limits(last.recall_interval, "95 % ")
        precise = (
            "" if last.precision is None else f", precision {last.precision:.2f}{_limits(last.precision_interval)}"
        )
        lines.append(
            f"  {title}, n {whole.lesions}: recall {last.recall:.2f}{limits}{precise}, {last.false_positives:.2f} "
            f"false positives per scan; recall {froc} false positives per scan"
        )
    return "\n".join(lines)


def _limits(interval: tuple[float, float] | None, kind: str = "") -> str:
    return f" ({kind}{interval[0]:.2f} to {interval[1]:.2f})" if interval else ""


def recall_at(whole: LesionCurve, false_positives: float) -> float:
    """The best recall with at most so many false positives per scan."""
    return max((point.recall for point in whole.points if point.false_positives <= false_positives), default=0.0)


if __name__ == "__main__":
    main()
