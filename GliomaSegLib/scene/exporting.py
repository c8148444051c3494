"""Exports a result as DICOM objects."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import slicer

from GliomaSegLib.errors import InputError
from GliomaSegLib.scene.measuring import up_to_date
from GliomaSegLib.scene.result import keep_files
from GliomaSegLib.scene.run import Steps, in_thread
from GliomaSegLib.scene.session import Session


def export_steps(
    session: Session,
    segmentation: slicer.vtkMRMLSegmentationNode,
    request: Mapping[str, Any],
    series: Path | Iterable[Path] | None,
) -> Steps:
    """Steps that have the worker write DICOM objects; they return the path of each by its kind.

    Args:
        request: :class:`~GliomaSegLib.job.Export` as JSON, without the results and the series.
        series: the DICOM series of the reference image, as a folder or as its files.
    """
    with ExitStack() as undo:
        results = yield from up_to_date(session, segmentation)
        if series is not None and not isinstance(series, Path):
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="GliomaSeg-")))
            yield from in_thread(partial(_copy_series, list(series), folder))
            series = folder
        whole = {**request, "results": str(results), "series": series and str(series)}
        answer = yield from session.request(whole, segmentation)
        yield from keep_files(segmentation, results)  # it now has the tracking UIDs of the lesions
    return {kind: Path(path) for kind, path in answer["files"].items()}


def _copy_series(files: Iterable[Path], folder: Path) -> None:
    """Copy the files of a DICOM series into a folder of their own; they may be stored among those of other series."""
    try:
        for number, path in enumerate(files):
            shutil.copyfile(path, folder / f"{number:05}.dcm")
    except OSError as error:
        raise InputError(
            f"The DICOM file {error.filename} cannot be read ({error.strerror}); give the folder of its series instead."
        ) from error
