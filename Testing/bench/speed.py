"""Time and memory: what this machine can do at most, what a network makes of it, and where a case's time goes."""

from __future__ import annotations

import itertools
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import SimpleITK as sitk
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.pipeline.prediction import load_model
from GliomaSegLib.progress import Silent
from GliomaSegLib.study.reading import read_case
from GliomaSegLib.zoo.catalogue import find_card
from Testing.bench.cases import MODEL, OWN_MODEL, SHARED, brats2021, segment, store

RUNS = 3
CPU = torch.device("cpu")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def processor() -> str:
    """The processor's name."""
    information = Path("/proc/cpuinfo")
    if not information.is_file():
        return platform.processor()
    return next(line.split(":")[1].strip() for line in information.read_text().splitlines() if "model name" in line)


def peak() -> None:
    """This machine's peak: a large matrix product and a convolution of 32 channels, in GFLOP/s."""
    for name, rates in measured_peaks().items():
        print(f"{name:<10} matrix product {rates[0]:7.0f}   convolution {rates[1]:7.0f} GFLOP/s")


def measured_peaks() -> dict[str, tuple[float, float]]:
    """GFLOP/s of a 3072² matrix product and of a 3x3 convolution on 16 slices of 160² with 32 channels."""
    rates = {}
    for name, dtype in PRECISIONS.items():
        matrix = torch.rand(3072, 3072, dtype=dtype)
        slices = torch.rand(16, 32, 160, 160, dtype=dtype).contiguous(memory_format=torch.channels_last)
        kernel = torch.rand(32, 32, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        product_s = least(lambda matrix=matrix: matrix @ matrix)
        convolution_s = least(lambda slices=slices, kernel=kernel: functional.conv2d(slices, kernel, padding=1))
        rates[name] = (2 * 3072**3 / product_s / 1e9, 2 * 16 * 160**2 * 32 * 32 * 9 / convolution_s / 1e9)
    return rates


def network() -> None:
    """The network stage on 240x240x155 cases: seconds, memory, arithmetic and share of the peak."""
    peaks = measured_peaks()
    for study in brats2021()[:2]:
        for name in PRECISIONS:
            # In a process of its own, so that the memory is that of this network alone.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, gflop, peak_mb = pool.apply(_network_once, (study, name))
            rate = gflop / seconds
            print(
                f"{study.name} {name:<9} {seconds:5.1f} s (least of {RUNS}), {gflop / 1000:.2f} TFLOP, {rate:4.0f} "
                f"GFLOP/s = {100 * rate / peaks[name][1]:.0f} % of the convolution peak; peak memory {peak_mb:.0f} MB",
                flush=True,
            )


def _network_once(study: Path, precision: str) -> tuple[float, float, float]:
    segmenter: Segmenter = load_model(MODEL, store().weights(find_card(MODEL)), CPU, PRECISIONS[precision])
    images = {sequence: sitk.GetArrayFromImage(v.image) for sequence, v in read_case(study).volumes.items()}
    seconds = least(lambda: segmenter.predict(images, Silent(), seed=0))
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # The counter does not see what runs in inference mode.
    with mock.patch("torch.inference_mode", torch.no_grad), FlopCounterMode(display=False) as counter:
        segmenter.predict(images, Silent(), seed=0)
    return seconds, counter.get_total_flops() / 1e9, memory_mb


def stages() -> None:
    """Seconds per stage of the whole pipeline, median of three runs after a first one that loads the networks."""
    studies = {"raw exam": SHARED / "data" / "tcga-fg-6692-raw", brats2021()[0].name: brats2021()[0]}
    for model, (name, study) in itertools.product((OWN_MODEL, MODEL), studies.items()):
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # whose memory is that of these runs alone
            runs, peak_mb = pool.apply(_staged, (study, model))
        print(f"{model}, {name}: first run {sum(runs[0].values()):.1f} s, peak memory {peak_mb:.0f} MB")
        for stage in runs[0]:
            print(f"  {stage:<20} {statistics.median(run[stage] for run in runs[1:]):6.2f} s")
        print(f"  {'together':<20} {statistics.median(sum(run.values()) for run in runs[1:]):6.2f} s", flush=True)


def _staged(study: Path, model: str) -> tuple[list[dict[str, float]], float]:
    """Seconds per stage of each run, and MB at most."""
    runs = [dict(segment(study, model).seconds) for _ in range(RUNS + 1)]
    return runs, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def least(work: Callable[[], object], runs: int = RUNS, warm: bool = True) -> float:
    """Least wall-clock seconds of some runs, after one to warm up."""
    if warm:
        work()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
