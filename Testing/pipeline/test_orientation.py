"""The same place in the patient is marked however the voxels are stored and the head is turned."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.io.grid import oriented_like
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.segnrrd import read_segmentation
from GliomaSegLib.job import Job
from GliomaSegLib.phantom import TUMOUR_SIDE, Phantom
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.preprocessing.resampling import model_grid
from GliomaSegLib.results.layout import LABEL_MAP
from GliomaSegLib.zoo import catalogue
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.store import Store

ORIENTATIONS = [
    tuple((axis, flip) for axis, flip in zip(axes, flips, strict=True))
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


@pytest.fixture(scope="module")
def stripped(small_phantom: Phantom) -> dict[Modality, sitk.Image]:
    """T1c and FLAIR of the phantom's head, stripped, in one place on two grids, neither of them the network's."""
    t1c, t2f = small_phantom.images[Modality.T1C], small_phantom.images[Modality.T2F]
    moved = sitk.Resample(t2f, t1c, small_phantom.transforms[Modality.T2F], sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    smooth = {
        sequence: sitk.SmoothingRecursiveGaussian(image, 4.0)
        for sequence, image in ((Modality.T1C, sitk.Cast(t1c, sitk.sitkFloat32)), (Modality.T2F, moved))
    }
    return {
        Modality.T1C: with_spacing(sitk.Mask(smooth[Modality.T1C], small_phantom.brain), (2.0, 3.2, 4.1)),
        Modality.T2F: sitk.Mask(smooth[Modality.T2F], small_phantom.brain)[1:, :, 2:],
    }


def with_spacing(image: sitk.Image, spacing_mm: tuple[float, float, float]) -> sitk.Image:
    """The image with voxels of another size."""
    return sitk.Resample(image, model_grid(image, spacing_mm, "LPS"), sitk.Transform(), sitk.sitkLinear)


def segmented(images: dict[Modality, sitk.Image], store: Store, folder: Path, **options: object) -> sitk.Image:
    """The label map of the toy model, written to and read from files."""
    folder.mkdir()
    for sequence, image in images.items():
        sitk.WriteImage(image, folder / f"case_{sequence.value}.nii.gz")
    job = Job(
        study=folder,
        model="toy",
        output=folder / "out",
        brain="stripped",
        probabilities=False,
        store=store.root,
        **options,
    )
    run(job)
    labels = read_labels(folder / "out" / LABEL_MAP)
    again = read_segmentation(folder / "out" / "segmentation.seg.nrrd")
    assert np.array_equal(sitk.GetArrayViewFromImage(labels), sitk.GetArrayViewFromImage(again))
    return labels


def stored_as(image: sitk.Image, orientation: tuple[tuple[int, bool], ...]) -> sitk.Image:
    """The same voxels at the same places, stored along other axes and in the other direction."""
    permuted = sitk.PermuteAxes(image, [axis for axis, _ in orientation])
    return sitk.Flip(permuted, [flip for _, flip in orientation])


@pytest.mark.parametrize(
    "orientations",
    [ORIENTATIONS[1::7], pytest.param(ORIENTATIONS, marks=pytest.mark.slow)],
    ids=["every order of the axes", "all"],
)
def test_every_way_to_store_the_voxels_gives_the_same_answer(
    orientations: list[tuple[tuple[int, bool], ...]],
    stripped: dict[Modality, sitk.Image],
    toy_store: Store,
    tmp_path: Path,
) -> None:
    expected = segmented(stripped, toy_store, tmp_path / "as-made", registration=False)
    assert sitk.GetArrayViewFromImage(expected).any()
    for number, orientation in enumerate(orientations):
        images = {sequence: stored_as(image, orientation) for sequence, image in stripped.items()}
        found = segmented(images, toy_store, tmp_path / str(number), registration=False)
        assert found.GetSize() == images[Modality.T1C].GetSize()
        assert np.allclose(found.GetDirection(), images[Modality.T1C].GetDirection(), atol=1e-5)
        back = oriented_like(found, expected)
        assert np.array_equal(sitk.GetArrayViewFromImage(back), sitk.GetArrayViewFromImage(expected)), orientation


def test_each_sequence_may_be_stored_in_its_own_way(
    stripped: dict[Modality, sitk.Image], toy_store: Store, tmp_path: Path
) -> None:
    expected = segmented(stripped, toy_store, tmp_path / "as-made")
    turned = stripped | {Modality.T2F: stored_as(stripped[Modality.T2F], ORIENTATIONS[29])}
    found = segmented(turned, toy_store, tmp_path / "turned")
    assert np.array_equal(sitk.GetArrayViewFromImage(found), sitk.GetArrayViewFromImage(expected))


@pytest.mark.parametrize("angles_deg", [(14.0, -9.0, 21.0), (-25.0, 17.0, -8.0)])
def test_an_oblique_scan_marks_the_same_place(
    stripped: dict[Modality, sitk.Image],
    toy_store: Store,
    toy_card: Card,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    angles_deg: tuple[float, float, float],
) -> None:
    fine = replace(toy_card, space=replace(toy_card.space, spacing_mm=(1.5, 1.5, 1.5)))
    monkeypatch.setattr(catalogue, "all_cards", lambda: {fine.id: fine})
    masks = []
    for name, angles in (("straight", (0.0, 0.0, 0.0)), ("oblique", angles_deg)):
        images = {sequence: scanned_oblique(image, angles) for sequence, image in stripped.items()}
        found = segmented(images, toy_store, tmp_path / name, registration=False)
        on_t1c = sitk.Resample(
            found, scanned_oblique(stripped[Modality.T1C], (0.0, 0.0, 0.0)), interpolator=sitk.sitkNearestNeighbor
        )
        masks.append(sitk.GetArrayFromImage(on_t1c) > 0)
    first, second = masks
    assert 2 * (first & second).sum() / (first.sum() + second.sum()) >= 0.97


def scanned_oblique(image: sitk.Image, angles_deg: tuple[float, float, float]) -> sitk.Image:
    """The same head on a finer grid whose axes are turned by these angles."""
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(*np.deg2rad(angles_deg).tolist())
    axes = np.reshape(rotation.GetMatrix(), (3, 3))
    half_mm = np.array([110.0, 130.0, 125.0])
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in image.GetSize()]))
    grid = sitk.Image([int(2 * extent / 1.5) for extent in half_mm], sitk.sitkFloat32)
    grid.SetSpacing((1.5, 1.5, 1.5))
    grid.SetDirection(axes.ravel().tolist())
    grid.SetOrigin((middle - axes @ half_mm).tolist())
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)


def test_left_stays_left(stripped: dict[Modality, sitk.Image], toy_store: Store, tmp_path: Path) -> None:
    labels = segmented(stripped, toy_store, tmp_path / "case")
    left_mm = np.mean([labels.TransformIndexToPhysicalPoint(index)[0] for index in marked(labels)])
    middle_mm = np.mean(
        [stripped[Modality.T1C].TransformIndexToPhysicalPoint(i)[0] for i in marked(stripped[Modality.T1C])]
    )
    assert bool(left_mm > middle_mm) == (TUMOUR_SIDE == "left")


def marked(image: sitk.Image) -> list[tuple[int, int, int]]:
    """The indices (x, y, z) of the non-zero voxels."""
    return [tuple(int(i) for i in reversed(index)) for index in np.argwhere(sitk.GetArrayViewFromImage(image))]
