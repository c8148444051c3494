"""Registration finds known movements, leaves alone what is in place, and tells what cannot be right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Case, Modality, SequenceVolume, Source
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import centre
from GliomaSegLib.io.transforms import read_rigid
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.preprocessing.registration import MIRRORED_BELOW, given_transforms, register_case, register_checked
from GliomaSegLib.preprocessing.rigid import DOUBTFUL_BELOW, Registration, evaluate, register
from GliomaSegLib.progress import ProgressRecorder, Silent
from GliomaSegLib.study.reading import read_case
from Testing.support.study import volume as tiny_volume

MOVING = (Modality.T1N, Modality.T2W, Modality.T2F)


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
def test_finds_the_phantoms_movements(small_phantom: Phantom, sequence: Modality) -> None:
    fixed = small_phantom.images[Modality.T1C]
    registration = register(fixed, small_phantom.images[sequence])
    assert error_mm(registration.transform, small_phantom.transforms[sequence], fixed) < 1.5
    assert registration.mirror_contrast > 1


def test_leaves_alone_what_is_in_place(small_phantom: Phantom) -> None:
    fixed = small_phantom.images[Modality.T1C]
    in_place = sitk.Resample(
        small_phantom.images[Modality.T1N], fixed, small_phantom.transforms[Modality.T1N], sitk.sitkLinear
    )
    registration = register(fixed, in_place)
    assert registration.transform is None
    assert registration.shift_mm == 0


def test_is_the_same_every_time_with_any_number_of_threads(small_phantom: Phantom) -> None:
    fixed, moving = small_phantom.images[Modality.T1C], small_phantom.images[Modality.T2F]
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
    fixed = small_phantom.images[Modality.T1C]
    slab = small_phantom.images[Modality.T2F][:, :, 10:18]
    registration = register(fixed, slab)
    assert registration.overlapped
    assert registration.nmi > 1.05


def case_of(t1c: sitk.Image, t2f: sitk.Image) -> Case:
    """A case of two sequences, as if read from files."""
    return case_with({Modality.T1C: t1c, Modality.T2F: t2f})


def case_with(images: Mapping[Modality, sitk.Image]) -> Case:
    volumes = {
        sequence: SequenceVolume(sequence, image, Source(f"{sequence.value}.nii.gz"), 1.0, "made by the test")
        for sequence, image in images.items()
    }
    return Case("test", volumes)


def mirrored(image: sitk.Image) -> sitk.Image:
    """The pixels flipped from left to right, the geometry kept: what a wrong conversion does."""
    axis = int(np.argmax(np.abs(np.reshape(image.GetDirection(), (3, 3))[0])))
    flipped = sitk.Flip(image, [index == axis for index in range(3)])
    flipped.CopyInformation(image)
    return flipped


def test_modalities_are_registered_alike_alone_and_side_by_side(small_phantom: Phantom) -> None:
    case = case_with(small_phantom.images)
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    found = []
    try:
        for threads in (1, 3):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            found.append(register_case(case, Silent()))
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert list(found[0]) == list(found[1]), "in the order of the case"
    for modality, alone in found[0].items():
        beside = found[1][modality]
        assert alone.transform
        assert beside.transform
        assert alone.transform.GetParameters() == beside.transform.GetParameters()
        assert (alone.nmi, alone.mirror_contrast) == (beside.nmi, beside.mirror_contrast)


def test_refuses_a_mirrored_sequence(small_phantom: Phantom) -> None:
    case = case_of(small_phantom.images[Modality.T1C], mirrored(small_phantom.images[Modality.T2F]))
    with pytest.raises(InputError, match=r"FLAIR \(t2f.nii.gz\) is mirrored left to right"):
        register_case(case, Silent())


@pytest.mark.parametrize("modality", MOVING)
def test_real_pairs_are_distinguished_from_their_mirror_images(shared: Path, modality: Modality) -> None:
    volumes = read_case(shared / "data" / "tcga-fg-6692-raw").volumes
    fixed, moving = volumes[Modality.T1C].image, volumes[modality].image
    own, other = register(fixed, moving), register(fixed, mirrored(moving))
    assert own.mirror_contrast > 1.15
    assert other.mirror_contrast < 0.9 < MIRRORED_BELOW
    assert own.mirror_contrast * other.mirror_contrast == pytest.approx(1, abs=0.05), "each is the other's mirror image"


@pytest.mark.parametrize("one_exam", [True, False])
def test_two_images_are_judged_alike_but_only_a_sequence_can_be_left_out(
    small_phantom: Phantom, monkeypatch: pytest.MonkeyPatch, one_exam: bool
) -> None:
    image = small_phantom.images[Modality.T1C]

    def judged(**found: float) -> list[str]:
        fine = {"transform": None, "overlapped": False, "nmi": 1.2, "mirror_contrast": 1.2, "shift_mm": 0.0}
        monkeypatch.setattr(
            "GliomaSegLib.preprocessing.registration.register", lambda *_: Registration(**{**fine, **found})
        )
        journal = ProgressRecorder(Silent())
        register_checked(image, image, "the last study", "the first study", journal, one_exam)
        return journal.warnings

    with pytest.raises(InputError, match="the first study could not be registered to the last study") as nowhere:
        judged(nmi=1.02)
    with pytest.raises(InputError, match="the first study is mirrored left to right with respect to") as mirrored_one:
        judged(mirror_contrast=0.96)
    for refused in (nowhere, mirrored_one):
        assert ("--without" in str(refused.value)) is one_exam
    (doubt,) = judged(mirror_contrast=1.01)
    assert doubt.startswith("The registration of the first study to the last study is doubtful: it fits no better than")
    assert ("scanner's coordinates" in doubt) is one_exam
    assert len(judged()) == one_exam, "two examinations need not meet in the scanner's coordinates"


def test_refuses_what_is_no_head(small_phantom: Phantom) -> None:
    noise = np.random.default_rng(0).normal(100, 20, (20, 60, 60)).astype(np.float32)
    image = sitk.GetImageFromArray(noise)
    image.SetSpacing((3, 3, 5))
    with pytest.raises(InputError, match="could not be registered"):
        register_case(case_of(small_phantom.images[Modality.T1C], image), Silent())


def test_finds_a_sequence_that_lies_elsewhere_in_space_and_says_so(small_phantom: Phantom) -> None:
    far = sitk.Image(small_phantom.images[Modality.T2F])
    x, y, z = far.GetOrigin()
    far.SetOrigin((x + 900.0, y, z + 300.0))
    journal = ProgressRecorder(Silent())
    found = register_case(case_of(small_phantom.images[Modality.T1C], far), journal)[Modality.T2F]
    assert not found.overlapped
    assert "do not meet" in journal.warnings[0]
    true = sitk.CompositeTransform(
        [sitk.TranslationTransform(3, (900.0, 0.0, 300.0)), small_phantom.transforms[Modality.T2F]]
    )
    assert error_mm(found.transform, true, small_phantom.images[Modality.T1C]) < 1.5


@pytest.mark.parametrize("degrees", [(10, -20, 30), (-10, 20, -30), (4, -6, 8)])
def test_finds_a_head_that_is_turned_far(degrees: tuple[float, float, float]) -> None:
    """The study is a box with a smaller one in it, which fits nearly as well in other places."""
    fixed = tiny_volume(Modality.T1C)
    true = euler(degrees, (-5.0, 40.0, 12.0))
    moving = sitk.Image(fixed)
    moving.SetOrigin(true.TransformPoint(fixed.GetOrigin()))
    turn = np.reshape(true.GetMatrix(), (3, 3)) @ np.reshape(fixed.GetDirection(), (3, 3))
    moving.SetDirection(turn.ravel().tolist())
    found = register(fixed, moving)
    assert error_mm(found.transform, true, fixed) < 0.5
    assert found.mirror_contrast > DOUBTFUL_BELOW


@pytest.mark.parametrize("degrees", [(10, -20, 30), (-25, 10, -15)])
def test_real_head_that_is_turned_far_is_registered_like_any_other(
    shared: Path, degrees: tuple[float, float, float]
) -> None:
    volumes = read_case(shared / "data" / "tcga-fg-6692-raw").volumes
    fixed, moving = volumes[Modality.T1C].image, volumes[Modality.T2F].image
    turn = euler(degrees, (12.0, -7.0, 20.0))
    turn.SetCenter(centre(moving))
    turned = sitk.Image(moving)
    turned.SetOrigin(turn.TransformPoint(moving.GetOrigin()))
    turned.SetDirection((np.reshape(turn.GetMatrix(), (3, 3)) @ np.reshape(moving.GetDirection(), (3, 3))).ravel())
    true = sitk.CompositeTransform([turn, register(fixed, moving).transform])
    assert error_mm(register(fixed, turned).transform, true, fixed) < 2


def euler(degrees: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.radians(degrees).tolist())
    transform.SetTranslation(shift_mm)
    return transform


def test_refuses_an_image_without_contrast(small_phantom: Phantom) -> None:
    flat = sitk.Image([20, 20, 20], sitk.sitkFloat32) + 5
    with pytest.raises(InputError, match="no contrast"):
        register(small_phantom.images[Modality.T1C], flat)


# --- transforms that the user gives ----------------------------------------------------------------------------------


def moved_further(transform: sitk.Transform, *, shift_mm: tuple[float, float, float]) -> sitk.Euler3DTransform:
    """The phantom's movement and another one after it."""
    further = sitk.Euler3DTransform(transform)
    further.SetTranslation((np.array(further.GetTranslation()) + shift_mm).tolist())
    return further


def test_given_transform_is_used_as_it_is(small_phantom: Phantom) -> None:
    fixed, moving = small_phantom.images[Modality.T1C], small_phantom.images[Modality.T2F]
    true = sitk.Euler3DTransform(small_phantom.transforms[Modality.T2F])
    journal = ProgressRecorder(Silent())
    found = register_case(case_of(fixed, moving), journal, {Modality.T2F: true}, registering=False)[Modality.T2F]
    assert error_mm(found.transform, true, fixed) < 1e-6
    assert found.shift_mm == pytest.approx(register(fixed, moving).shift_mm, abs=1.5)
    assert journal.warnings == []


def test_without_registration_only_those_with_a_transform_are_looked_at(small_phantom: Phantom) -> None:
    case = case_of(small_phantom.images[Modality.T1C], small_phantom.images[Modality.T2F])
    assert register_case(case, Silent(), registering=False) == {}


@pytest.mark.parametrize("shift_mm", [(9.0, 0.0, 0.0), (0.0, -9.0, 0.0), (0.0, 0.0, 9.0)])
def test_given_transform_that_is_some_millimetres_wrong_is_a_doubt(
    small_phantom: Phantom, shift_mm: tuple[float, float, float]
) -> None:
    fixed, moving = small_phantom.images[Modality.T1C], small_phantom.images[Modality.T2F]
    wrong = moved_further(small_phantom.transforms[Modality.T2F], shift_mm=shift_mm)
    journal = ProgressRecorder(Silent())
    try:
        register_case(case_of(fixed, moving), journal, {Modality.T2F: wrong})
    except InputError as refused:
        assert "the transform is wrong or an image is mirrored" in str(refused)  # noqa: PT017 - either is right
    else:
        (warning,) = journal.warnings
        assert warning.startswith("The transform that was given for FLAIR (t2f.nii.gz) is doubtful: a place 4 mm or")


def test_given_transform_that_is_slightly_off_is_respected(small_phantom: Phantom) -> None:
    fixed, moving = small_phantom.images[Modality.T1C], small_phantom.images[Modality.T2F]
    near = moved_further(small_phantom.transforms[Modality.T2F], shift_mm=(0.7, -0.7, 0.7))
    journal = ProgressRecorder(Silent())
    register_case(case_of(fixed, moving), journal, {Modality.T2F: near})
    assert journal.warnings == []


def test_given_transform_that_leads_away_is_refused(small_phantom: Phantom) -> None:
    fixed, moving = small_phantom.images[Modality.T1C], small_phantom.images[Modality.T2F]
    away = moved_further(small_phantom.transforms[Modality.T2F], shift_mm=(600.0, 0.0, 0.0))
    with pytest.raises(InputError, match=r"^FLAIR \(t2f\.nii\.gz\) does not fit T1 \+ contrast .* or leave it out and"):
        register_case(case_of(fixed, moving), Silent(), {Modality.T2F: away})


def test_mirrored_image_is_refused_under_a_given_transform_too(small_phantom: Phantom) -> None:
    case = case_of(small_phantom.images[Modality.T1C], mirrored(small_phantom.images[Modality.T2F]))
    true = sitk.Euler3DTransform(small_phantom.transforms[Modality.T2F])
    with pytest.raises(InputError, match="worse than its mirror image does where the given transform puts it"):
        register_case(case, Silent(), {Modality.T2F: true})


def test_what_is_in_place_may_be_given_the_identity(small_phantom: Phantom) -> None:
    fixed = small_phantom.images[Modality.T1C]
    in_place = sitk.Resample(
        small_phantom.images[Modality.T1N], fixed, small_phantom.transforms[Modality.T1N], sitk.sitkLinear
    )
    found = evaluate(fixed, in_place, sitk.Euler3DTransform())
    assert found.shift_mm == 0
    assert found.mirror_contrast > 1.02
    assert not found.better_nearby


def turned() -> sitk.Euler3DTransform:
    """A turn of 5 degrees about z and a shift."""
    transform = sitk.Euler3DTransform()
    transform.SetRotation(0, 0, math.radians(5))
    transform.SetTranslation((3.0, -2.0, 1.0))
    return transform


def as_affine(transform: sitk.Euler3DTransform, scale: float = 1.0) -> sitk.AffineTransform:
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((scale * np.array(transform.GetMatrix())).tolist())
    affine.SetTranslation(transform.GetTranslation())
    return affine


def versor() -> sitk.VersorRigid3DTransform:
    transform = sitk.VersorRigid3DTransform()
    transform.SetMatrix(turned().GetMatrix())
    transform.SetTranslation(turned().GetTranslation())
    transform.SetCenter((0.0, 0.0, 0.0))
    return transform


@pytest.mark.parametrize("kind", [turned, versor, lambda: as_affine(turned()), lambda: as_affine(turned(), 1.0001)])
@pytest.mark.parametrize("suffix", ["tfm", "h5"])
def test_any_kind_of_rigid_transform_is_read(kind, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{suffix}"
    sitk.WriteTransform(kind(), str(path))
    read = read_rigid(path)
    # Where a point of the reference goes (LPS): x turns towards y.
    cosine, sine = math.cos(math.radians(5)), math.sin(math.radians(5))
    np.testing.assert_allclose(read.TransformPoint((100.0, 0.0, 0.0)), (100 * cosine + 3, 100 * sine - 2, 1), atol=0.02)


@pytest.mark.parametrize(
    "transform",
    [
        as_affine(turned(), 1.05),
        as_affine(turned(), -1.0),
        sitk.Transform(2, sitk.sitkIdentity),
        sitk.BSplineTransform(3),
    ],
    ids=["scaled", "mirrored", "2-D", "bent"],
)
def test_transform_that_is_not_rigid_is_refused(transform: sitk.Transform, tmp_path: Path) -> None:
    sitk.WriteTransform(transform, str(tmp_path / "t.tfm"))
    with pytest.raises(InputError, match=r"t\.tfm is not rigid \(it scales, .*\); give one that turns and shifts"):
        read_rigid(tmp_path / "t.tfm")


def test_file_that_is_no_transform_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.tfm does not exist; check the path\."):
        read_rigid(tmp_path / "t.tfm")
    (tmp_path / "t.tfm").write_text("nonsense")
    with pytest.raises(InputError, match=r"t\.tfm is no ITK transform file"):
        read_rigid(tmp_path / "t.tfm")


@pytest.mark.parametrize(
    ("sequence", "sentence"),
    [
        (Modality.T1C, r"given to move T1 \+ contrast, but that is the image to which the others are moved"),
        (Modality.T2W, "given to move T2, which the case does not have; leave it out"),
    ],
)
def test_transform_for_the_wrong_sequence(small_phantom: Phantom, sequence: Modality, sentence: str) -> None:
    case = case_of(small_phantom.images[Modality.T1C], small_phantom.images[Modality.T2F])
    with pytest.raises(InputError, match=sentence):
        given_transforms({sequence: Path("t.tfm")}, case)
