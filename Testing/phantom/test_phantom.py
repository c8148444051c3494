"""The phantom: what it claims about its own images must hold, since the other tests lean on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.phantom import TUMOUR_SIDE, Phantom, make_phantom
from GliomaSegLib.phantom.anatomy import HEAD_BOX
from GliomaSegLib.phantom.scan import PROTOCOLS, scan_head
from GliomaSegLib.study.reading import read_case


@pytest.fixture(scope="module")
def on_t1c(small_phantom: Phantom) -> Callable[..., NDArray[np.float32]]:
    """Brings a sequence onto the grid of T1c, by its true transform or by another."""

    def bring(sequence: Modality, transform: sitk.Transform | None = None) -> NDArray[np.float32]:
        image, grid = small_phantom.images[sequence], small_phantom.images[Modality.T1C]
        transform = transform or small_phantom.transforms[sequence]
        return sitk.GetArrayFromImage(sitk.Resample(image, grid, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32))

    return bring


def arrays(phantom: Phantom) -> list[NDArray]:
    return [sitk.GetArrayFromImage(image) for image in (*phantom.images.values(), phantom.reference, phantom.brain)]


def volume_ml(image: sitk.Image, *labels: Label) -> float:
    voxels = np.isin(sitk.GetArrayViewFromImage(image), labels).sum()
    return float(voxels * np.prod(image.GetSpacing()) / 1000)


def mutual_information(one: NDArray, other: NDArray) -> float:
    joint, _, _ = np.histogram2d(one, other, bins=32)
    joint /= joint.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    return float((joint[joint > 0] * np.log(joint[joint > 0] / independent[joint > 0])).sum())


def test_the_same_seed_gives_the_same_voxels(small_phantom: Phantom) -> None:
    again = make_phantom(spacing_mm=3.0)
    assert all(np.array_equal(*pair) for pair in zip(arrays(small_phantom), arrays(again), strict=True))
    for sequence in Modality:
        assert small_phantom.transforms[sequence].GetParameters() == again.transforms[sequence].GetParameters()


def test_another_seed_gives_another_head_tumour_and_movement(small_phantom: Phantom) -> None:
    other = make_phantom(seed=1, spacing_mm=3.0)
    assert not any(np.array_equal(*pair) for pair in zip(arrays(small_phantom), arrays(other), strict=True))
    movement, another = (phantom.transforms[Modality.T2F].GetParameters() for phantom in (small_phantom, other))
    assert not np.allclose(movement, another)


def test_at_another_spacing_it_is_the_same_head(small_phantom: Phantom) -> None:
    finer = make_phantom(spacing_mm=2.0)
    coarse = sitk.Resample(small_phantom.reference, finer.reference, sitk.Transform(), sitk.sitkNearestNeighbor)
    for region, least in ((Region.WT, 0.85), (Region.TC, 0.85)):
        masks = [region_mask(sitk.GetArrayFromImage(labels), region) for labels in (coarse, finer.reference)]
        assert 2 * np.logical_and(*masks).sum() / sum(mask.sum() for mask in masks) > least
    assert small_phantom.transforms[Modality.T2W].GetParameters() == finer.transforms[Modality.T2W].GetParameters()


def test_images_are_unsigned_with_quiet_air_around_the_head(small_phantom: Phantom) -> None:
    for image in small_phantom.images.values():
        assert image.GetPixelID() == sitk.sitkUInt16
        array = sitk.GetArrayFromImage(image)
        corner = array[:, :4, :4]
        assert 0 < corner.mean() < 0.05 * np.percentile(array, 98)
        assert len(np.unique(corner)) > 5  # noise, not a flat background


def test_t2w_and_flair_have_thick_slices_and_flair_is_tilted(small_phantom: Phantom) -> None:
    thickness_mm = {sequence: image.GetSpacing()[2] for sequence, image in small_phantom.images.items()}
    assert thickness_mm[Modality.T1N] == thickness_mm[Modality.T1C] == 3
    assert min(thickness_mm[Modality.T2W], thickness_mm[Modality.T2F]) >= 5
    assert not np.allclose(small_phantom.images[Modality.T2F].GetDirection(), np.eye(3).ravel())


def test_a_thick_slice_is_the_mean_over_its_thickness() -> None:
    head = HEAD_BOX.grid(1.0)
    sheet = np.zeros(head.GetSize()[::-1], dtype=np.float32)
    sheet[100] = 5000  # 1 mm thick
    scan = scan_head(
        array_on(sheet, head),
        PROTOCOLS[Modality.T2W],
        sitk.Transform(3, sitk.sitkIdentity),
        1.0,
        np.random.default_rng(0),
    )
    middle = sitk.GetArrayFromImage(scan)[:, 100:150, 100:150].mean(axis=(1, 2))
    assert (middle > 100).sum() == 1
    assert 700 < middle.max() < 1300  # 5000 / 5, shaded


def test_the_tumour_has_three_parts_of_plausible_size_inside_the_brain(small_phantom: Phantom) -> None:
    labels, brain = (
        sitk.GetArrayFromImage(small_phantom.reference),
        sitk.GetArrayFromImage(small_phantom.brain),
    )
    assert set(np.unique(labels)) == {0, Label.NETC, Label.SNFH, Label.ET}
    assert 5 < volume_ml(small_phantom.reference, Label.NETC) < 30
    assert 8 < volume_ml(small_phantom.reference, Label.ET) < 40
    assert 30 < volume_ml(small_phantom.reference, Label.SNFH) < 120
    assert 1300 < float(brain.sum() * np.prod(small_phantom.brain.GetSpacing()) / 1000) < 2100
    assert brain[labels > 0].all()


def test_necrosis_lies_inside_the_enhancing_rim(small_phantom: Phantom) -> None:
    reference_labels = sitk.GetArrayFromImage(small_phantom.reference)
    neighbours = np.zeros(reference_labels.shape, dtype=bool)
    for axis in range(3):
        for step in (-1, 1):
            neighbours |= np.roll(reference_labels == Label.NETC, step, axis)
    beside = reference_labels[neighbours & (reference_labels != Label.NETC)]
    assert (beside == Label.ET).mean() > 0.9


def test_the_tumour_lies_on_the_side_that_it_says(small_phantom: Phantom) -> None:
    assert TUMOUR_SIDE == "right"
    places = np.argwhere(sitk.GetArrayFromImage(small_phantom.reference) > 0)[:, ::-1]
    x_mm = [small_phantom.reference.TransformIndexToPhysicalPoint(place.tolist())[0] for place in places]
    assert max(x_mm) < 0  # LPS: x grows to the patient's left


def test_each_part_of_the_tumour_has_its_contrast(small_phantom: Phantom, on_t1c: Callable) -> None:
    labels, brain = (
        sitk.GetArrayFromImage(small_phantom.reference),
        sitk.GetArrayFromImage(small_phantom.brain) > 0,
    )

    def means(sequence: Modality) -> dict[int, float]:
        image = on_t1c(sequence)
        return {label: float(np.median(image[brain & (labels == label)])) for label in (0, 1, 2, 3)}

    t1n, t1c, t2w, t2f = (means(sequence) for sequence in Modality)
    assert t1c[Label.ET] > 1.3 * max(t1c[0], t1c[Label.SNFH], t1n[Label.ET])
    assert t1n[Label.NETC] < t1n[0]
    assert t1c[Label.NETC] < 0.6 * t1c[Label.ET]
    assert t2w[Label.NETC] > t2w[Label.SNFH] > 1.3 * t2w[0]
    assert min(t2f[Label.SNFH], t2f[Label.ET]) > 1.3 * t2f[0]


def test_the_transforms_bring_the_sequences_into_place(small_phantom: Phantom, on_t1c: Callable) -> None:
    t1c, brain = on_t1c(Modality.T1C), sitk.GetArrayFromImage(small_phantom.brain) > 0
    for sequence in (Modality.T1N, Modality.T2W, Modality.T2F):
        true = small_phantom.transforms[sequence]
        placed, unplaced, wrong_way = (
            mutual_information(t1c[brain], on_t1c(sequence, transform)[brain])
            for transform in (true, sitk.Transform(3, sitk.sitkIdentity), true.GetInverse())
        )
        assert placed > 1.1 * unplaced > wrong_way


def test_the_head_moves_by_millimetres_and_degrees(small_phantom: Phantom) -> None:
    for sequence, transform in small_phantom.transforms.items():
        *angles, x_mm, y_mm, z_mm = transform.GetParameters()
        if sequence is Modality.T1C:
            assert not any(transform.GetParameters())
        else:
            assert 1 < np.degrees(np.linalg.norm(angles)) < 10
            assert 1 < np.linalg.norm([x_mm, y_mm, z_mm]) < 10


def test_a_brain_extractor_finds_the_brain(small_phantom: Phantom) -> None:
    torch = pytest.importorskip("torch")
    from GliomaSegLib.zoo.brain_packages import DeepBet

    found = DeepBet(torch.device("cpu"), torch.float32).extract(small_phantom.images[Modality.T1C])
    masks = [sitk.GetArrayFromImage(mask) > 0 for mask in (found, small_phantom.brain)]
    assert 2 * np.logical_and(*masks).sum() / sum(mask.sum() for mask in masks) > 0.95


@pytest.mark.parametrize("dicom", [False, True])
def test_a_written_study_is_read_back_the_same(small_phantom: Phantom, tmp_path: Path, dicom: bool) -> None:
    case = read_case(small_phantom.write(tmp_path, dicom=dicom))
    assert case.present == tuple(Modality)
    for sequence, volume in case.volumes.items():
        written = small_phantom.images[sequence]
        assert volume.image.GetSize() == written.GetSize()
        corners = [(0, 0, 0), tuple(size - 1 for size in written.GetSize())]
        for corner in corners:
            places = [image.TransformIndexToPhysicalPoint(corner) for image in (volume.image, written)]
            assert np.allclose(*places, atol=1e-3)
        assert np.array_equal(sitk.GetArrayFromImage(volume.image), sitk.GetArrayFromImage(written))


def test_the_reference_labels_are_written_beside_the_study(small_phantom: Phantom, tmp_path: Path) -> None:
    study = small_phantom.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study", "truth.nii.gz"]
    assert sorted(path.name for path in study.iterdir()) == [
        f"head_{name}.nii.gz" for name in ("t1c", "t1n", "t2f", "t2w")
    ]
    reference_labels = sitk.ReadImage(tmp_path / "truth.nii.gz")
    assert np.array_equal(sitk.GetArrayFromImage(reference_labels), sitk.GetArrayFromImage(small_phantom.reference))


def test_dicom_headers_name_one_study_of_four_series(small_phantom: Phantom, tmp_path: Path) -> None:
    study = small_phantom.write(tmp_path, dicom=True)
    headers = {
        sequence: [pydicom.dcmread(path) for path in sorted((study / sequence.value).iterdir())]
        for sequence in Modality
    }
    for sequence, slices in headers.items():
        assert len(slices) == small_phantom.images[sequence].GetDepth()
        assert len({header.SeriesInstanceUID for header in slices}) == 1
        assert str(slices[0].PatientName) == "PHANTOM^GLIOMASEG"
        assert ("ContrastBolusAgent" in slices[0]) == (sequence is Modality.T1C)
    everything = [header for slices in headers.values() for header in slices]
    assert len({header.StudyInstanceUID for header in everything}) == 1
    assert len({header.FrameOfReferenceUID for header in everything}) == 1
    assert len({header.SeriesInstanceUID for header in everything}) == 4
    assert len({header.SOPInstanceUID for header in everything}) == len(everything)


@pytest.mark.parametrize("dicom", [False, True])
def test_the_same_phantom_is_written_in_the_same_bytes(small_phantom: Phantom, tmp_path: Path, dicom: bool) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    small_phantom.write(first, dicom)
    small_phantom.write(second, dicom)
    files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert files
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in files)


def test_a_folder_that_cannot_be_made_is_refused(small_phantom: Phantom, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        small_phantom.write(tmp_path / "file")


@pytest.mark.parametrize("spacing_mm", [0.5, 0, 10, float("nan")])
def test_a_useless_spacing_is_refused(spacing_mm: float) -> None:
    with pytest.raises(InputError, match="choose 1 to 4 mm"):
        make_phantom(spacing_mm=spacing_mm)
