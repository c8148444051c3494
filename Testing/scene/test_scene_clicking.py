"""Correction by a click, undone and made again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.labels import Label  # noqa: E402
from GliomaSegLib.scene import clicking  # noqa: E402
from GliomaSegLib.scene.clicking import add_at, remove_at  # noqa: E402
from GliomaSegLib.scene.edits import Edits  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of, set_labels  # noqa: E402
from Testing.support.scene_host import MOVED, SceneHost  # noqa: E402

SPACING_MM = (1.0, 1.0, 2.0)
SHAPE = (30, 60, 60)
CENTRE, NOWHERE = (15, 30, 30), (5, 8, 8)


def ball(radius_mm: float, centre: tuple[int, int, int] = CENTRE) -> np.ndarray:
    offsets = (np.indices(SHAPE).T - centre).T * np.reshape(SPACING_MM[::-1], (3, 1, 1, 1))
    return np.linalg.norm(offsets, axis=0) <= radius_mm


@pytest.fixture
def edits(host: SceneHost) -> Iterator[Edits]:
    """An empty segmentation of a noisy image with a bright ball, somewhere in the world."""
    voxels = np.random.default_rng(0).normal(100, 4, SHAPE).astype(np.float32)
    voxels[ball(6)] += 60
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(SPACING_MM)
    volume = host.add_volume(image, "T1c")
    node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    host.add_transform(MOVED, volume, node)
    return Edits(node)


def at(edits: Edits, index: tuple[int, int, int]) -> tuple[float, float, float]:
    return tuple((labels_of(edits.node)[1] @ [*index[::-1], 1])[:3])


def test_what_was_missed_is_added_from_the_image_undone_and_made_again(edits: Edits) -> None:
    assert add_at(edits, at(edits, CENTRE), Label.ET) == np.count_nonzero(ball(6))
    np.testing.assert_array_equal(labels_of(edits.node)[0], Label.ET * ball(6))
    edits.undo()
    assert not labels_of(edits.node)[0].any()
    assert edits.can_redo
    edits.redo()
    np.testing.assert_array_equal(labels_of(edits.node)[0], Label.ET * ball(6))
    assert not edits.can_redo
    with pytest.raises(InputError, match="There is tumour or cavity at this point already"):
        add_at(edits, at(edits, CENTRE))


def test_where_nothing_stands_out_nothing_is_added(edits: Edits) -> None:
    with pytest.raises(InputError, match="No part can be told from its surroundings"):
        add_at(edits, at(edits, NOWHERE))
    with pytest.raises(InputError, match="outside of the image"):
        add_at(edits, (500.0, 0.0, 0.0))
    assert not edits.can_undo


def test_another_image_of_the_same_size_is_not_taken_for_that_of_the_result(edits: Edits, host: SceneHost) -> None:
    node, own = edits.node, host.scene.GetFirstNodeByName("T1c")
    grid = node.GetSegmentation().GetConversionParameter("Reference image geometry")
    other = sitk.GetImageFromArray(np.roll(slicer.util.arrayFromVolume(own), 10, axis=1))
    other.SetSpacing(SPACING_MM)
    other.SetOrigin((0, 10, 0))
    node.SetReferenceImageGeometryParameterFromVolumeNode(host.add_volume(other, "FLAIR"))
    node.SetAttribute("GliomaSeg.Grid", grid)
    with pytest.raises(InputError, match="No part can be told from its surroundings"):
        add_at(edits, at(edits, (15, 40, 30)))  # there the other image's voxel of this index is bright


def test_what_was_missed_is_added_from_the_probability_map_and_does_not_leak(
    edits: Edits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around the ball of 40 % lies a whole head of 10 %, beside it the tumour that was found."""
    probability = np.full(SHAPE, 25, np.uint8)
    probability[ball(5)] = 102
    tumour = ball(5, (15, 30, 38))
    probability[tumour] = 230
    set_labels(edits.node, (Label.NETC * tumour).astype(np.uint8))
    monkeypatch.setattr(clicking, "has_probability", lambda node: True)
    monkeypatch.setattr(clicking, "load_probability", lambda node: probability)
    add_at(edits, at(edits, CENTRE))
    labels = labels_of(edits.node)[0]
    np.testing.assert_array_equal(labels == Label.SNFH, ball(5) & ~tumour)
    np.testing.assert_array_equal(labels == Label.NETC, tumour)


def test_a_wrong_part_is_removed_with_all_that_is_connected_to_it(edits: Edits) -> None:
    labels = (Label.SNFH * ball(6) + Label.ET * ball(2, NOWHERE)).astype(np.uint8)
    labels[ball(2)] = Label.RC
    set_labels(edits.node, labels)
    with pytest.raises(InputError, match="There is no tumour at this point"):
        remove_at(edits, at(edits, CENTRE))  # the cavity
    remove_at(edits, at(edits, (15, 30, 35)))
    np.testing.assert_array_equal(labels_of(edits.node)[0], Label.ET * ball(2, NOWHERE) + Label.RC * ball(2))
