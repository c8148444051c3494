"""The real cases of the benchmarks, and how one of them is run and scored."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.case import Sequence
from GliomaSegLib.evaluation.metrics import RegionScore, evaluate
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.results import LABEL_MAP
from GliomaSegLib.job import Job
from GliomaSegLib.labels import LabelScheme, Region, to_internal
from GliomaSegLib.pipeline import run
from GliomaSegLib.preprocessing.grid import array_on, reorient
from GliomaSegLib.study import identify
from GliomaSegLib.zoo.card import find_card
from GliomaSegLib.zoo.store import Store

SHARED = Path(os.environ.get("GLIOMASEG_SHARED") or Path(__file__).parents[2].parent / "shared")
MODEL = "ca-cnn-brats17"


@dataclass(frozen=True)
class BenchCase:
    """A study with its expert segmentation; without ``regions`` there is none."""

    name: str
    study: Path
    truth: Path
    scheme: LabelScheme
    regions: tuple[Region, ...]


def brats2021() -> list[BenchCase]:
    """Eight BraTS 2021 training cases: T1, T1c, T2, FLAIR, stripped, 1 mm; WT, TC, ET."""
    regions = (Region.WT, Region.TC, Region.ET)
    folders = sorted((SHARED / "data" / "brats2021").iterdir())
    return [BenchCase(f.name, f, f / f"{f.name}_seg.nii.gz", LabelScheme.BRATS2017, regions) for f in folders]


def clinical() -> list[BenchCase]:
    """Fifty TCGA-LGG patients as clinics scan them: skull on, thick slices, no T2; WT drawn on FLAIR."""
    folders = sorted((SHARED / "data" / "tcga-lgg-clinical").iterdir())
    return [BenchCase(f.name, f, f / f"{f.name}_wt.nii.gz", LabelScheme.WHOLE_TUMOUR, (Region.WT,)) for f in folders]


def store() -> Store:
    """A store in the temporary folder with the model installed from the shared weights."""
    installed = Store(Path(tempfile.gettempdir()) / "gliomaseg-bench-models")
    installed.install(find_card(MODEL), SHARED / "weights" / MODEL)
    return installed


def score(case: BenchCase, present: Collection[Sequence] | None = None, **options: object) -> Scored:
    """Run the whole road on a case, or on those of its sequences that are ``present``, and compare with the truth."""
    found = {sequence: given.source.path for sequence, given in identify(case.study).items()}
    volumes = {sequence: path for sequence, path in found.items() if present is None or sequence in present}
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            volumes=volumes,
            model=MODEL,
            output=Path(folder) / "out",
            case_id=case.name,
            store=store().root,
            probabilities=False,
            **options,
        )
        result = run(job)
        if not case.regions:
            return Scored(case.name, {}, result.seconds, result.warnings)
        truth = read_labels(case.truth)
        internal = array_on(to_internal(sitk.GetArrayFromImage(truth), case.scheme, str(case.truth)), truth)
        predicted = reorient(read_labels(job.output / LABEL_MAP), internal)
    given = [region for region in case.regions if result.measures.volume(region.value)]
    return Scored(case.name, evaluate(predicted, internal, given), result.seconds, result.warnings)


@dataclass(frozen=True)
class Scored:
    """How a case came out."""

    name: str
    regions: Mapping[Region, RegionScore]
    seconds: Mapping[str, float]
    warnings: tuple[str, ...]
