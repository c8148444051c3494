"""Cleaning of masks and labels on shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from GliomaSegLib import postprocessing as post
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region

_MASKS = arrays(bool, st.tuples(*[st.integers(1, 7)] * 3))
_MM = (1.0, 1.0, 1.0)


def _blocks(*sizes: int) -> np.ndarray:
    """Separate rods of the given numbers of voxels."""
    mask = np.zeros((2 * len(sizes) + 1, 3, max(sizes) + 2), bool)
    for row, size in enumerate(sizes):
        mask[2 * row + 1, 1, 1 : 1 + size] = True
    return mask


def _rods(mask: np.ndarray) -> list[int]:
    return [int(row.sum()) for row in mask[1::2]]


def test_bounding_box_stays_inside() -> None:
    mask = np.zeros((10, 12, 14), bool)
    mask[1, 5:7, 12] = True
    assert post.bounding_box(mask, 3) == (slice(0, 5), slice(2, 10), slice(9, 14))
    with pytest.raises(ValueError, match="empty"):
        post.bounding_box(np.zeros((2, 2, 2), bool))


def test_holes_are_measured_in_mm3_and_must_be_shut() -> None:
    mask = np.ones((9, 9, 9), bool)
    mask[2, 2, 2:4] = False  # a hole of two voxels
    mask[6, 6, 2:7] = False  # of five
    mask[4, 4, 5:] = False  # open to the outside
    small, large, channel = (2, 2, slice(2, 4)), (6, 6, slice(2, 7)), (4, 4, slice(5, None))
    filled = post.fill_small_holes(mask, _MM)
    assert filled[small].all()
    assert not filled[large].any()
    assert not filled[channel].any()
    assert not post.fill_small_holes(mask, (1.0, 1.0, 1.5))[small].any()  # 3 mm3 is not below 3 mm3
    assert post.fill_small_holes(mask, (0.5, 0.5, 2.0))[large].all()


def test_islands_are_judged_by_the_largest() -> None:
    mask = _blocks(40, 4, 3, 1)
    assert _rods(post.remove_islands(mask)) == [40, 4, 0, 0]
    assert _rods(post.remove_islands(mask, 0.5)) == [40, 0, 0, 0]


def test_small_objects_are_measured_in_mm3() -> None:
    mask = _blocks(9, 5, 4)
    assert _rods(post.remove_small_objects(mask, (1, 1, 1), 5)) == [9, 5, 0]
    assert _rods(post.remove_small_objects(mask, (0.5, 1, 1), 4)) == [9, 0, 0]


def test_largest_two() -> None:
    assert _rods(post.keep_largest_two(_blocks(4, 20, 3))) == [4, 20, 0]
    assert _rods(post.keep_largest_two(_blocks(2, 20, 1))) == [0, 20, 0]  # a tenth is not more than a tenth


def test_components_above_a_size_or_else_the_largest() -> None:
    assert _rods(post.keep_components_above(_blocks(6, 5, 9), 5)) == [6, 0, 9]
    assert _rods(post.keep_components_above(_blocks(6, 5, 9), 2000)) == [0, 0, 9]


def test_components_inside_a_container() -> None:
    mask = _blocks(6, 6, 6)
    container = np.zeros_like(mask)
    container[1] = True
    container[3, 1, 1:4] = True
    container[5, 1, 1:3] = True
    assert _rods(post.keep_components_inside(mask, container)) == [6, 6, 0]


def test_edges_join_corners_do_not() -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[0, 1, 1] = mask[1, 2, 2] = True
    assert sorted(post.components(mask)[1][1:]) == [1, 2]


@settings(deadline=None)
@given(_MASKS)
def test_closing_is_the_textbook_one(mask: np.ndarray) -> None:
    structure = ndimage.generate_binary_structure(3, 2)
    expected = ndimage.binary_closing(np.pad(mask, 3), structure)[3:-3, 3:-3, 3:-3]
    np.testing.assert_array_equal(post.close_gaps(mask), expected)


@settings(deadline=None)
@given(_MASKS)
def test_removers_only_remove_and_fillers_only_add(mask: np.ndarray) -> None:
    removed = (
        post.remove_islands(mask, 0.5),
        post.remove_small_objects(mask, _MM, 2),
        post.keep_largest_two(mask),
        post.keep_components_above(mask, 3),
        post.keep_components_inside(mask, mask),
    )
    for result in removed:
        assert not (result & ~mask).any()
    assert (post.keep_components_inside(mask, mask) == mask).all()
    assert not (mask & ~post.fill_small_holes(mask, _MM)).any()


@settings(deadline=None)
@given(arrays(np.uint8, (4, 5, 6), elements=st.integers(0, 4)))
def test_cleaned_labels_are_nested_and_keep_the_cavity(labels: np.ndarray) -> None:
    cleaned = post.clean_labels(labels, _MM, 3, 0.1, 2)
    assert ((cleaned == 4) == (labels == 4)).all()
    whole, core, enhancing = (region_mask(cleaned, region) for region in (Region.WT, Region.TC, Region.ET))
    assert not (core & ~whole).any()
    assert not (enhancing & ~core).any()
    np.testing.assert_array_equal(post.clean_labels(labels, _MM, 0, 0, 0), labels)


def test_labels_keep_an_enhancing_focus_but_not_a_far_island() -> None:
    labels = np.zeros((12, 20, 20), np.uint8)
    labels[2:10, 2:12, 2:12] = 2
    labels[4:6, 4:6, 4:6] = 3
    labels[8, 10, 10] = 3
    labels[5, 8, 8] = 0  # a hole of 1 mm3
    labels[5, 17, 17] = 3
    cleaned = post.clean_labels(labels, _MM, 3, 0.1, 0)
    assert cleaned[8, 10, 10] == 3
    assert cleaned[5, 8, 8] == 2
    assert cleaned[5, 17, 17] == 0
