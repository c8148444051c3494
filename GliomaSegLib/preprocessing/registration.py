"""Registration of every modality of a case to the reference image; refuses or warns where it cannot be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.case import Case, Modality, SequenceVolume
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.transforms import read_rigid
from GliomaSegLib.preprocessing.rigid import DOUBTFUL_BELOW, GIVEN_WITHIN, Registration, evaluate, register
from GliomaSegLib.progress import Progress, ProgressRecorder, Silent

MIRRORED_BELOW = 0.97
FAILED_BELOW_NMI = 1.03


def register_case(
    case: Case,
    progress: Progress,
    given: Mapping[Modality, sitk.Euler3DTransform] | None = None,
    registering: bool = True,
) -> dict[Modality, Registration]:
    """Register every modality of the case but the reference to the reference.

    Side by side, in as many threads as SimpleITK may use. Warns through ``progress`` about doubtful ones.

    Args:
        given: transforms that are used instead, and checked as if they had been found.
        registering: ``False`` to check those with a given transform only; all others are known to lie in place.

    Raises:
        InputError: the fields of view do not meet, an image is mirrored left to right, or nothing fits.
    """
    given, reference = given or {}, case.reference
    others = [
        case.volumes[modality]
        for modality in case.present
        if modality is not reference.sequence and (registering or modality in given)
    ]

    def found_for(moving: SequenceVolume) -> tuple[Registration, list[str]]:
        images, names = (reference.image, moving.image), (str(reference), str(moving))
        remarks = ProgressRecorder(Silent())
        if moving.sequence not in given:
            return register_checked(*images, *names, remarks, one_exam=True), remarks.warnings
        with _named(*names):
            found = evaluate(*images, given[moving.sequence])
        _check_given(found, *names, remarks)
        return found, remarks.warnings

    registrations = {}
    # Each takes one processor core, so that it gives the same answer everywhere, and leaves the others to the rest.
    pool = ThreadPoolExecutor(max(1, sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()))
    try:
        running = [pool.submit(found_for, moving) for moving in others]
        for done, (moving, registration) in enumerate(zip(others, running, strict=True)):
            progress.advance(done / len(others), moving.sequence.title)
            registrations[moving.sequence], warnings = registration.result()
            for sentence in warnings:
                progress.warn(sentence)
    finally:
        pool.shutdown(cancel_futures=True)
    return registrations


def register_checked(
    fixed: sitk.Image, moving: sitk.Image, fixed_name: str, moving_name: str, progress: Progress, one_exam: bool = False
) -> Registration:
    """As :func:`.rigid.register`; warns through ``progress`` about a doubtful fit.

    Args:
        one_exam: both are of one examination, so that they should meet in the scanner's coordinates.

    Raises:
        InputError: they do not fit, or one is mirrored left to right; the sentence names both.
    """
    with _named(fixed_name, moving_name):
        found = register(fixed, moving)
    _check(found, fixed_name, moving_name, progress, one_exam)
    return found


def given_transforms(paths: Mapping[Modality, Path], case: Case) -> dict[Modality, sitk.Euler3DTransform]:
    """Read the transforms that a user gives for modalities of ``case``.

    Raises:
        InputError: there is no such modality, it is the reference, or a file is no rigid transform.
    """
    for modality, path in paths.items():
        if modality not in case.volumes:
            raise InputError(f"{path} is given to move {modality.title}, which the case does not have; leave it out.")
        if modality is case.reference.sequence:
            raise InputError(
                f"{path} is given to move {modality.title}, but that is the image to which the others are moved; give "
                "the transforms of the others."
            )
    return {modality: read_rigid(path) for modality, path in paths.items()}


@contextmanager
def _named(fixed: str, moving: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{moving} cannot be registered to {fixed}: {error}") from error


def _check(found: Registration, fixed: str, moving: str, progress: Progress, one_exam: bool) -> None:
    apart = one_exam and not found.overlapped
    lost = " and their fields of view do not meet in the scanner's coordinates" if apart else ""
    or_without = ", or leave it out (--without)" if one_exam else ""
    if found.nmi < FAILED_BELOW_NMI:
        raise InputError(
            f"{moving} could not be registered to {fixed}: no position was found where they fit (mutual information "
            f"{found.nmi:.3f}){lost}; check that both are heads of one patient{or_without}."
        )
    if found.mirror_contrast < MIRRORED_BELOW:
        raise InputError(
            f"{moving} is mirrored left to right with respect to {fixed}: its mirror image fits better (contrast "
            f"{found.mirror_contrast:.2f}); correct the one that is wrong{or_without}."
        )
    if found.mirror_contrast < DOUBTFUL_BELOW:
        progress.warn(
            f"The registration of {moving} to {fixed} is doubtful: it fits no better than its mirror image (contrast "
            f"{found.mirror_contrast:.2f}){lost}. Check that both are of one patient and that it lies in place."
        )
    elif apart:
        progress.warn(f"{moving} was placed by its content alone: it and {fixed} do not meet in the scanner's space.")


def _check_given(found: Registration, fixed: str, moving: str, progress: Progress) -> None:
    way_out = "correct the transform, or leave it out and the sequence is registered"
    if found.nmi < FAILED_BELOW_NMI:
        raise InputError(
            f"{moving} does not fit {fixed} where the given transform puts it (mutual information {found.nmi:.3f}); "
            f"{way_out}."
        )
    if found.mirror_contrast < MIRRORED_BELOW:
        raise InputError(
            f"{moving} fits {fixed} worse than its mirror image does where the given transform puts it (contrast "
            f"{found.mirror_contrast:.2f}): the transform is wrong or an image is mirrored; {way_out}."
        )
    if found.mirror_contrast < DOUBTFUL_BELOW or found.better_nearby:
        progress.warn(
            f"The transform that was given for {moving} is doubtful: "
            + (
                f"a place {GIVEN_WITHIN:g} mm or degrees away fits better"
                if found.better_nearby
                else f"it fits no better than its mirror image (contrast {found.mirror_contrast:.2f})"
            )
            + ". Check that it lies in place."
        )
