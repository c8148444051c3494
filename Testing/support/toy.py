"""A model that needs no weights worth the name: it calls tumour what is bright on FLAIR. Cheap and deterministic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from GliomaSegLib.case import Modality
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.label_maps import compose
from GliomaSegLib.labels import Region
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.checkpoint import read_converted

PUBLISHED_FILE = "thresholds.txt"


def convert(source: Path, destination: Path) -> None:
    """Three numbers in a text file: the thresholds of WT on FLAIR, of NETC and of ET on T1c."""
    numbers = [float(word) for word in (source / PUBLISHED_FILE).read_text().split()]
    save_file({"thresholds": torch.tensor(numbers)}, destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Thresholds:
    """The model, from its converted weights."""
    return Thresholds(*read_converted(weights, parameters)[0]["thresholds"].tolist())


class Thresholds:
    """WT is bright on FLAIR; inside it ET is bright and NETC dark on T1c. The phantom's grey values are known."""

    def __init__(self, whole: float, core: float, enhancing: float) -> None:
        self._whole, self._core, self._enhancing = whole, core, enhancing

    def predict(self, images: Mapping[Modality, NDArray[np.float32]], progress: Progress, seed: int) -> Prediction:
        """See :class:`~GliomaSegLib.inference.segmenter.Segmenter`."""
        progress.advance(0.5, "thresholds")
        t2f = images.get(Modality.T2F, np.zeros_like(next(iter(images.values()))))
        whole = t2f > self._whole
        probabilities = {Region.WT: np.clip(t2f / self._whole / 2, 0, 1).astype(np.float32)}
        if Modality.T1C not in images:
            return Prediction(compose(whole), probabilities)
        t1c = images[Modality.T1C]
        enhancing = whole & (t1c > self._enhancing)
        return Prediction(compose(whole, enhancing | (whole & (t1c < self._core)), enhancing), probabilities)
