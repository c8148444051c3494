"""Segmentations of others in comparisons, agreement and evaluation: their numbering is asked for, never guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.files import compare_files
from GliomaSegLib.evaluation.pairing import pairs_in_order
from GliomaSegLib.evaluation.readings import Reading, compare_readings
from GliomaSegLib.evaluation.residual import evaluate_table
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.images import write_image
from GliomaSegLib.io.segnrrd import write_segmentation
from GliomaSegLib.label_maps import from_internal
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.options import Consensus
from GliomaSegLib.results.reading import read_any_segmentation
from GliomaSegLib.results.time_point import read_time_point
from Testing.support.study import toy_labels, volume

GLIOMASEG, BRATS2017, BRATS2024 = LabelScheme.GLIOMASEG, LabelScheme.BRATS2017, LabelScheme.BRATS2024


def written(path: Path, labels: np.ndarray) -> Path:
    write_image(array_on(labels.astype(np.uint8), volume(Modality.T1C)), path)
    return path


@pytest.fixture
def brats(tmp_path: Path) -> Path:
    """A tumour with necrosis, edema and enhancing tumour in the numbering of BraTS 2017 to 2021: 1, 2 and 4."""
    return written(tmp_path / "brats.nii.gz", from_internal(toy_labels(), BRATS2017))


def evaluated(path: Path, scheme: LabelScheme) -> float:
    reference = written(path.with_name("reference.nii.gz"), toy_labels())
    (pair,) = compare_files(pairs_in_order([path, reference]), scheme, LabelScheme.GLIOMASEG).pairs
    return pair.scores[Region.WT].dice


def agreed(path: Path, scheme: LabelScheme) -> object:
    readings = [Reading("case", reader, path) for reader in ("one", "two")]
    return compare_readings(readings, Region.ET, scheme, Consensus.MAJORITY, 1.0)


@pytest.mark.parametrize(
    "use",
    [
        lambda path, scheme: read_time_point(path, scheme=scheme),
        evaluated,
        agreed,
        read_any_segmentation,
    ],
    ids=["compare", "evaluate", "agree", "any"],
)
def test_four_without_three_is_a_question_that_the_scheme_answers(
    brats: Path, use: Callable[[Path, LabelScheme], object]
) -> None:
    with pytest.raises(InputError, match=r"holds the label 4 and no 3: .* 'brats2017' .* or 'brats2024'"):
        use(brats, GLIOMASEG)
    use(brats, BRATS2017)
    use(brats, BRATS2024)


def test_the_answer_decides_what_the_four_is(brats: Path) -> None:
    assert evaluated(brats, BRATS2017) == 1
    labels = read_any_segmentation(brats, BRATS2024).labels
    assert set(np.unique(sitk.GetArrayViewFromImage(labels))) == {0, Label.NETC, Label.SNFH, Label.RC}


def test_a_map_with_both_or_neither_is_no_question(tmp_path: Path) -> None:
    for name, labels in (("all", [1, 2, 3, 4]), ("pre", [1, 2, 3]), ("edema", [2])):
        array = np.zeros(toy_labels().shape, np.uint8)
        array[5, 5, : len(labels)] = labels
        read_any_segmentation(written(tmp_path / f"{name}.nii.gz", array))


def test_a_table_of_residual_tumour_asks_too(brats: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"case,prediction,reference\na,{brats.name},{brats.name}\n")
    with pytest.raises(InputError, match="holds the label 4 and no 3"):
        evaluate_table(table, GLIOMASEG, GLIOMASEG)


def test_a_cropped_segmentation_of_slicer_is_read_onto_the_other_file(tmp_path: Path) -> None:
    whole = array_on(toy_labels(), volume(Modality.T1C))
    path = tmp_path / "reader.seg.nrrd"
    write_segmentation(whole, path)
    image = sitk.ReadImage(str(path))
    cropped = sitk.RegionOfInterest(image, (12, 12, 9), (17, 9, 5))
    for key in image.GetMetaDataKeys():
        cropped.SetMetaData(key, image.GetMetaData(key))
    for said in (True, False):  # older files do not say what they were drawn on
        if not said:
            cropped.EraseMetaData("Segmentation_ConversionParameters")
        sitk.WriteImage(cropped, str(path))
        assert evaluated(path, GLIOMASEG) == 1
        scan = tmp_path / "t1c.nii.gz"
        write_image(volume(Modality.T1C), scan)
        point = read_time_point(path, scan)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(point.labels), toy_labels())


@pytest.mark.parametrize(
    ("segments", "regions"),
    [
        ([Label.SNFH], {Region.WT}),
        ([Label.ET], {Region.ET}),
        ([Label.RC], {Region.RC}),
        ([Label.SNFH, Label.RC], {Region.WT, Region.RC}),
        ([Label.SNFH, Label.ET], {Region.WT, Region.TC, Region.ET}),
        (list(Label)[1:], set(Region)),
        ([], set(Region)),
    ],
)
def test_a_slicer_file_tells_of_what_it_has_a_segment_for(tmp_path: Path, segments: list, regions: set) -> None:
    """A reader who drew the enhancing tumour alone, in a segment of its own, has said nothing of the edema."""
    path = tmp_path / "reader.seg.nrrd"
    write_segmentation(array_on(toy_labels(), volume(Modality.T1C)), path)
    image = sitk.ReadImage(str(path))
    for number, label in enumerate(list(Label)[1:]):
        for key in [key for key in image.GetMetaDataKeys() if key.startswith(f"Segment{number}_")]:
            if label not in segments:
                image.EraseMetaData(key)
    sitk.WriteImage(image, str(path))
    assert read_any_segmentation(path).regions == regions


def test_a_cavity_that_is_counted_into_the_core_is_no_tumour_that_is_left(tmp_path: Path) -> None:
    path = written(tmp_path / "lotan.nii.gz", np.where(toy_labels() == Label.NETC, 4, toy_labels()))
    point = read_time_point(path, scheme=LabelScheme.CORE_WITH_CAVITY)
    assert point.regions == {Region.ET}
    assert [volume.name for volume in point.measures.volumes] == ["ET"]
