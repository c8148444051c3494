"""Agreement of readers on shapes whose overlap is counted by hand, and the designs of the two papers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.agreement import (
    Design,
    against_consensus,
    agree,
    assistance,
    every_pair,
    one_against_others,
    sign_test,
    staple_readers,
)
from GliomaSegLib.evaluation.readings import Reading, compare_readings, read_consensus, read_readings, to_text
from GliomaSegLib.evaluation.surface import surface_distances
from GliomaSegLib.inference.consensus import consensus
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.options import Consensus

SPACING = (2.0, 1.0, 1.0)


def block(first: int, last: int, shape: tuple[int, int, int] = (10, 20, 40)) -> np.ndarray:
    """Columns ``first`` to ``last`` of a bar of 4 x 5 voxels in cross-section."""
    mask = np.zeros(shape, bool)
    mask[3:7, 5:10, first:last] = True
    return mask


def test_overlap_and_volume_difference() -> None:
    found = agree(block(10, 20), block(12, 20), SPACING, ("A", "B"))
    assert found.dice == pytest.approx(2 * 8 / 18)
    assert found.jaccard == pytest.approx(8 / 10)
    assert found.difference_ml == pytest.approx(-2 * 20 * 2 / 1000)
    assert found.relative_difference == pytest.approx(-2 / 9)
    assert found.hd95_mm == pytest.approx(2.0)
    assert (found.first, found.second) == ("A", "B")


def test_empty_segmentations() -> None:
    empty = np.zeros((10, 20, 40), bool)
    both = agree(empty, empty, SPACING, ("A", "B"))
    assert (both.dice, both.jaccard, both.surface_dice, both.hd95_mm) == (1, 1, None, 0)
    assert both.relative_difference is None
    one = agree(empty, block(10, 20), SPACING, ("A", "B"))
    assert (one.dice, one.surface_dice, one.hd95_mm) == (0, None, None)
    with pytest.raises(InputError, match="different sizes"):
        agree(empty, empty[1:], SPACING, ("A", "B"))


@pytest.mark.parametrize(("shift", "least", "most"), [(0, 1, 1), (1, 1, 1), (3, 0.4, 0.9), (15, 0, 0.1)])
def test_surface_dice_counts_what_is_within_the_tolerance(shift: int, least: float, most: float) -> None:
    first, second = block(5, 15), block(5 + shift, 15 + shift)
    assert least <= surface_distances(first, second, (1.0, 1.0, 1.0)).nsd(1.01) <= most


def test_the_tolerance_is_in_millimetres_along_each_axis() -> None:
    first = block(5, 15)
    second = np.roll(first, 1, axis=0)  # one slice up
    assert surface_distances(first, second, (1.0, 1.0, 1.0)).nsd(1.01) == pytest.approx(1)
    assert surface_distances(first, second, (5.0, 1.0, 1.0)).nsd(1.01) < 0.95


@pytest.mark.parametrize("spacing_mm", [1.2, float(np.float32(1.2))])
@pytest.mark.parametrize("place", range(3, 12))
def test_surfaces_one_voxel_apart_lie_within_a_tolerance_of_a_voxel(place: int, spacing_mm: float) -> None:
    """As doubles, 7 times 1.2 mm less 6 times 1.2 mm is more than 1.2 mm; so is what NIfTI stores of 1.2 mm."""
    first, second = np.zeros((2, 20, 8, 8), bool)
    first[place : place + 6, 2:6, 2:6] = second[place + 1 : place + 7, 2:6, 2:6] = True
    assert surface_distances(first, second, (spacing_mm, 1.0, 1.0)).nsd(1.2) == 1


def test_majority_is_more_than_half() -> None:
    masks = [block(10, 20), block(10, 18), block(14, 24), block(0, 1)]
    both_of_four = consensus([*masks[:3], np.zeros_like(masks[0])])
    np.testing.assert_array_equal(consensus(masks[:3]), block(10, 20))
    np.testing.assert_array_equal(both_of_four, block(14, 18))  # two of four are no majority
    np.testing.assert_array_equal(consensus(masks[:2]), block(10, 18))
    with pytest.raises(InputError, match="at least one"):
        consensus([])


def test_staple_believes_those_who_agree() -> None:
    masks = {"A": block(10, 20), "B": block(10, 20), "C": block(10, 20), "careless": block(16, 36)}
    np.testing.assert_array_equal(consensus(list(masks.values()), Consensus.STAPLE), block(10, 20))
    rated = {one.name: one for one in staple_readers(masks)}
    assert rated["A"].sensitivity > 0.99
    assert rated["careless"].sensitivity < 0.6
    empty = [np.zeros((4, 4, 4), bool)] * 3
    assert not consensus(empty, Consensus.STAPLE).any()


def test_every_pair_and_everyone_with_the_consensus() -> None:
    masks = {"A": block(10, 20), "B": block(10, 20), "C": block(12, 20)}
    assert [(one.first, one.second) for one in every_pair(masks, SPACING)] == [("A", "B"), ("A", "C"), ("B", "C")]
    found = against_consensus(masks, SPACING)
    assert [(one.first, one.second) for one in found] == [("majority", name) for name in "ABC"]
    assert [one.jaccard for one in found] == pytest.approx([1, 1, 0.8])


def test_one_reader_against_the_three_others() -> None:
    masks = {"A": block(10, 20), "B": block(10, 20), "C": block(10, 20), "D": block(10, 15)}
    # D is left out of the consensus that it is compared with, so that it cannot help itself.
    assert one_against_others(masks) == pytest.approx({"A": 1, "B": 1, "C": 1, "D": 2 * 5 / 15})
    with pytest.raises(InputError, match="at least three"):
        one_against_others({"A": block(1, 2), "B": block(1, 2)})


def test_the_three_designs_and_their_tests() -> None:
    manual, assisted = {}, {}
    for case in range(6):
        manual[str(case)] = {name: block(10 - i, 20 + (i + case) % 3) for i, name in enumerate("ABCD")}
        assisted[str(case)] = dict.fromkeys("ABCD", block(10, 20))
    by_hand, helped, all_helped = assistance(manual, assisted)
    assert [one.design for one in (by_hand, helped, all_helped)] == list(Design)
    assert len(by_hand.pairs) == 24
    assert all_helped.dice == (1.0,) * 24
    assert by_hand.sign is None
    assert all_helped.sign.smaller == 0
    assert all_helped.sign.p < 0.001
    assert all_helped.wilcoxon.median > 0
    others = consensus([manual["0"][name] for name in "BCD"])
    assert helped.dice[0] == agree(block(10, 20), others, SPACING, ("assisted A", "B, C, D by hand")).dice
    with pytest.raises(InputError, match="not the same"):
        assistance(manual, {})


def test_a_reader_is_paired_with_himself_whatever_the_order_of_the_readings() -> None:
    manual = {"1": {name: block(10 - i, 20 + i) for i, name in enumerate("ABCD")}}
    assisted = {"1": {name: manual["1"][name] for name in "CADB"}}
    by_hand, helped, all_helped = assistance(manual, assisted)
    for found in (helped, all_helped):
        assert found.pairs == by_hand.pairs
        assert (found.sign.greater, found.sign.smaller) == (0, 0)
        assert found.wilcoxon.p == 1


def test_the_sign_test_leaves_out_what_is_equal() -> None:
    found = sign_test([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.6, 0.7, 0.8, 0.9, 0.6, 0.5])
    assert (found.greater, found.smaller) == (5, 0)
    assert found.p == pytest.approx(2 * 0.5**5)
    assert sign_test([1.0], [1.0]).p == 1
    with pytest.raises(InputError, match="no pairs"):
        sign_test([1.0], [])


# --- files ---------------------------------------------------------------------------------------------------------


def write(path: Path, mask: np.ndarray, orientation: str = "LPS") -> Path:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(sitk.DICOMOrient(image, orientation), path)
    return path


def test_files_of_one_case_in_other_orientations(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "a.nii.gz", block(10, 20)),
        write(tmp_path / "b.nii.gz", block(12, 20), "RAS"),
        write(tmp_path / "c.nrrd", block(10, 20), "SAR"),
    ]
    readings = [Reading("case", path.name, path) for path in files]
    result = compare_readings(readings, Region.WT, LabelScheme.WHOLE_TUMOUR)
    assert [one.jaccard for one in result.cases[0].pairs] == pytest.approx([0.8, 1, 0.8])
    text = to_text(result)
    assert "a.nii.gz / b.nii.gz" in text
    assert "majority / b.nii.gz" in text
    together = read_consensus(readings, Region.WT, LabelScheme.WHOLE_TUMOUR, Consensus.MAJORITY)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(together) > 0, block(10, 20))
    assert together.GetSpacing() == pytest.approx(SPACING[::-1])
    with pytest.raises(InputError, match="does not tell ET apart"):
        compare_readings(readings, Region.ET, LabelScheme.WHOLE_TUMOUR)


def test_a_table_of_readings_by_hand_and_assisted(tmp_path: Path) -> None:
    rows = ["case,reader,file,assisted,seconds"]
    for number, reader in enumerate("ABC"):
        write(tmp_path / f"{reader}.nii.gz", block(10, 20 + number))
        write(tmp_path / f"{reader}_assisted.nii.gz", block(10, 20))
        rows += [f"1,{reader},{reader}.nii.gz,no,{600 + number}", f"1,{reader},{reader}_assisted.nii.gz,yes,100"]
    table = tmp_path / "readings.csv"
    table.write_text("\n".join(rows), encoding="utf-8")
    result = compare_readings(read_readings(table), Region.WT, LabelScheme.WHOLE_TUMOUR)
    assert [case.assisted for case in result.cases] == [False, True]
    assert result.designs[2].dice == (1.0,) * 3
    assert result.time.manual.median == 601
    assert result.time.difference.median == pytest.approx(-501)
    assert "Median time: by hand 601 s (3 readings), assisted 100 s (3 readings)" in to_text(result)


def test_each_reader_against_the_consensus_over_all_cases(tmp_path: Path) -> None:
    readings = []
    for case, ends in {"1": (20, 20, 18), "2": (20, 20, 15), "3": (20, 20, 19)}.items():
        for reader, end in zip("ABC", ends, strict=True):
            path = write(tmp_path / f"{case}{reader}.nii.gz", block(10, end))
            readings.append(Reading(case, reader, path))
    result = compare_readings(readings, Region.WT, LabelScheme.WHOLE_TUMOUR)
    assert [(one.reader, one.jaccard.median, one.jaccard.cases) for one in result.readers] == [
        ("A", 1, 3),
        ("B", 1, 3),
        ("C", pytest.approx(0.8), 3),  # of 0.8, 0.5 and 0.9
    ]
    assert "C against the consensus: median Jaccard 0.800, 3 cases" in to_text(result)
    assert compare_readings(readings[:3], Region.WT, LabelScheme.WHOLE_TUMOUR).readers == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("case,reader\n1,A", "has no column 'file'; it needs case, reader, file"),
        ("case,reader,file,assisted\n1,A,a.nii,perhaps", "'assisted' is yes or no"),
        ("case,reader,file,seconds\n1,A,a.nii,long", "is not a number of seconds"),
        ("case,reader,file,seconds\n1,A,a.nii,nan", "'nan' is no duration"),
        ("case,reader,file,seconds\n1,A,a.nii,-5", "'-5' is no duration"),
        ("case,reader,file\n1,A,", "case, reader, file must be there"),
        ("case,reader,file,seconds\n1,A,a.nii,12,5", "line 2: the row is longer than the heading"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=sentence):
        read_readings(tmp_path / "t.csv")


def test_readings_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "a.nii.gz", block(10, 20))
    other = write(tmp_path / "b.nii.gz", block(10, 20, (12, 20, 40)))
    with pytest.raises(InputError, match="single reading"):
        compare_readings([Reading("1", "A", one)], Region.WT, LabelScheme.WHOLE_TUMOUR)
    with pytest.raises(InputError, match="two readings by 'A'"):
        compare_readings([Reading("1", "A", one), Reading("1", "A", one)], Region.WT, LabelScheme.WHOLE_TUMOUR)
    with pytest.raises(InputError, match="another grid"):
        compare_readings([Reading("1", "A", one), Reading("1", "B", other)], Region.WT, LabelScheme.WHOLE_TUMOUR)
