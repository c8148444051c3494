"""After an edit or a review: measures, report and manifest brought up to date with what the reviewer did."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import Modality, Source
from GliomaSegLib.errors import GliomaSegError, InputError
from GliomaSegLib.io.folder import written_whole
from GliomaSegLib.io.grid import array_on, oriented_like, same_grid
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.segnrrd import read_segmentation
from GliomaSegLib.job import Result
from GliomaSegLib.label_maps import from_internal, regions_held, to_internal
from GliomaSegLib.options import ReviewState
from GliomaSegLib.preprocessing.resampling import resample_image
from GliomaSegLib.progress import Progress, ProgressRecorder, Silent
from GliomaSegLib.results.writing import (
    BRAIN,
    FILES,
    LABEL_MAP,
    LOST_LABELS,
    SLICER_SEGMENTATION,
    Findings,
    Manifest,
    moved,
    pixels_sha256,
    read_manifest,
    read_probabilities,
    read_transforms,
    timestamp,
    write_results,
)
from GliomaSegLib.study.reading import read_source
from GliomaSegLib.zoo.store import sha256_of

_NO_PICTURES = "The report has no pictures, because"
_TOLD_ANEW = (_NO_PICTURES, LOST_LABELS)


def refresh(output: Path, progress: Progress | None = None) -> Result:
    """Bring a folder of results up to date after ``segmentation.nii.gz`` or ``segmentation.seg.nrrd`` was edited.

    The file that changed is taken and the other one made from it; the review state becomes ``edited``, which voids an
    approval (it stays in the manifest's history). A file that was only saved again is no edit. The report's pictures
    need the original images: without them it is written without pictures, and says so.

    Raises:
        InputError: not a folder of results, both files changed, or the edited one does not fit this case.
    """
    return _brought_up_to_date(output, lambda manifest: manifest, progress)


def review(output: Path, state: ReviewState, by: str, progress: Progress | None = None) -> Result:
    """Record that ``by`` approves or rejects the results in ``output``, or takes that back (``draft``).

    It is said of what is in the folder now: an edit is first measured, as in :func:`refresh`.

    Raises:
        InputError: nobody is named, the state is ``edited``, or as :func:`refresh`.
    """
    state = ReviewState(state)
    if state is ReviewState.EDITED:
        raise InputError("A review cannot say 'edited', which an edit does by itself; say approved, rejected or draft.")
    if not by.strip():
        raise InputError("A review needs the name of the reviewer; give it.")
    return _brought_up_to_date(output, lambda manifest: manifest.reviewed(state, by.strip()), progress)


def _brought_up_to_date(output: Path, change: Callable[[Manifest], Manifest], progress: Progress | None) -> Result:
    manifest = read_manifest(output)
    journal = ProgressRecorder(progress or Silent())
    journal.stage("measures and report")
    brain = read_labels(output / BRAIN)
    labels, edited = _labels_now(output, manifest, brain)
    transforms = read_transforms(output)
    images = _images_again(manifest, transforms, brain, journal)
    journal.warnings[:0] = [warning for warning in manifest.warnings if not warning.startswith(_TOLD_ANEW)]
    if edited:
        manifest = _edited(manifest, labels)
    probabilities = read_probabilities(output, brain)
    findings = Findings(labels, brain, images, probabilities, transforms)
    with written_whole(output, overwrite=True) as folder:
        _keep_the_rest(output, folder)
        result = write_results(folder, findings, change(manifest), journal)
    return moved(result, output)


def _edited(manifest: Manifest, labels: sitk.Image) -> Manifest:
    # A reviewer may draw what the model could not tell apart; from then on it is told apart.
    regions = regions_held(sitk.GetArrayViewFromImage(labels), manifest.regions)
    changed = manifest.model_copy(update={"changed": timestamp(), "regions": regions})
    return changed if manifest.review is ReviewState.EDITED else changed.reviewed(ReviewState.EDITED)


def _keep_the_rest(output: Path, folder: Path) -> None:
    """Copy what is not written anew: probability maps, and whatever a reader has put there (scenes, pictures)."""

    def written_anew(place: str, names: list[str]) -> set[str]:
        return set(FILES.values()) & set(names) if Path(place) == output else set()

    shutil.copytree(output, folder, symlinks=True, ignore=written_anew, dirs_exist_ok=True)


def _labels_now(output: Path, manifest: Manifest, grid: sitk.Image) -> tuple[sitk.Image, bool]:
    """The internal label map as it stands now, and whether it was edited."""
    for name in manifest.sha256:
        if not (output / name).is_file():
            raise InputError(f"{output / name} is missing; run the case again.")
    changed = [name for name, digest in manifest.sha256.items() if sha256_of(output / name) != digest]
    if len(changed) > 1:
        raise InputError(
            f"Both {LABEL_MAP} and {SLICER_SEGMENTATION} in {output} were edited and only one can count; restore one "
            "of them, or run the case again."
        )
    segmentation = read_segmentation(output / SLICER_SEGMENTATION, grid)
    if changed == [LABEL_MAP]:
        segmentation = _edited_label_map(output / LABEL_MAP, manifest, segmentation)
    return segmentation, bool(changed) and pixels_sha256(segmentation) != manifest.labels_sha256


def _edited_label_map(path: Path, manifest: Manifest, before: sitk.Image) -> sitk.Image:
    """The edited map in internal labels; ``before`` is the one that it was made from, on the grid of the case."""
    edited = oriented_like(read_labels(path), before)
    if not same_grid(edited, before):
        raise InputError(f"{path} lies on another grid than its case; save the edit on the grid of the original file.")
    scheme, array, earlier = manifest.job.label_scheme, sitk.GetArrayFromImage(edited), sitk.GetArrayFromImage(before)
    internal = to_internal(array, scheme, str(path))
    # The numbering may lack a label, such as the cavity: a voxel that was left alone keeps what it was.
    return array_on(np.where(from_internal(earlier, scheme) == array, earlier, internal), before)


def _images_again(
    manifest: Manifest, transforms: Mapping[Modality, sitk.Transform], grid: sitk.Image, progress: Progress
) -> dict[Modality, sitk.Image]:
    """The sequences on the results' grid, from the original files; none when one of these is not what it was."""
    images = {}
    for sequence, record in manifest.sequences.items():
        try:
            image = read_source(Source(record.path, record.series_uid, record.series_part))
        except GliomaSegError as error:
            progress.warn(f"{_NO_PICTURES} an original image could not be read again: {error}")
            return {}
        if pixels_sha256(image) != record.pixels_sha256:
            progress.warn(f"{_NO_PICTURES} {record.name or record.path} has other pixels than when it was segmented.")
            return {}
        images[sequence] = resample_image(image, grid, transforms.get(sequence))
    return images
