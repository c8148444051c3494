"""Segments images in memory: arrays, SimpleITK or nibabel images; the result is in memory too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from GliomaSegLib.case import Modality, SequenceVolume, Source
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.geometry import check_field_of_view
from GliomaSegLib.io.grid import RAS_TO_LPS, image_from_affine
from GliomaSegLib.io.voxels import check_intensities, without_padding
from GliomaSegLib.job import new_settings
from GliomaSegLib.options import AUTO
from GliomaSegLib.pipeline.memory import threads_and_memory_of_run
from GliomaSegLib.pipeline.segment import segment_case, set_up
from GliomaSegLib.progress import Progress, ProgressRecorder, Silent
from GliomaSegLib.results.result import Result
from GliomaSegLib.study.reading import checked_case
from GliomaSegLib.terminal import progress_for_stderr

OnProgress = Callable[[str, float], None]
"""Called with the stage and its fraction done (0 to 1); an exception stops the run."""


def segment_arrays(
    images: Mapping[Modality | str, Any],
    affine: ArrayLike | None = None,
    *,
    model: str = AUTO,
    device: str = "auto",
    on_progress: OnProgress | Literal["bar"] | None = "bar",
    case_id: str = "case",
    **settings: Any,
) -> Result:
    """Segment images in memory; nothing is written.

    Args:
        images: any of ``t1n``, ``t1c``, ``t2w`` and ``t2f``. Each a :class:`SimpleITK.Image` or nibabel image with its
            geometry, or an array ``[x, y, z]`` (nibabel's order) of any real type. With or without skull
            (``brain="stripped"``), any spacing and orientation; NaN is refused.
        affine: 4 x 4 from voxel indices (x, y, z) to RAS mm, for arrays, which must have one shape.
        model: ID of an installed model; by default the best one for these modalities.
        device: ``auto``, ``cpu``, ``cuda`` (or ``cuda:1``) or ``mps``.
        on_progress: ``"bar"`` for a progress bar in a terminal or notebook, ``None`` for none, or a function that is
            called with the stage and its fraction done.
        case_id: name of the case.
        settings: further fields of :class:`~GliomaSegLib.job.Settings`, such as ``registration=False``.

    Returns:
        labels, measures, probabilities, transforms and warnings, on the grid of the reference image (T1c, else the
        first of :data:`~GliomaSegLib.case.REFERENCE_ORDER`).

    Raises:
        GliomaSegError: an input cannot be used; the message is one sentence.
    """
    asked = new_settings(model=model, device=device, **settings)
    volumes = {modality: _volume(modality, images[key], affine) for key in images for modality in [_modality(key)]}
    if len({np.shape(image) for image in images.values() if _is_array(image)}) > 1:
        shapes = ", ".join(f"{key} {np.shape(image)}" for key, image in images.items() if _is_array(image))
        raise InputError(
            f"The arrays have different shapes ({shapes}), so one affine cannot be that of all; give SimpleITK or "
            "nibabel images, which have their own."
        )
    with threads_and_memory_of_run(asked.threads), _shown(on_progress) as progress:
        recorder = ProgressRecorder(progress)
        present = [modality for modality in Modality if modality in volumes and modality not in asked.leave_out]
        setup = set_up(asked, lambda: present, recorder)
        used = {one: volumes[one] for one in present if one in setup.card.inputs.sequences}
        case = checked_case(case_id, used, asked.when)
        return segment_case(case, setup, asked, setup.card.thresholdable, recorder)[0]


class _Calling(Silent):
    """A progress that calls a function with the stage and its fraction done."""

    def __init__(self, call: OnProgress) -> None:
        self._call, self._stage = call, ""

    def stage(self, name: str) -> None:
        self._stage = name
        self._call(name, 0.0)

    def advance(self, fraction: float, detail: str = "") -> None:
        self._call(self._stage, fraction)


def _shown(on_progress: OnProgress | str | None) -> AbstractContextManager[Progress]:
    if on_progress == "bar":
        return progress_for_stderr()
    return nullcontext(_Calling(on_progress) if callable(on_progress) else Silent())


def _modality(key: Modality | str) -> Modality:
    try:
        return Modality(key)
    except ValueError as error:
        known = ", ".join(modality.value for modality in Modality)
        raise InputError(f"'{key}' is not one of the sequences {known}; name the images by these.") from error


def _is_array(image: Any) -> bool:
    return not isinstance(image, sitk.Image) and not hasattr(image, "affine")


def _volume(modality: Modality, given: Any, affine: ArrayLike | None) -> SequenceVolume:
    name = f"images['{modality.value}']"
    image = given if isinstance(given, sitk.Image) else _from_array(given, affine, name)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() > 1:
        raise InputError(f"{name} is no single 3-D volume of intensities; give one volume per sequence.")
    image = without_padding(sitk.Cast(image, sitk.sitkFloat32))
    check_intensities(sitk.GetArrayViewFromImage(image), name)
    extent = tuple(size * mm for size, mm in zip(image.GetSize(), image.GetSpacing(), strict=True))
    check_field_of_view(extent, name)
    return SequenceVolume(modality, image, Source(Path(name)), 1.0, "it was given as such", name)


def _from_array(given: Any, affine: ArrayLike | None, name: str) -> sitk.Image:
    """A nibabel image or an array ``[x, y, z]`` as an image."""
    if _is_array(given):
        array = np.asarray(given)
        if affine is None:
            raise InputError(
                f"{name} is an array, which does not say how it lies in the patient; give 'affine' (4 x 4, voxels to "
                "RAS mm), or a SimpleITK or nibabel image."
            )
    else:
        array, affine = np.asanyarray(given.dataobj), given.affine
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name} holds values of the type {array.dtype}; give grey values, whole or real numbers.")
    if array.ndim != 3 or min(array.shape) < 2:
        raise InputError(f"{name} has the shape {array.shape}; give one volume with the axes x, y and z.")
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    return image_from_affine(array, RAS_TO_LPS @ _matrix(affine, name), name)


def _matrix(affine: ArrayLike | None, name: str) -> NDArray[np.float64]:
    try:
        matrix = np.asarray(affine, float)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
        raise InputError(
            f"The affine of {name} is no invertible 4 x 4 matrix of numbers; give that from voxel indices to RAS mm."
        )
    return matrix
