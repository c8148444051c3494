"""A model that needs no weights worth the name: it calls tumour what is bright on FLAIR. Cheap and deterministic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from GliomaSegLib.case import Sequence
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.labels import Region, compose
from GliomaSegLib.progress import Progress

PUBLISHED_FILE = "thresholds.txt"


def convert(source: Path, destination: Path) -> None:
    """Three numbers in a text file: the thresholds of WT on FLAIR, of TC and of ET on T1c."""
    numbers = [float(word) for word in (source / PUBLISHED_FILE).read_text().split()]
    save_file({"thresholds": torch.tensor(numbers)}, destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Thresholds:
    """The model, from its converted weights."""
    return Thresholds(*load_file(weights)["thresholds"].tolist())


class Thresholds:
    """WT is FLAIR above the first threshold times its mean; TC and ET are T1c below and above the others."""

    def __init__(self, whole: float, core: float, enhancing: float) -> None:
        self._whole, self._core, self._enhancing = whole, core, enhancing

    def predict(self, images: Mapping[Sequence, NDArray[np.float32]], progress: Progress, seed: int) -> Prediction:
        """See :class:`~GliomaSegLib.inference.segmenter.Segmenter`."""
        relative = {sequence: image / max(image[image > 0].mean(), 1e-6) for sequence, image in images.items()}
        progress.advance(0.5, "thresholds")
        brightest = relative.get(Sequence.T2F, next(iter(relative.values())))
        whole = brightest > self._whole
        probabilities = {Region.WT: np.clip(brightest / self._whole / 2, 0, 1).astype(np.float32)}
        if Sequence.T1C not in relative:
            return Prediction(compose(whole), probabilities)
        t1c = relative[Sequence.T1C]
        enhancing = whole & (t1c > self._enhancing)
        return Prediction(compose(whole, enhancing | (whole & (t1c < self._core)), enhancing), probabilities)
