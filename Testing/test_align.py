"""Registration finds known movements, leaves alone what is in place, and tells what cannot be right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Case, Sequence, SequenceVolume, Source
from GliomaSegLib.errors import InputError
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.preprocessing.align import align_case, register
from GliomaSegLib.preprocessing.grid import centre
from GliomaSegLib.progress import Journal, Silent

MOVING = (Sequence.T1N, Sequence.T2W, Sequence.T2F)


def inside_head(image: sitk.Image) -> list[tuple[float, float, float]]:
    """Eight points some centimetres from the middle of the image, LPS mm."""
    middle = np.array(centre(image))
    steps = [np.array([x, y, z]) for x in (-45, 45) for y in (-55, 55) for z in (-35, 35)]
    return [tuple((middle + step).tolist()) for step in steps]


def error_mm(found: sitk.Transform | None, true: sitk.Transform, image: sitk.Image) -> float:
    """Mean distance between where the two transforms take points of the head."""
    found = found or sitk.Transform(3, sitk.sitkIdentity)
    points = inside_head(image)
    return float(np.mean([math.dist(found.TransformPoint(p), true.TransformPoint(p)) for p in points]))


@pytest.mark.parametrize("sequence", MOVING)
def test_finds_the_phantoms_movements(small_phantom: Phantom, sequence: Sequence) -> None:
    fixed = small_phantom.images[Sequence.T1C]
    registration = register(fixed, small_phantom.images[sequence])
    assert error_mm(registration.transform, small_phantom.transforms[sequence], fixed) < 1.5
    assert registration.mirror_contrast > 1


def test_leaves_alone_what_is_in_place(small_phantom: Phantom) -> None:
    fixed = small_phantom.images[Sequence.T1C]
    in_place = sitk.Resample(
        small_phantom.images[Sequence.T1N], fixed, small_phantom.transforms[Sequence.T1N], sitk.sitkLinear
    )
    registration = register(fixed, in_place)
    assert registration.transform is None
    assert registration.shift_mm == 0


def test_is_the_same_every_time_with_any_number_of_threads(small_phantom: Phantom) -> None:
    fixed, moving = small_phantom.images[Sequence.T1C], small_phantom.images[Sequence.T2F]
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    found = []
    try:
        for threads in (1, 3):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            found.append(register(fixed, moving))
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert found[0].transform.GetParameters() == found[1].transform.GetParameters()
    assert found[0].mirror_contrast == found[1].mirror_contrast


def test_a_thin_slab_is_placed_like_any_other(small_phantom: Phantom) -> None:
    fixed = small_phantom.images[Sequence.T1C]
    slab = small_phantom.images[Sequence.T2F][:, :, 10:18]
    registration = register(fixed, slab)
    assert registration.overlapped
    assert registration.information > 1.05


def case_of(t1c: sitk.Image, t2f: sitk.Image) -> Case:
    """A case of two sequences, as if read from files."""
    volumes = {
        sequence: SequenceVolume(sequence, image, Source(f"{sequence.value}.nii.gz"), 1.0, "made by the test")
        for sequence, image in ((Sequence.T1C, t1c), (Sequence.T2F, t2f))
    }
    return Case("test", volumes)


def mirrored(image: sitk.Image) -> sitk.Image:
    """The pixels flipped from left to right, the geometry kept: what a wrong conversion does."""
    axis = int(np.argmax(np.abs(np.reshape(image.GetDirection(), (3, 3))[0])))
    flipped = sitk.Flip(image, [index == axis for index in range(3)])
    flipped.CopyInformation(image)
    return flipped


def test_refuses_a_mirrored_sequence(small_phantom: Phantom) -> None:
    case = case_of(small_phantom.images[Sequence.T1C], mirrored(small_phantom.images[Sequence.T2F]))
    with pytest.raises(InputError, match=r"FLAIR \(t2f.nii.gz\) is mirrored left to right"):
        align_case(case, Silent())


def test_refuses_what_is_no_head(small_phantom: Phantom) -> None:
    noise = np.random.default_rng(0).normal(100, 20, (20, 60, 60)).astype(np.float32)
    image = sitk.GetImageFromArray(noise)
    image.SetSpacing((3, 3, 5))
    with pytest.raises(InputError, match="could not be registered"):
        align_case(case_of(small_phantom.images[Sequence.T1C], image), Silent())


def test_finds_a_sequence_that_lies_elsewhere_in_space_and_says_so(small_phantom: Phantom) -> None:
    far = sitk.Image(small_phantom.images[Sequence.T2F])
    x, y, z = far.GetOrigin()
    far.SetOrigin((x + 900.0, y, z + 300.0))
    journal = Journal(Silent())
    found = align_case(case_of(small_phantom.images[Sequence.T1C], far), journal)[Sequence.T2F]
    assert not found.overlapped
    assert "do not meet" in journal.warnings[0]
    true = sitk.CompositeTransform(
        [sitk.TranslationTransform(3, (900.0, 0.0, 300.0)), small_phantom.transforms[Sequence.T2F]]
    )
    assert error_mm(found.transform, true, small_phantom.images[Sequence.T1C]) < 1.5


def test_refuses_an_image_without_contrast(small_phantom: Phantom) -> None:
    flat = sitk.Image([20, 20, 20], sitk.sitkFloat32) + 5
    with pytest.raises(InputError, match="no contrast"):
        register(small_phantom.images[Sequence.T1C], flat)
