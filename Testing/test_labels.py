"""Numberings of labels: conversion loses nothing without a warning."""

from __future__ import annotations

import numpy as np
import pytest

from GliomaSegLib.errors import InputError
from GliomaSegLib.label_maps import from_internal, lost_in, region_mask, regions_held, to_internal
from GliomaSegLib.labels import Label, LabelScheme, Region

ALL = np.array([0, 1, 2, 3, 4], np.uint8)


@pytest.mark.parametrize(
    ("scheme", "values", "lost"),
    [
        (LabelScheme.GLIOMASEG, [0, 1, 2, 3, 4], ()),
        (LabelScheme.CORE_WITH_CAVITY, [0, 1, 2, 3, 0], (Label.RC,)),
        (LabelScheme.BRATS2017, [0, 1, 2, 4, 0], (Label.RC,)),
        (LabelScheme.WHOLE_TUMOUR, [0, 1, 1, 1, 0], (Label.RC,)),
    ],
)
def test_numberings(scheme: LabelScheme, values: list[int], lost: tuple[Label, ...]) -> None:
    assert from_internal(ALL, scheme).tolist() == values
    assert lost_in(ALL, scheme) == lost
    assert lost_in(ALL[:4], scheme) == ()


@pytest.mark.parametrize("scheme", [LabelScheme.GLIOMASEG, LabelScheme.CORE_WITH_CAVITY, LabelScheme.BRATS2017])
def test_way_out_and_in(scheme: LabelScheme) -> None:
    assert to_internal(from_internal(ALL[:4], scheme), scheme).tolist() == [0, 1, 2, 3]


def test_the_cavity_counts_into_the_core_where_the_scheme_says_so() -> None:
    """Lotan 2021: the core is nonenhancing tumour, necrosis and the resection cavity."""
    internal = to_internal(ALL, LabelScheme.CORE_WITH_CAVITY)
    assert internal.tolist() == [0, Label.NETC, Label.SNFH, Label.ET, Label.NETC]
    assert region_mask(internal, Region.TC).tolist() == [False, True, False, True, True]
    assert Region.RC not in LabelScheme.CORE_WITH_CAVITY.regions


def test_value_that_the_numbering_lacks() -> None:
    with pytest.raises(InputError, match=r"^map\.nii holds the label 3, which the scheme 'brats2017' does not have"):
        to_internal(ALL, LabelScheme.BRATS2017, "map.nii")


@pytest.mark.parametrize(
    ("drawn", "regions"),
    [
        ([0], ["WT"]),
        ([2], ["WT"]),
        ([2, 3], ["WT", "TC", "ET"]),
        ([1], ["WT", "TC", "ET"]),
        ([2, 4], ["WT", "RC"]),
        ([1, 2, 3, 4], ["WT", "TC", "ET", "RC"]),
    ],
)
def test_regions_that_drawing_adds(drawn: list[int], regions: list[str]) -> None:
    held = regions_held(np.array(drawn, np.uint8), (Region.WT,))
    assert [region.value for region in held] == regions
    assert regions_held(np.zeros(3, np.uint8), held) == held, "what is distinguished once stays so"


@pytest.mark.parametrize(
    ("given", "drawn", "regions"),
    [
        (["ET"], [3], ["ET"]),
        (["TC"], [1], ["TC"]),
        (["TC"], [1, 3], ["TC", "ET"]),
        (["ET"], [1, 2, 3], ["WT", "TC", "ET"]),
        (["WT", "ET"], [2, 3], ["WT", "ET"]),
        (["RC"], [3, 4], ["ET", "RC"]),
    ],
)
def test_what_a_model_of_one_part_marks_itself_adds_no_region(given: list, drawn: list[int], regions: list) -> None:
    held = regions_held(np.array(drawn, np.uint8), tuple(map(Region, given)))
    assert [region.value for region in held] == regions
