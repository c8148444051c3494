"""A worker for tests of what is around the worker: it answers every job with the known labels of the tiny study.

``python known_labels_worker.py ROOT SECONDS`` speaks the protocol of :mod:`GliomaSegLib.worker.server` for cases of
:mod:`Testing.support.study`: it reads the images, waits SECONDS, and writes the labels with which they were drawn, so
that a batch of a thousand cases measures the batch alone. A case whose name contains ``crash`` kills the process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).parents[2]


def command(seconds: float = 0.0) -> list[str]:
    """The command that starts this worker; each case takes ``seconds`` longer."""
    return [sys.executable, str(Path(__file__).resolve()), str(ROOT), str(seconds)]


def answer(job: Mapping[str, Any]) -> dict[str, Any]:
    """Do a job; a :class:`~GliomaSegLib.results.job_result.JobResult` as JSON, as far as a batch reads it."""
    from GliomaSegLib.io.folder import check_output, written_whole
    from GliomaSegLib.io.images import read_image
    from GliomaSegLib.io.provenance import state_of, timestamp
    from GliomaSegLib.io.voxels import pixels_sha256
    from GliomaSegLib.zoo.catalogue import find_card
    from Testing.support.study import on_grid, toy_labels

    output = Path(job["output"])
    check_output(output, job.get("overwrite", False))
    files = {name: Path(path) for name, path in job.get("volumes", {}).items()} or _files_of(Path(job["study"]))
    images = {name: _read(path) for name, path in files.items()}
    reference = next(name for name in ("t1c", *images) if name in images)
    labels = sitk.Resample(on_grid(toy_labels()), images[reference], sitk.Transform(), sitk.sitkNearestNeighbor)
    with written_whole(output, job.get("overwrite", False)) as folder:
        sitk.WriteImage(labels, str(folder / "segmentation.nii.gz"))
        sitk.WriteImage(images[reference] > 0, str(folder / "brain.nii.gz"))
        result = {
            "case_id": job.get("case_id") or output.name, "model": job["model"], "output": str(output),
            "measures": _measures(labels), "missing": [], "cost": None, "warnings": [],
            "seconds": {"segmentation": 0.1}, "review": "draft", "reviews": [],
        }  # fmt: skip
        records = {
            name: {
                "path": str(path), "series_uid": None, "series_part": "", "is_reference": name == reference,
                "pixels_sha256": pixels_sha256(read_image(path)), "files_state": state_of(path),
            }
            for name, path in files.items()
        }  # fmt: skip
        manifest = {
            **result, "program": "GliomaSeg", "job": dict(job), "sequences": records,
            "model": {"id": job["model"], "weights_sha256": find_card(job["model"]).weights.shipped.sha256},
            "created": timestamp(),
            "time_point": job.get("time_point", "unknown"), "days_since_surgery": job.get("days_since_surgery"),
        }  # fmt: skip
        for name, content in (("measures.json", result["measures"]), ("manifest.json", manifest)):
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
        (folder / "report.html").write_text("<!DOCTYPE html><p>Known labels of a test.\n", encoding="utf-8")
    return result


def _files_of(study: Path) -> dict[str, Path]:
    return {path.name.split(".")[0].rpartition("_")[2]: path for path in sorted(study.iterdir())}


def _read(path: Path) -> sitk.Image:
    from GliomaSegLib.errors import InputError

    try:
        return sitk.ReadImage(str(path), sitk.sitkFloat32)
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read as an image; give NIfTI or NRRD.") from error


def _measures(labels: sitk.Image) -> dict[str, Any]:
    from GliomaSegLib.label_maps import region_mask
    from GliomaSegLib.labels import Region

    array, voxel_ml = sitk.GetArrayViewFromImage(labels), float(np.prod(labels.GetSpacing())) / 1000
    counts = {region.value: int(np.count_nonzero(region_mask(array, region))) for region in Region}
    return {
        "volumes": [
            {"name": name, "voxels": count, "volume_ml": count * voxel_ml, "brain_ratio": None}
            for name, count in counts.items()
        ],
        "lesions": [{"region": name} for name, count in counts.items() if count],
        "brain_ml": None,
    }


def main(seconds: float) -> None:
    """Answer the jobs on standard input, one JSON object per line, until it ends."""
    from GliomaSegLib.errors import GliomaSegError

    for line in filter(str.strip, sys.stdin):
        job = json.loads(line)
        if "crash" in job.get("case_id", ""):
            os.kill(os.getpid(), signal.SIGKILL)
        _emit(event="stage", name="reading")
        time.sleep(seconds)
        try:
            result = answer(job)
        except GliomaSegError as error:
            _emit(event="error", kind=type(error).__name__, text=str(error))
        else:
            _emit(event="result", result=result)


def _emit(**event: Any) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    main(float(sys.argv[2]))
