"""Update of a result folder after an edit or a review: labels, measures, report and manifest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.folder import MANIFEST, written_whole
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.provenance import sha256_of, timestamp
from GliomaSegLib.label_maps import regions_held
from GliomaSegLib.options import ReviewState
from GliomaSegLib.progress import Progress, ProgressRecorder, Silent
from GliomaSegLib.results.images import ResultImages
from GliomaSegLib.results.job_result import JobResult
from GliomaSegLib.results.layout import BRAIN, FILES, LABEL_MAP, SLICER_SEGMENTATION
from GliomaSegLib.results.manifest import Manifest
from GliomaSegLib.results.reading import (
    assess_stored,
    current_labels,
    read_manifest,
    read_originals,
    read_probabilities,
    read_transforms,
)
from GliomaSegLib.results.writing import LOST_LABELS, result_of, write_results

_NO_PICTURES = "The report has no pictures"
_GIVEN_ANEW = (_NO_PICTURES, LOST_LABELS)  # the beginnings of the warnings that every update determines again


def refresh(output: Path, progress: Progress | None = None) -> JobResult:
    """Update a result folder after ``segmentation.nii.gz`` or ``segmentation.seg.nrrd`` was edited.

    The file that changed counts and the other one is made from it; the review state becomes ``edited``, which voids an
    approval (it stays in the manifest's history). A file that was only saved again is no edit. The report's pictures
    need the original images: without them it is written without pictures, with a warning.

    Raises:
        InputError: not a result folder, both files changed, or the edited one does not fit this case.
    """
    return _updated(output, lambda manifest: manifest, progress)


def review(output: Path, state: ReviewState, by: str, progress: Progress | None = None) -> JobResult:
    """Record that ``by`` approves or rejects the results in ``output``, or withdraws that (``draft``).

    The review is of the present files: an edit is first measured, as in :func:`refresh`.

    Raises:
        InputError: ``by`` is empty, the state is ``edited``, or as :func:`refresh`.
    """
    state = ReviewState(state)
    if state is ReviewState.EDITED:
        raise InputError("A review cannot say 'edited', which an edit does by itself; say approved, rejected or draft.")
    if not by.strip():
        raise InputError("A review needs the name of the reviewer; give it.")
    return _updated(output, lambda manifest: manifest.reviewed(state, by.strip()), progress)


def _updated(output: Path, change: Callable[[Manifest], Manifest], progress: Progress | None) -> JobResult:
    output = output.resolve()  # of a link the folder is updated, or its own path would show the old measures
    read = _state(output)
    manifest = read_manifest(output)
    recorder = ProgressRecorder(progress or Silent())
    recorder.stage("measures and report")
    brain = read_labels(output / BRAIN)
    labels, edited = current_labels(output, manifest, brain)
    transforms = read_transforms(output)
    try:
        originals = read_originals(manifest, brain, transforms)
    except InputError as error:
        recorder.warn(f"{_NO_PICTURES}: {error}")
        originals = {}
    kept = [one for one in manifest.warnings if not one.startswith(_GIVEN_ANEW) and one not in manifest.implausible]
    recorder.warnings[:0] = kept
    manifest = change(_edited(manifest, labels) if edited else manifest)
    images = ResultImages(labels, brain, originals, read_probabilities(output, brain), transforms)
    assessed = assess_stored(manifest, images.labels, images.brain, images.probabilities)
    with written_whole(output, overwrite=True, revises=True) as folder:
        _keep_the_rest(output, folder)
        manifest = write_results(folder, images, manifest, assessed, recorder)
        if _state(output) != read:
            raise InputError(f"{output} was changed again while it was measured; run 'gliomaseg measure' once more.")
    return result_of(output, manifest, assessed.measures)


def _state(output: Path) -> list[str]:
    """Hashes of what an edit or another review changes."""
    return [
        sha256_of(output / name) for name in (LABEL_MAP, SLICER_SEGMENTATION, MANIFEST) if (output / name).is_file()
    ]


def _edited(manifest: Manifest, labels: sitk.Image) -> Manifest:
    # A reviewer may draw a region that the model does not give; from then on the result has it.
    regions = regions_held(sitk.GetArrayViewFromImage(labels), manifest.regions)
    changed = manifest.model_copy(update={"changed": timestamp(), "regions": regions})
    return changed if manifest.review is ReviewState.EDITED else changed.reviewed(ReviewState.EDITED)


def _keep_the_rest(output: Path, folder: Path) -> None:
    """Copy the files that are not rewritten: probability maps, and files that a reader has added (scenes, pictures)."""

    def written_anew(place: str, names: list[str]) -> set[str]:
        return set(FILES.values()) & set(names) if Path(place) == output else set()

    shutil.copytree(output, folder, symlinks=True, ignore=written_anew, dirs_exist_ok=True)
