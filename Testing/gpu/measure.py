"""Inference on a graphics card against the processor: from arrays to labels, time, memory, and what happens when that
is short.

Each model segments one case on both. Its labels must agree (Dice of every region at least :data:`LEAST_DICE`); with
generated weights, whose labels mean nothing, its probabilities within :data:`TOLERANCE`. The time is the median of
three runs after one that warms up. What is not installed here is named instead of measured.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.progress import Silent

LEAST_DICE = 0.995
TOLERANCE = 0.02
_RUNS = 3
_SCARCE_BYTES = 1 << 30  # of the card's memory, for the way out when it is short

Images = Mapping[Modality, NDArray[np.float32]]
Loading = Callable[[torch.device], Any]


@dataclass(frozen=True)
class Row:
    """What was measured of a model.

    Attributes:
        seconds, cpu_seconds: on the card, and once on the processor.
        peak_bytes: allocated on the card at most; 0 where there is none.
        agreement: the least Dice of a region, or with generated weights the largest difference of a probability.
        generated: whether the weights are.
        scarce: what happened with a gigabyte of the card's memory; empty where it was not tried.
    """

    model: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    agreement: float
    generated: bool
    precision: str
    scarce: str = ""

    @property
    def is_the_same(self) -> bool:
        """Whether card and processor agree."""
        return self.agreement <= TOLERANCE if self.generated else self.agreement >= LEAST_DICE

    def to_markdown(self) -> str:
        """A line of the table."""
        what = "largest difference" if self.generated else "least Dice"
        verdict = "" if self.is_the_same else " **differs**"
        cells = (
            f"{self.model}{', generated weights' if self.generated else ''}",
            f"{self.seconds:.2f} s ({self.precision})",
            f"{self.cpu_seconds:.1f} s",
            f"{self.peak_bytes / 2**30:.1f} GB" if self.peak_bytes else "–",
            f"{what} {self.agreement:.4f}{verdict}",
            self.scarce or "–",
        )
        return f"| {' | '.join(cells)} |"


HEADING = (
    "| model | graphics card | processor | memory of the card | card against processor | with 1 GB of the card |\n"
    "|---|---|---|---|---|---|"
)


def read_images(path: Path) -> dict[Modality, NDArray[np.float32]]:
    """The case that :func:`write_images` wrote."""
    with np.load(path) as stored:
        return {one: stored[one.value].astype(np.float32) / 16 for one in Modality if one.value in stored.files}


def write_images(images: Images, path: Path) -> None:
    """Keep stripped images ``[z, y, x]`` of 1 mm as whole sixteenths of their grey values, scaled to 1000 at most."""
    arrays = {one.value: np.round(image * (16_000 / image.max())).astype(np.uint16) for one, image in images.items()}
    np.savez_compressed(path, **arrays)


def measured(images: Images, device: torch.device, store: Path | None) -> Iterator[Row | str]:
    """A row for every model that can run here, or a sentence on why one cannot."""
    for name, loading, generated in models(store):
        try:
            yield measure(name, loading, images, device, generated)
        except ImportError as error:
            yield f"{name}: not measured, {error.name} is not installed."
        except Exception as error:  # one model's failure must not cost the others their time on the card
            yield f"{name}: failed, {type(error).__name__}: {error}"
        gc.collect()


def models(store: Path | None) -> Iterator[tuple[str, Loading, bool]]:
    """The models that come with GliomaSeg or are installed in ``store``, and a SegResNet of MONAI's bundle."""
    try:
        from GliomaSegLib.zoo.catalogue import all_cards
    except ImportError as error:
        missing = error
        yield "the zoo", lambda _: _missing(missing), False
        return
    for card in all_cards().values():
        if card.network.family in ("any-unet", "ca-cnn"):
            weights = _weights(card, store)
            if weights is not None:
                yield card.id, _of_the_zoo(card, weights), False
    yield "SegResNet (monai-brats18-segresnet)", _segresnet, True


def measure(name: str, loading: Loading, images: Images, device: torch.device, generated: bool) -> Row:
    """One model on the card and on the processor."""
    began = time.perf_counter()
    expected = loading(torch.device("cpu")).predict(images, Silent(), 0)
    cpu_seconds = time.perf_counter() - began
    segmenter = loading(device)
    found = segmenter.predict(images, Silent(), 0)
    on_card = device.type == "cuda"
    if on_card:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        found = segmenter.predict(images, Silent(), 0)
        if on_card:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated(device) if on_card else 0
    agreement = difference(found, expected) if generated else least_dice(found.labels, expected.labels)
    scarce = _with_little_memory(segmenter, images, device, expected, generated) if on_card else ""
    return Row(name, statistics.median(seconds), cpu_seconds, peak, agreement, generated, found.precision, scarce)


def least_dice(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    """The least Dice over whole tumour, core and enhancing tumour; a region absent from both is the same."""
    scores = []
    for labels in ((1, 2, 3), (1, 3), (3,)):
        first, second = np.isin(found, labels), np.isin(expected, labels)
        total = int(first.sum() + second.sum())
        scores.append(2 * int((first & second).sum()) / total if total else 1.0)
    return min(scores)


def difference(found: Any, expected: Any) -> float:
    """The largest difference of a probability, in any region."""
    return max(
        float(np.abs(found.probabilities[region] - values).max()) for region, values in expected.probabilities.items()
    )


class _Warnings(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, sentence: str) -> None:
        self.said.append(sentence)


def _with_little_memory(segmenter: Any, images: Images, device: torch.device, expected: Any, generated: bool) -> str:
    """What the model does when a gigabyte of the card is free for it."""
    warnings = _Warnings()
    with _scarce(device):
        found = segmenter.predict(images, warnings, 0)
    agreement = difference(found, expected) if generated else least_dice(found.labels, expected.labels)
    where = "on the processor" if not found.device.startswith("cuda") else "on the card"
    how = "in smaller windows" if any("smaller pieces" in one for one in warnings.said) else ""
    return " ".join(part for part in (where, how, f"({agreement:.4f})") if part)


@contextmanager
def _scarce(device: torch.device) -> Iterator[None]:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    held = torch.cuda.memory_allocated(device)
    torch.cuda.set_per_process_memory_fraction((held + _SCARCE_BYTES) / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()


def _weights(card: Any, store: Path | None) -> Path | None:
    """Where the card's weights are: with GliomaSeg, or in a store's folder; their hashes are not checked here."""
    from GliomaSegLib.resources import resource

    if card.weights.shipped:
        return resource(card.weights.shipped.path)
    path = store / card.id / "weights.safetensors" if store else None
    return path if path and path.is_file() else None


def _of_the_zoo(card: Any, weights: Path) -> Loading:
    def load(device: torch.device) -> Any:
        from GliomaSegLib.inference.device import choose_precision
        from GliomaSegLib.zoo.loaders import family

        loader: Any = family(card.network.family)
        parameters = card.loader_parameters | {"training_features": None}
        return loader.load(weights, parameters, device, choose_precision(device))

    return load


def _segresnet(device: torch.device) -> Any:
    from monai.networks.nets import SegResNet

    from GliomaSegLib.inference.volume import VolumeSegmenter
    from GliomaSegLib.zoo.catalogue import find_card
    from GliomaSegLib.zoo.inference_spec import spec_of

    card = find_card("monai-brats18-segresnet")
    torch.manual_seed(0)
    network = SegResNet(**card.network.parameters["arguments"])
    # In float32, since random weights would show bfloat16's rounding, not the card's.
    return VolumeSegmenter([network], spec_of(card.loader_parameters), device, torch.float32)


def _missing(error: ImportError) -> Any:
    raise error


def table(rows: list[Row | str], device: torch.device) -> str:
    """The rows as Markdown for ``docs/performance.md``, and the sentences below them."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    lines = [
        f"One case from arrays to labels on {name}, torch {torch.__version__} (`python -m Testing.gpu`):",
        "",
        HEADING,
    ]
    lines += [row.to_markdown() for row in rows if isinstance(row, Row)]
    return "\n".join([*lines, "", *(row for row in rows if isinstance(row, str))]) + "\n"


def as_json(rows: list[Row | str]) -> str:
    """The same for programs."""
    return json.dumps([row if isinstance(row, str) else vars(row) for row in rows], indent=2)
