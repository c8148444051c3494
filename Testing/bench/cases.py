"""Where the real cases of the benchmarks are, and how one of them is run."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from GliomaSegLib.job import Job
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.results.job_result import JobResult
from GliomaSegLib.study.selection import identify
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.store import Store

SHARED = Path(os.environ.get("GLIOMASEG_SHARED") or Path(__file__).parents[2].parent / "shared")
MODEL = "ca-cnn-brats17"
OWN_MODEL = "gliomaseg-any-v2"
DUO = "gliomaseg-duo-v2"


def brats2021() -> list[Path]:
    """Folders of eight BraTS 2021 training cases: T1, T1c, T2, FLAIR, stripped, 1 mm."""
    return sorted((SHARED / "data" / "brats2021").iterdir())


def clinical() -> list[Path]:
    """Folders of fifty TCGA-LGG patients as clinics scan them: skull on, thick slices, no T2."""
    return sorted((SHARED / "data" / "tcga-lgg-clinical").iterdir())


def store() -> Store:
    """A store in the temporary folder with the model installed from the shared weights."""
    installed = Store(Path(tempfile.gettempdir()) / "gliomaseg-bench-models")
    installed.install(find_card(MODEL), SHARED / "weights" / MODEL)
    return installed


def segment(study: Path, model: str = MODEL) -> JobResult:
    """Run the whole pipeline on a study; the folder of the result is gone afterwards."""
    volumes = {sequence: found.source.path for sequence, found in identify(study).items()}
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            volumes=volumes,
            model=model,
            output=Path(folder) / "out",
            case_id=study.name,
            store=store().root,
            probabilities=False,
        )
        return run(job)
