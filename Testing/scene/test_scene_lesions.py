"""The lesions of a segmentation node: listed, deleted, accepted, thresholded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")


from GliomaSegLib.errors import InputError  # noqa: E402
from GliomaSegLib.labels import Label, Region  # noqa: E402
from GliomaSegLib.scene.edits import Edits  # noqa: E402
from GliomaSegLib.scene.lesions import accept_lesion, delete_lesion, lesion_thresholded, lesions_of  # noqa: E402
from GliomaSegLib.scene.segmentation import labels_of, set_labels  # noqa: E402
from GliomaSegLib.scene.threshold import thresholded  # noqa: E402
from Testing.support.scene_host import MOVED, SceneHost  # noqa: E402
from Testing.support.scene_results import load, moved_image, result_of  # noqa: E402


@pytest.fixture
def two_lesions(host: SceneHost, random_image: sitk.Image, tmp_path: Path) -> tuple[Any, np.ndarray]:
    array = np.zeros((6, 9, 8), np.uint8)
    array[1:4, 1:4, 1:4] = Label.SNFH
    array[2, 2, 2] = Label.ET
    array[5, 7:9, 6:8] = Label.NETC
    array[4, 4, 4] = Label.SNFH  # joined to the first by a corner
    volume = host.add_volume(random_image, "T1c")
    host.add_transform(MOVED, volume)
    result = result_of(tmp_path / "out", array, moved_image(random_image, MOVED))
    return load(host, result, volume), array


def test_lesions_are_those_of_the_measures(two_lesions: tuple[Any, np.ndarray], random_image: sitk.Image) -> None:
    from GliomaSegLib.measures.volumes import measure

    node, array = two_lesions
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(moved_image(random_image, MOVED))
    measures = measure(image)
    found = lesions_of(node, measures.model_dump(mode="json"))
    expected = [lesion for lesion in measures.lesions if lesion.region is Region.WT]
    assert len(found) == len(expected) == 2
    for lesion, true in zip(found, expected, strict=True):
        assert (lesion.id, lesion.voxels, lesion.side) == (true.id, true.voxels, true.side.value)
        assert lesion.volume_ml == pytest.approx(true.volume_ml)
        assert lesion.centre_ras_mm == pytest.approx(true.centre_ras_mm, abs=1e-4)
        assert (lesion.long_mm, lesion.perpendicular_mm) == (true.long_mm, true.perpendicular_mm)


def test_lesions_of_a_model_of_enhancing_tumour_alone_have_their_measures(
    two_lesions: tuple[Any, np.ndarray], random_image: sitk.Image
) -> None:
    from GliomaSegLib.measures.volumes import measure

    node, array = two_lesions
    set_labels(node, np.where(array, np.uint8(Label.ET), np.uint8(0)))
    image = sitk.GetImageFromArray(np.where(array, np.uint8(Label.ET), np.uint8(0)))
    image.CopyInformation(moved_image(random_image, MOVED))
    measures = measure(image, regions=(Region.ET,))
    found = lesions_of(node, measures.model_dump(mode="json"))
    assert [one.long_mm for one in found] == [one.long_mm for one in measures.lesions]
    assert all(lesion.side for lesion in found)


def test_lesion_is_deleted_and_comes_back(two_lesions: tuple[Any, np.ndarray]) -> None:
    node, array = two_lesions
    edits = Edits(node)
    lesion = lesions_of(node)[1]
    delete_lesion(edits, lesion)
    expected = array.copy()
    expected[5] = 0
    np.testing.assert_array_equal(labels_of(node)[0], expected)
    assert len(lesions_of(node)) == 1
    with pytest.raises(InputError, match="Lesion 2 is not there any more"):
        delete_lesion(edits, lesion)
    edits.undo()
    np.testing.assert_array_equal(labels_of(node)[0], array)


def test_accepted_lesion_stays_accepted_until_it_is_changed(
    two_lesions: tuple[Any, np.ndarray], host: SceneHost, tmp_path: Path
) -> None:
    node, array = two_lesions
    accept_lesion(node, lesions_of(node)[0])
    assert [lesion.accepted for lesion in lesions_of(node)] == [True, False]
    host.saved_and_reloaded(tmp_path / "scene.mrb")
    node = host.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert [lesion.accepted for lesion in lesions_of(node)] == [True, False]
    changed = array.copy()
    changed[2, 2, 2] = Label.NETC  # as large as before, at the same place
    set_labels(node, changed)
    assert [lesion.accepted for lesion in lesions_of(node)] == [False, False]
    set_labels(node, array)
    accept_lesion(node, lesions_of(node)[0], accepted=False)
    assert not any(lesion.accepted for lesion in lesions_of(node))


def test_one_lesion_is_thresholded_again(two_lesions: tuple[Any, np.ndarray]) -> None:
    node, array = two_lesions
    probability = np.where(array > 0, 200, 0).astype(np.uint8)
    probability[1, 1, 1:7] = 100  # beside the first lesion, and one voxel of it
    probability[5, 0, 0] = 100  # apart from both
    probability[5, 7, 5] = 100  # beside the second
    edits = Edits(node)

    def threshold_first(threshold: float) -> None:
        edits.apply(lesion_thresholded(node, lesions_of(node)[0])(labels_of(node)[0], probability, threshold))

    threshold_first(0.3)
    expected = array.copy()
    expected[1, 1, 1:7] = Label.SNFH
    np.testing.assert_array_equal(labels_of(node)[0], expected)
    edits.undo()
    threshold_first(0.7)
    expected = array.copy()
    expected[1, 1, 1:4] = 0
    np.testing.assert_array_equal(labels_of(node)[0], expected)
    threshold_first(0.9)
    assert [lesion.voxels for lesion in lesions_of(node)] == [4]
    edits.undo()
    edits.undo()
    np.testing.assert_array_equal(labels_of(node)[0], array)


def test_no_tumour_has_no_lesions(two_lesions: tuple[Any, np.ndarray]) -> None:
    node, array = two_lesions
    set_labels(node, np.zeros_like(array))
    assert lesions_of(node) == []
    set_labels(node, np.full_like(array, Label.RC))
    assert lesions_of(node) == []


def test_threshold_rule() -> None:
    labels = np.array([0, 0, Label.SNFH, Label.ET, Label.NETC, Label.RC], np.uint8)
    likely = np.array([0, 100, 130, 140, 250, 0], np.uint8)
    np.testing.assert_array_equal(thresholded(labels, likely, 0.5), labels)
    np.testing.assert_array_equal(thresholded(labels, likely, 0.3), [0, 2, 2, 3, 1, 4])
    np.testing.assert_array_equal(thresholded(labels, likely, 0.53), [0, 0, 0, 3, 1, 4])
    np.testing.assert_array_equal(thresholded(labels, likely, 1), [0, 0, 0, 0, 0, 4])


# --- review, table, transforms --------------------------------------------------------------------------------------
