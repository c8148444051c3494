"""Reads folders of results, ``.seg.nrrd`` files and label maps."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydantic import ValidationError

from GliomaSegLib.case import Modality, Source, TimePointKind
from GliomaSegLib.errors import GliomaSegError, InputError, as_typed
from GliomaSegLib.io.folder import MANIFEST, is_result_folder
from GliomaSegLib.io.grid import array_on, oriented_like, same_grid, uncropped
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.io.segnrrd import read_segmentation, read_segments
from GliomaSegLib.io.voxels import pixels_sha256
from GliomaSegLib.label_maps import from_internal, regions_held, to_internal, values_held
from GliomaSegLib.labels import Label, LabelScheme, Region, regions_of_segments
from GliomaSegLib.measures.assessment import CaseAssessment, assess_case
from GliomaSegLib.preprocessing.resampling import resample_image
from GliomaSegLib.results.images import from_stored
from GliomaSegLib.results.layout import BRAIN, LABEL_MAP, SLICER_SEGMENTATION, probability_map, transform_file
from GliomaSegLib.results.manifest import Manifest, SequenceRecord
from GliomaSegLib.study.reading import SourceImage, read_source
from GliomaSegLib.zoo.catalogue import find_card


@dataclass(frozen=True)
class StoredResult:
    """The content of a folder of results, on the grid of the reference image.

    Attributes:
        labels: internal label map, ``uint8``.
        brain: mask, ``uint8``.
    """

    folder: Path
    manifest: Manifest
    labels: sitk.Image
    brain: sitk.Image


@dataclass(frozen=True)
class Segmentation:
    """An internal label map (``uint8``) and the regions that it distinguishes."""

    labels: sitk.Image
    regions: frozenset[Region]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a result folder, of this or an earlier version.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{folder} is not a folder of GliomaSeg results: it has no {MANIFEST}.") from error
    except ValidationError as error:
        raise InputError(f"{path} is damaged or of another version of GliomaSeg; run the case again.") from error


def read_result(folder: Path) -> StoredResult:
    """Read a folder of results, whose labels must not have been edited since the last measurement.

    Raises:
        InputError: a file cannot be read, or the labels were edited and not measured since.
    """
    manifest, brain = read_manifest(folder), read_labels(folder / BRAIN)
    labels, edited = current_labels(folder, manifest, brain)
    if edited:
        raise InputError(
            f"{folder / edited} was edited since it was measured; run 'gliomaseg measure {as_typed(folder)}' first."
        )
    return StoredResult(folder, manifest, labels, brain)


def assess_stored(
    manifest: Manifest, labels: sitk.Image, brain: sitk.Image, probabilities: Mapping[Region, sitk.Image]
) -> CaseAssessment:
    """Measure the present labels of a result; the images are those of :func:`assess_case`."""
    return assess_case(
        labels,
        brain,
        manifest.regions,
        probabilities,
        manifest.when,
        manifest.sequences,
        edited=manifest.changed is not None,
        task=manifest.model.task,
        made_for=made_for(manifest)[1],
        review=manifest.review,
    )


def made_for(manifest: Manifest) -> tuple[str | None, frozenset[TimePointKind]]:
    """Task and time points of the model; for results without them from the present card of that ID."""
    model = manifest.model
    if model.task is not None:
        return model.task, frozenset(model.time_points)
    with contextlib.suppress(InputError):  # the model may be gone
        card = find_card(model.id, manifest.job.store)
        return card.task, frozenset(card.time_points)
    return None, frozenset()


def _saved_again(folder: Path, manifest: Manifest) -> list[str]:
    """Names of the label files that differ from the written ones, possibly with the same voxels.

    Raises:
        InputError: one of them is missing.
    """
    for name in manifest.sha256:
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} is missing; run the case again.")
    return [name for name, digest in manifest.sha256.items() if sha256_of(folder / name) != digest]


def current_labels(folder: Path, manifest: Manifest, grid: sitk.Image) -> tuple[sitk.Image, str | None]:
    """The internal label map on ``grid`` including edits, and the name of the edited file.

    The name is ``None`` without an edit, also if another program saved a file with the same voxels.

    Raises:
        InputError: a file is missing, both were edited, or the edited one does not fit the case.
    """
    saved = _saved_again(folder, manifest)
    drawn = read_segmentation(folder / SLICER_SEGMENTATION, grid)
    found = {SLICER_SEGMENTATION: drawn} if SLICER_SEGMENTATION in saved else {}
    if LABEL_MAP in saved:
        found[LABEL_MAP] = _edited_label_map(folder / LABEL_MAP, manifest.job.label_scheme, drawn)
    digests = {name: pixels_sha256(labels) for name, labels in found.items()}
    edited = [name for name, digest in digests.items() if digest != manifest.labels_sha256]
    if len({digests[name] for name in edited}) > 1:
        raise InputError(
            f"Both {LABEL_MAP} and {SLICER_SEGMENTATION} in {folder} were edited and only one can count; restore one "
            "of them, or run the case again."
        )
    return (found[edited[0]], edited[0]) if edited else (drawn, None)


def _edited_label_map(path: Path, scheme: LabelScheme, before: sitk.Image) -> sitk.Image:
    """Read an edited label map as internal labels; ``before`` is the map before the edit."""
    edited = oriented_like(read_labels(path), before)
    if not same_grid(edited, before):
        raise InputError(f"{path} lies on another grid than its case; save the edit on the grid of the original file.")
    array, earlier = sitk.GetArrayFromImage(edited), sitk.GetArrayFromImage(before)
    internal = to_internal(array, scheme, str(path))
    # The scheme may lack a label, such as the cavity: unchanged voxels keep theirs.
    return array_on(np.where(from_internal(earlier, scheme) == array, earlier, internal), before)


def is_slicer_segmentation(path: Path) -> bool:
    """Whether the name is that of a Slicer segmentation, which needs no label scheme."""
    return path.name.endswith(".seg.nrrd")


def read_any_segmentation(
    path: Path, scheme: LabelScheme = LabelScheme.GLIOMASEG, grid: sitk.Image | None = None
) -> Segmentation:
    """Read a segmentation from a result folder (edits included), a ``.seg.nrrd`` or a label map.

    Args:
        scheme: of a label map; that of a folder of results is known.
        grid: to which a ``.seg.nrrd``, which Slicer may crop, is resampled; by default its reference geometry.

    Raises:
        InputError: the file cannot be read, or its label scheme is ambiguous; or as :func:`current_labels`.
    """
    if path.is_dir():
        manifest = read_manifest(path)
        labels, _ = current_labels(path, manifest, read_labels(path / BRAIN))
        return Segmentation(labels, frozenset(regions_held(sitk.GetArrayViewFromImage(labels), manifest.regions)))
    of_result = path.name in (LABEL_MAP, SLICER_SEGMENTATION) and is_result_folder(path.parent)
    result = read_manifest(path.parent) if of_result else None
    if is_slicer_segmentation(path):
        labels, segments = read_segments(path, grid)
        regions = frozenset(Region) if result is not None else regions_of_segments(segments or tuple(Label))
    else:
        scheme = result.job.label_scheme if result is not None else scheme
        labels, regions = read_labels(path, scheme), frozenset(scheme.regions)
        if result is None and scheme is LabelScheme.GLIOMASEG:
            _check_numbering(sitk.GetArrayViewFromImage(labels), path)
    if result is not None:
        # The file distinguishes no region that the model does not give, unless a reviewer drew it.
        regions &= set(regions_held(sitk.GetArrayViewFromImage(labels), result.regions))
    return Segmentation(labels, regions)


def _check_numbering(labels: np.ndarray, path: Path) -> None:
    values = values_held(labels)
    if Label.RC in values and Label.ET not in values:
        raise InputError(
            f"{path} holds the label 4 and no 3: up to BraTS 2021 that is enhancing tumour, since BraTS 2024 the "
            f"resection cavity; say which with the scheme '{LabelScheme.BRATS2017.value}' (4 is enhancing tumour) or "
            f"'{LabelScheme.BRATS2024.value}' (4 is the cavity)."
        )


def read_probabilities(folder: Path, grid: sitk.Image | None = None) -> dict[Region, sitk.Image]:
    """Read the probability maps of a folder of results: ``float32``, 0 to 1, on the grid of its labels.

    The files hold 0 to 255, cropped to where the region may be, for regions that may be thresholded again; with
    ``all_probabilities`` (``segment --all-probabilities``) all regions of the model on the whole grid.

    Args:
        grid: an image on that grid, if it was read already.

    Raises:
        InputError: one of them cannot be read.
    """
    grid = grid or read_labels(folder / BRAIN)
    paths = {region: probability_map(folder, region) for region in Region}
    return {region: from_stored(uncropped(read_labels(path), grid)) for region, path in paths.items() if path.is_file()}


def read_transforms(folder: Path) -> dict[Modality, sitk.Transform]:
    """Read the transforms from the reference image to each modality that had to be moved (LPS mm).

    Raises:
        InputError: one of them cannot be read.
    """
    paths = {modality: transform_file(folder, modality) for modality in Modality}
    return {modality: _read_transform(path) for modality, path in paths.items() if path.is_file()}


def _read_transform(path: Path) -> sitk.Transform:
    try:
        return sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(f"The transform {path} cannot be read; run the case again.") from error


def read_original(record: SequenceRecord, grid: sitk.Image, transform: sitk.Transform | None = None) -> SourceImage:
    """Read an original image of a result again and resample it to ``grid``, ``float32``.

    Args:
        transform: from :func:`read_transforms`; ``None`` if the modality was not moved.

    Raises:
        InputError: it is missing, cannot be read, or has changed.
    """
    try:
        image, series = read_source(Source(record.path, record.series_uid, record.series_part))
    except GliomaSegError as error:
        raise InputError(f"The original image cannot be read again: {error}") from error
    if pixels_sha256(image) != record.pixels_sha256:
        raise InputError(f"{record.name or record.path} has other pixels than when it was segmented.")
    return SourceImage(resample_image(image, grid, transform), series)


def read_originals(
    manifest: Manifest, grid: sitk.Image, transforms: Mapping[Modality, sitk.Transform]
) -> dict[Modality, sitk.Image]:
    """Read all original images of a result, see :func:`read_original`."""
    return {
        modality: read_original(record, grid, transforms.get(modality)).image
        for modality, record in manifest.sequences.items()
    }
