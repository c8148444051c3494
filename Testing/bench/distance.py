"""What the distance to the training data sees: cases that are as usual, spoilt ones, and other patients' images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import spearmanr

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import CaseRow, read_table
from GliomaSegLib.datasets.prepared_case import SPACING_MM, kept_prepared
from GliomaSegLib.evaluation.metrics import evaluate
from GliomaSegLib.experiments.definition import short_name
from GliomaSegLib.inference.coarse_fine import CoarseFine
from GliomaSegLib.inference.device import choose_precision
from GliomaSegLib.inference.training_distance import TrainingDistance, TrainingFeatures, read_training_features
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.images import read_image, read_labels
from GliomaSegLib.labels import Region
from GliomaSegLib.phantom import make_phantom
from GliomaSegLib.pipeline.prediction import load_model
from GliomaSegLib.preprocessing.resampling import model_grid, resample_image, resample_labels
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.catalogue import find_card
from Testing.bench.accuracy import OWN_MODEL, cache, development_cases, unseen
from Testing.bench.cases import SHARED, store

T1N, T1C, T2W, T2F = Modality
SETS = ((T1N, T1C, T2W, T2F), (T1N, T1C, T2F))
SINGLE = ((T1C,), (T2F,))

Images = dict[Modality, NDArray[np.float32]]

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Model:
    network: CoarseFine
    known: TrainingFeatures

    def distance(self, images: Images) -> TrainingDistance | None:
        """By the look at the whole brain alone, as the answer would carry it."""
        return self.known.distance(self.network.features(images, self.known.layer), tuple(images))


def distance() -> None:
    """gliomaseg-any-v2: distance to the training data of unseen, of spoilt and of other images."""
    card = find_card(OWN_MODEL)
    network = load_model(card.id, store().weights(card), _CPU, choose_precision(_CPU))
    model = _Model(network, read_training_features(card.training_features.sound()))
    for hospitals in (("brats2021", "brats-other"), ("tcga-",)):
        rows = unseen(development_cases(*hospitals))
        _as_usual(model, rows)
        _spoilt(model, rows)
    _others(model)


# --- as usual ------------------------------------------------------------------------------------------------------


def _as_usual(model: _Model, rows: list[CaseRow]) -> None:
    """Case by case the distance and WT Dice, and how these go together; of single sequences the distance alone."""
    for subset in SETS:
        found = []
        for row in rows:
            if not set(subset) <= set(row.images):
                continue
            images, reference_labels = _in_place(row)
            answer = model.network.predict({one: images[one] for one in subset}, Silent(), seed=1)
            if answer.training_distance is None:
                continue
            labels = array_on(answer.labels, reference_labels)
            dice = evaluate(labels, reference_labels, (Region.WT,))[Region.WT].dice
            found.append((answer.training_distance, dice))
            one = answer.training_distance
            print(
                f"{row.case:<26} {short_name(subset):<20} WT {dice:.3f}  {one.of_limit:.2f} of the limit, {one}",
                flush=True,
            )
        if found:
            correlation = spearmanr([one.distance for one, _ in found], [dice for _, dice in found])
            far = sum(one.of_limit > 1 for one, _ in found)
            print(
                f"{short_name(subset)}: {far} of {len(found)} far; Spearman of distance and WT Dice "
                f"{correlation.statistic:.2f} (p {correlation.pvalue:.2f})",
                flush=True,
            )

    for subset in SINGLE:
        alone = ({one: _in_place(row)[0][one] for one in subset} for row in rows if set(subset) <= set(row.images))
        _summarised(f"{short_name(subset)} alone", map(model.distance, alone))


def _in_place(row: CaseRow) -> tuple[Images, sitk.Image]:
    there = kept_prepared(row, cache(), _CPU)
    images = {sequence: sitk.GetArrayFromImage(read_image(path)) for sequence, path in there.images.items()}
    return images, read_labels(there.reference, row.scheme)


# --- spoilt --------------------------------------------------------------------------------------------------------


def _given_as(wrong: Mapping[Modality, Modality]) -> Callable[[Images], Images | None]:
    """Each sequence replaced by another one of the case."""

    def spoil(images: Images) -> Images | None:
        if not set(wrong.values()) <= set(images):
            return None
        return images | {place: images[taken] for place, taken in wrong.items() if place in images}

    return spoil


def _each(change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Callable[[Images], Images]:
    return lambda images: {sequence: change(image) for sequence, image in images.items()}


def _noisy(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rician noise as strong as the contrast of the brain."""
    inside = image != 0
    sigma = image[inside].std()
    real, imaginary = np.random.default_rng(1).normal(0, sigma, (2, *image.shape))
    return np.where(inside, np.hypot(image - image[inside].min() + real, imaginary), 0).astype(np.float32)


def _shaded(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A field that falls to a seventh from one corner of the axial plane to the other."""
    inside = image != 0
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in image.shape[1:]), indexing="ij")
    return np.where(inside, (image - image[inside].min() + 1) * np.exp((x + y) / 2), 0).astype(np.float32)


SPOILT: dict[str, Callable[[Images], Images | None]] = {
    "FLAIR given as T1 + contrast": _given_as({T1C: T2F}),
    "T1 + contrast and FLAIR exchanged": _given_as({T1C: T2F, T2F: T1C}),
    "T1 given as FLAIR": _given_as({T2F: T1N}),
    "T2 given as T1 + contrast": _given_as({T1C: T2W}),
    "turned by 90 degrees about the long axis": _each(lambda one: np.ascontiguousarray(np.rot90(one, axes=(1, 2)))),
    "turned by 90 degrees, chin to the sky": _each(lambda one: np.ascontiguousarray(np.rot90(one, axes=(0, 1)))),
    "upside down": _each(lambda one: np.ascontiguousarray(one[::-1])),
    "upper half missing": _each(lambda one: np.ascontiguousarray(one[: len(one) // 2])),
    "strong noise": _each(_noisy),
    "strong bias field": _each(_shaded),
    "blurred (3 mm)": _each(lambda one: np.where(one != 0, ndimage.gaussian_filter(one, 3), 0)),
}


def _spoilt(model: _Model, rows: list[CaseRow]) -> None:
    """How often each way to spoil the cases is detected, with all the sequences that can be judged."""
    for name, spoil in SPOILT.items():
        _summarised(name, (model.distance(spoilt) for row in rows if (spoilt := spoil(_judged(model, row)))))
    if any(row.hospital.startswith("tcga-") for row in rows):
        _summarised("brain not stripped", (model.distance(_with_head(model, row)) for row in rows))


def _judged(model: _Model, row: CaseRow) -> Images:
    """The case's largest set of sequences that can be judged."""
    images, _ = _in_place(row)
    best = max((one for one in model.known.groups if one <= set(images)), key=len)
    return {sequence: image for sequence, image in images.items() if sequence in best}


def _with_head(model: _Model, row: CaseRow) -> Images:
    """The same as it was scanned, on the same grid; a session's sequences lie nearly in place."""
    grid = read_image(next(iter(kept_prepared(row, cache(), _CPU).images.values())))
    wanted = _judged(model, row)
    return {
        sequence: sitk.GetArrayFromImage(resample_image(read_image(path), grid))
        for sequence, path in row.images.items()
        if sequence in wanted
    }


def _summarised(name: str, distances: Iterator[TrainingDistance | None]) -> None:
    found = [one for one in distances if one is not None]
    if found:
        shares = [one.of_limit for one in found]
        far = sum(one.of_limit > 1 for one in found)
        print(
            f"{name:<42} far {far} of {len(found)}; of the limit: median {np.median(shares):.2f}, "
            f"{min(shares):.2f} to {max(shares):.2f}",
            flush=True,
        )


# --- other images --------------------------------------------------------------------------------------------------


def _others(model: _Model) -> None:
    """The phantom, a treated patient of a hospital that was trained on, and metastases."""
    phantom = _phantom()
    for subset in (*SETS, *SINGLE):
        _summarised(f"phantom, {short_name(subset)}", iter([model.distance({one: phantom[one] for one in subset})]))
    treated = unseen(development_cases("brain-tumor-progression"))
    _summarised("treated glioblastoma, T1 + contrast", (model.distance(_in_place(row)[0]) for row in treated))
    metastases = read_table(resource("recipes") / "mets-cases.csv", SHARED / "data")
    _summarised("metastases, T1 + contrast", (model.distance(_in_place(row)[0]) for row in metastases[::4]))


def _phantom() -> Images:
    made = make_phantom()
    grid = model_grid(made.images[T1C], SPACING_MM, "LPS")
    brain = sitk.GetArrayFromImage(resample_labels(made.brain, grid)) > 0
    return {
        sequence: np.where(
            brain, sitk.GetArrayFromImage(resample_image(image, grid, made.transforms[sequence])), 0
        ).astype(np.float32)
        for sequence, image in made.images.items()
    }
