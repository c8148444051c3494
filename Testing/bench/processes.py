"""``gliomaseg segment`` as users start it, in a process of its own: its processor seconds, memory and first line.

With another checkout of GliomaSeg in ``GLIOMASEG_BENCH_BEFORE`` the two take turns, so that what else the machine does
meanwhile falls on both.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.io.grid import centre
from Testing.bench.cases import MODEL, SHARED, brats2021, store

RUNS = 3
ROOT = Path(__file__).parents[2]
BEFORE = os.environ.get("GLIOMASEG_BENCH_BEFORE")

# Torch and oneDNN as on a processor that has neither AVX-512 nor bfloat16.
_AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
_COMMAND = (sys.executable, "-m", "GliomaSegLib", "segment")
_FINE_SIZE, _FINE_MM = (512, 512, 320), 0.5


@dataclass(frozen=True)
class _Run:
    """A command, beyond the study: by default the model that ships is taken, as no other is installed."""

    name: str
    study: Path
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Cost:
    """Of one process; ``first_s`` until its first line of progress."""

    first_s: float
    wall_s: float
    processor_s: float
    peak_mb: float


def processes() -> None:
    """Seconds of the processor, memory and seconds to the first line of ``gliomaseg segment``, imports included."""
    trees = {"before": Path(BEFORE), "now": ROOT} if BEFORE else {"now": ROOT}
    with tempfile.TemporaryDirectory() as folder:
        raw = SHARED / "data" / "tcga-fg-6692-raw"
        # In a process of its own: the peak memory of a command that is started counts what its parent had.
        with ProcessPoolExecutor(1, get_context("spawn")) as apart:
            fine = apart.submit(_fine, raw, Path(folder) / "fine").result()
        runs = [
            _Run("raw exam", raw),
            _Run("raw exam, AVX2 alone", raw, ("--precision", "float32"), _AVX2),
            _Run(f"BraTS {brats2021()[0].name}", brats2021()[0]),
            _Run("exam of 512x512x320 at 0.5 mm", fine),
            _Run("raw exam, CA-CNN", raw, ("--model", MODEL, "--store", str(store().root))),
        ]
        for run in runs:
            costs: dict[str, list[_Cost]] = {tree: [] for tree in trees}
            for _ in range(RUNS):
                for tree, root in trees.items():
                    costs[tree].append(_cost(run, root, Path(folder)))
            for tree, found in costs.items():
                median = {one: statistics.median(getattr(cost, one) for cost in found) for one in vars(found[0])}
                print(
                    f"{run.name:<30} {tree:<7} {median['processor_s']:6.1f} s of the processor, "
                    f"{median['wall_s']:6.1f} s; {median['peak_mb']:5.0f} MB; "
                    f"first line after {median['first_s']:.1f} s",
                    flush=True,
                )


def _cost(run: _Run, tree: Path, folder: Path) -> _Cost:
    own_store = () if "--store" in run.arguments else ("--store", str(folder / "empty"))
    began = time.perf_counter()
    process = subprocess.Popen(
        [*_COMMAND, str(run.study), "-o", str(folder / "out"), "--overwrite", *own_store, *run.arguments],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)} | run.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    process.stderr.readline()
    first_s = time.perf_counter() - began
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{run.name} failed: {said[-500:]}")
    return _Cost(first_s, time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _fine(study: Path, folder: Path) -> Path:
    """The images of a study on grids of 0.5 mm around their middles, with the noise of a scanner."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for path in sorted(study.glob("*.nii.gz")):
        image = sitk.ReadImage(str(path), sitk.sitkFloat32)
        direction = np.reshape(image.GetDirection(), (3, 3))
        grid = sitk.Image(_FINE_SIZE, sitk.sitkInt16)
        grid.SetSpacing((_FINE_MM,) * 3)
        grid.SetDirection(image.GetDirection())
        grid.SetOrigin((np.array(centre(image)) - direction @ (_FINE_MM * (np.array(_FINE_SIZE) - 1) / 2)).tolist())
        array = sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, 0.0))
        array += (random.normal(0, 2, array.shape) * (array > 0)).astype(array.dtype)
        fine = sitk.GetImageFromArray(np.clip(array, 0, None).astype(np.int16))
        fine.CopyInformation(grid)
        sitk.WriteImage(fine, str(folder / path.name), useCompression=True)
    return folder
