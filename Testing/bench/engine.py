"""The engine of the volume networks against MONAI's own, what each technique brings, and every card's memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
import torch
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from GliomaSegLib.case import Modality
from GliomaSegLib.inference.device import choose_precision
from GliomaSegLib.inference.volume import VolumeSegmenter
from GliomaSegLib.progress import Silent
from GliomaSegLib.study.reading import read_case
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.catalogue import all_cards, find_card
from GliomaSegLib.zoo.inference_spec import spec_of
from GliomaSegLib.zoo.loaders import family
from Testing.bench import generated
from Testing.bench.cases import brats2021
from Testing.bench.speed import CPU, RUNS, least, measured_peaks

Array = NDArray[np.float32]
Images = Mapping[Modality, Array]

BUNDLE = "monai-brats18-segresnet"
MOST_BYTES = 4_000_000_000

# To try this at a small size: every so manieth voxel of the case alone, and windows as much smaller.
EVERY_VARIABLE = "GLIOMASEG_BENCH_EVERY"


def engine() -> None:
    """A SegResNet of the MONAI bundle's size on a 240x240x155 case: MONAI's own inferer and ours, in the same run."""
    peaks = measured_peaks()
    least_s: dict[str, float] = {}
    for way in WAYS:
        seconds, gflop, peak_mb = _apart(_timed, way)
        least_s[way] = seconds
        precision = "bfloat16" if way.endswith("bfloat16") else "float32"
        share = 100 * gflop / seconds / peaks[precision][1]
        print(
            f"{way:<38} {seconds:6.2f} s (least of {RUNS}), {least_s[MONAI] / seconds:4.1f} times as fast as MONAI's; "
            f"{gflop / 1000:.2f} TFLOP, {share:.0f} % of the convolution peak; peak memory {peak_mb:.0f} MB",
            flush=True,
        )
    if choose_precision(CPU) is torch.float32:
        print("this processor has no instructions for bfloat16")


def memory() -> None:
    """Peak memory of every card with a network of volumes, on generated weights and a 240x240x155 case."""
    for card in all_cards().values():
        if card.weights.package or card.weights.members:
            continue
        seconds, found = _apart(_remembered, card.id)
        if isinstance(found, str):
            print(f"{card.id:<28} not measured: {found}", flush=True)
        else:
            verdict = "" if found < MOST_BYTES else "   MORE THAN 4 GB"
            print(f"{card.id:<28} {found / 1e6:6.0f} MB, {seconds:5.1f} s{verdict}", flush=True)


# --- time ----------------------------------------------------------------------------------------------------------

MONAI = "MONAI's SlidingWindowInferer"
_PUBLISHED, _WHOLE_LOW, _BOX = "ours, as published", "ours, as published, bfloat16", "ours, the brain's box"
_BOX_LOW = "ours, the brain's box, bfloat16"


def _of_monai(card: Card, images: Images) -> Callable[[], object]:
    """The bundle's inference as its configuration says: the whole window, an overlap of a half, float32."""
    network, spec = generated.segresnet(card), spec_of(card.loader_parameters)
    inferer = SlidingWindowInferer(card.inference.patch, sw_batch_size=1, overlap=card.inference.overlap)

    def work() -> object:
        channels, _ = spec.prepare(np.stack([images[sequence] for sequence in card.inputs.sequences]))
        volume = torch.from_numpy(np.ascontiguousarray(channels.transpose(0, 3, 2, 1)))[None]
        with torch.inference_mode():
            return spec.answer(torch.sigmoid(inferer(volume, network))[0].numpy())

    return work


def _of_ours(card: Card, images: Images, field: str, precision: torch.dtype) -> Callable[[], object]:
    inference = replace(card.inference, field=field)
    spec = spec_of(card.loader_parameters | {"inference": inference})
    segmenter = VolumeSegmenter([generated.segresnet(card)], spec, CPU, precision)
    return lambda: segmenter.predict(images, Silent(), 0)


WAYS: dict[str, Callable[[Card, Images], Callable[[], object]]] = {
    MONAI: _of_monai,
    _PUBLISHED: partial(_of_ours, field="full", precision=torch.float32),
    _WHOLE_LOW: partial(_of_ours, field="full", precision=torch.bfloat16),
    _BOX: partial(_of_ours, field="brain", precision=torch.float32),
    _BOX_LOW: partial(_of_ours, field="brain", precision=torch.bfloat16),
}


def _timed(way: str) -> tuple[float, float, float]:
    """Seconds, GFLOP and MB at most, from arrays to labels."""
    work = WAYS[way](_card(find_card(BUNDLE)), _images(brats2021()[0]))
    seconds, memory_mb = least(work), _peak_bytes() / 1e6
    with mock.patch("torch.inference_mode", torch.no_grad), FlopCounterMode(display=False) as counter:
        work()
    return seconds, counter.get_total_flops() / 1e9, memory_mb


def _every() -> int:
    return int(os.environ.get(EVERY_VARIABLE, "1"))


def _images(study: Path) -> dict[Modality, Array]:
    step = (slice(None, None, _every()),) * 3
    return {
        sequence: np.ascontiguousarray(sitk.GetArrayFromImage(volume.image)[step].astype(np.float32))
        for sequence, volume in read_case(study).volumes.items()
    }


def _card(card: Card) -> Card:
    """With a window that is as much smaller as the case."""
    if card.inference is None or card.inference.patch is None:
        return card
    multiple = 32 if _every() > 1 else 1
    x, y, z = (-(-side // _every() // multiple) * multiple for side in card.inference.patch)
    return replace(card, inference=replace(card.inference, patch=(x, y, z)))


# --- memory --------------------------------------------------------------------------------------------------------


def _remembered(model: str) -> tuple[float, float | str]:
    """Seconds and bytes at most, from loading to labels; or why that cannot be measured."""
    card, images = find_card(model), _images(brats2021()[0])
    with tempfile.TemporaryDirectory() as folder:
        try:
            weights = generated.write(card, Path(folder))
        except NotImplementedError as error:
            return 0.0, str(error)
        segmenter = family(card.network.family).load(weights, card.loader_parameters, CPU, choose_precision(CPU))
    taken = card.sequences_used(tuple(images))
    seconds = least(lambda: segmenter.predict({one: images[one] for one in taken}, Silent(), 0), runs=1, warm=False)
    return seconds, _peak_bytes()


def _apart(work: Callable[[str], tuple], what: str) -> tuple:
    """In a process of its own, so that the memory is that of this work alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (what,))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
