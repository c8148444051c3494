"""How long ``gliomaseg evaluate`` takes for a cohort: predictions made of real BraTS references."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.images import read_labels, write_image
from GliomaSegLib.labels import LabelScheme
from Testing.bench.cases import brats2021

CASES = 100


def evaluate() -> None:
    """``gliomaseg evaluate`` on 100 cases of 240x240x155 voxels, every metric: wall-clock and processor seconds."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_cohort(place)
        command = [sys.executable, "-m", "GliomaSegLib", "evaluate", "--predictions", str(place / "predictions")]
        command += ["--references", str(place / "references"), "--scheme", "gliomaseg", "--csv", str(place / "scores")]
        began, before = time.perf_counter(), _processor_seconds()
        subprocess.run(command, check=True, capture_output=True)
        taken, used = time.perf_counter() - began, _processor_seconds() - before
    print(f"{CASES} cases on {os.cpu_count()} cores in {taken:.1f} s, {used:.1f} s of the processor")


def write_cohort(place: Path) -> None:
    """Folders ``references`` and ``predictions``: the real references in turn, and the same with errors."""
    references = [read_labels(study / f"{study.name}_seg.nii.gz", LabelScheme.BRATS2017) for study in brats2021()]
    for number in range(CASES):
        reference = references[number % len(references)]
        for name, image in (("references", reference), ("predictions", with_errors(reference, number))):
            (place / name).mkdir(exist_ok=True)
            write_image(image, place / name / f"case-{number:03}.nii.gz")


def with_errors(reference: sitk.Image, seed: int) -> sitk.Image:
    """The labels of a reference moved by a voxel or two, a tenth of them other ones in patches, and false lesions."""
    random = np.random.default_rng(seed)
    labels = np.roll(sitk.GetArrayFromImage(reference), random.integers(-2, 3, 3), axis=(0, 1, 2))
    coarse = random.integers(0, 30, [size // 5 + 1 for size in labels.shape])
    drawn = coarse.repeat(5, 0).repeat(5, 1).repeat(5, 2)[tuple(map(slice, labels.shape))]
    wrong = (labels > 0) & (drawn < 4)
    labels[wrong] = drawn[wrong]
    for place in random.integers(40, 110, (int(random.integers(0, 6)), 3)):
        labels[tuple(slice(start, start + 5) for start in place)] = 2
    return array_on(labels, reference)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
