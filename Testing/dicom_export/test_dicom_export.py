"""``gliomaseg export`` on folders of results: overlays on both sequences, lesions that keep their number, UIDs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.dicom_export.export import export
from GliomaSegLib.errors import InputError
from GliomaSegLib.followup.compare import compare
from GliomaSegLib.followup.page import write_comparison
from GliomaSegLib.io.folder import MANIFEST
from GliomaSegLib.io.terminology import region_styles
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.options import ExportBy, ExportKind, ReviewState
from GliomaSegLib.phantom.dicom import write_series
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.results.identity import TRACKING
from GliomaSegLib.results.layout import LABEL_MAP
from GliomaSegLib.results.time_point import SegmentedTimePoint, read_time_point
from GliomaSegLib.results.update import refresh, review
from GliomaSegLib.zoo.store import Store
from Testing.support.enhanced_mr import write_enhanced
from Testing.support.study import SPACING_MM, toy_job, volume

SHIFT_MM = (6.0, -9.0, 3.0)  # whole voxels, so that what lies where is exact
COLOURS = {region: np.array(region_styles()[region].colour) for region in Region}


def dicom_study(folder: Path, name: str = "toy", shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Path:
    """T1c and FLAIR; during FLAIR the head lay ``shift_mm`` (LPS) further."""
    for sequence in (Modality.T1C, Modality.T2F):
        image = sitk.Cast(sitk.Clamp(volume(sequence), lowerBound=0), sitk.sitkUInt16)
        if sequence is Modality.T2F:
            image.SetOrigin(np.add(image.GetOrigin(), shift_mm).tolist())
        write_series(image, sequence, folder / sequence.value, name)
    return folder


@pytest.fixture
def results(toy_store: Store, tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of results from DICOM."""

    def made(name: str = "out", **fields: object) -> Path:
        study = fields.pop("study", None) or dicom_study(tmp_path / f"{name}-study", name)
        run(toy_job(toy_store, tmp_path / name, study=study, **fields))
        return tmp_path / name

    return made


def with_labels(folder: Path, *lesions: tuple[tuple[slice, slice, slice], int]) -> Path:
    """The result after a reviewer has drawn these lesions and nothing else, each with its label."""
    image = sitk.ReadImage(folder / LABEL_MAP)
    array = np.zeros(image.GetSize()[::-1], np.uint8)
    for place, label in lesions:
        array[place] = label
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, folder / LABEL_MAP)
    refresh(folder)
    return folder


def colours_at(folder: Path) -> dict[tuple[int, int, int], np.ndarray]:
    """Where pixels of each region's colour lie: corners of their box, LPS mm ``[2, 3]``, beside the burnt-in text."""
    found: dict[tuple[int, int, int], list[np.ndarray]] = {tuple(one): [] for one in COLOURS.values()}
    for path in sorted(folder.iterdir()):
        read = pydicom.dcmread(path)
        picture = read.pixel_array.copy()
        picture[:, : read.Columns // 2] = 0  # the text is there, the tumour is not
        across, down = np.reshape(np.array(read.ImageOrientationPatient, float), (2, 3))
        rows_mm, columns_mm = map(float, read.PixelSpacing)
        for colour, points in found.items():
            for row, column in np.argwhere((picture == colour).all(axis=-1)):
                points.append(
                    np.array(read.ImagePositionPatient, float) + down * rows_mm * row + across * columns_mm * column
                )
    return {colour: np.array([np.min(p, axis=0), np.max(p, axis=0)]) for colour, p in found.items() if p}


def test_overlays_show_the_tumour_in_place_on_both_sequences(results: Callable[..., Path], tmp_path: Path) -> None:
    transform = tmp_path / "t2f.tfm"
    sitk.WriteTransform(sitk.TranslationTransform(3, SHIFT_MM), transform)
    study = dicom_study(tmp_path / "study", shift_mm=SHIFT_MM)
    folder = results(study=study, transforms={"t2f": transform})
    written = export(folder, tmp_path / "dicom", [ExportKind.OVERLAY]).files
    assert sorted(path.name for path in written[ExportKind.OVERLAY].iterdir()) == ["t1c", "t2f"]
    on_t1c, on_flair = (colours_at(written[ExportKind.OVERLAY] / name) for name in ("t1c", "t2f"))
    whole, enhancing = (tuple(COLOURS[region]) for region in (Region.WT, Region.ET))
    for colour in (whole, enhancing):
        np.testing.assert_allclose(on_flair[colour] - on_t1c[colour], [SHIFT_MM] * 2, atol=0.01)
    # The tumour of the study: columns 18 to 27, rows 10 to 19 (Testing.support), on a grid that begins at (-36, -60).
    lowest, highest = on_t1c[whole]
    assert lowest[0] == pytest.approx(-36 + (17.5 * SPACING_MM), abs=SPACING_MM / 2)
    assert highest[1] == pytest.approx(-60 + (19.5 * SPACING_MM), abs=SPACING_MM / 2)
    series = {name: pydicom.dcmread(written[ExportKind.OVERLAY] / name / "IM0001.dcm") for name in ("t1c", "t2f")}
    assert series["t1c"].SeriesInstanceUID != series["t2f"].SeriesInstanceUID
    assert series["t2f"].SeriesDescription == "GliomaSeg overlay on FLAIR; not reviewed; research only"
    assert "Not a medical device" in series["t1c"].ImageComments


def test_a_sequence_that_is_one_enhanced_image_gets_no_overlay(results: Callable[..., Path], tmp_path: Path) -> None:
    study = dicom_study(tmp_path / "study")
    (tmp_path / "enhanced").mkdir()
    write_enhanced([study / "t2f"], tmp_path / "enhanced" / "IM0001.dcm")
    shutil.rmtree(study / "t2f")
    (tmp_path / "enhanced").rename(study / "t2f")
    written = export(results(study=study), tmp_path / "dicom", [ExportKind.SEG, ExportKind.OVERLAY]).files
    assert [path.name for path in written[ExportKind.OVERLAY].iterdir()] == ["t1c"]


def test_overlays_of_a_series_that_was_given_are_on_that_one(results: Callable[..., Path], tmp_path: Path) -> None:
    folder = results()
    written = export(folder, tmp_path / "dicom", [ExportKind.OVERLAY], series=tmp_path / "out-study" / "t1c").files
    assert [path.name for path in written[ExportKind.OVERLAY].iterdir()] == ["t1c"]


def test_every_export_has_new_uids_and_replaces_nothing(results: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    folder, kinds = results(), tuple(ExportKind)
    first = export(folder, tmp_path / "first", kinds).files
    study = tmp_path / "out-study"
    (tmp_path / "first").rename(study / "exported")  # earlier objects beside the source disturb nothing
    second = export(folder, tmp_path / "second", kinds).files
    for kind, path in second.items():
        here = [path] if path.is_file() else sorted(path.rglob("*.dcm"))
        before = [study / "exported" / one.relative_to(tmp_path / "second") for one in here]
        old, new = ({pydicom.dcmread(one).SOPInstanceUID for one in files} for files in (before, here))
        assert len(old) == len(new) == len(here), kind
        assert not old & new
    assert first.keys() == second.keys()
    with pytest.raises(InputError, match=r"exists already; exported objects are never replaced"):
        export(folder, tmp_path / "second", kinds)


# --- lesions with the numbers of a comparison ----------------------------------------------------------------------

SMALL, LARGE, NEW = np.s_[6:10, 10:14, 8:12], np.s_[6:12, 20:28, 18:26], np.s_[13:18, 10:20, 18:27]
SPECK = np.s_[3:4, 30:31, 5:8]  # three voxels


def exam(folder: Path, **more: object) -> SegmentedTimePoint:
    """A result of an examination of its own, as if its images, which all results here share, were others."""
    return dataclasses.replace(read_time_point(folder, **more), images=())


@pytest.fixture
def two_studies(results: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two studies and their comparison: in the second one a third lesion, the largest of all, and a speck."""
    before = with_labels(results("before"), (LARGE, Label.ET), (SMALL, Label.ET))
    marks = ((LARGE, Label.ET), (SMALL, Label.ET), (NEW, Label.ET), (SPECK, Label.ET))
    after = with_labels(results("after"), *marks)
    points = [exam(before), exam(after)]
    write_comparison(tmp_path / "compared", compare(points, in_place=True))
    return before, after, tmp_path / "compared"


def lesions_in(path: Path) -> dict[str, tuple[str, int]]:
    """Of a SEG: Tracking ID, Tracking UID and voxels of each segment."""
    hd = pytest.importorskip("highdicom")
    read = hd.seg.segread(path)
    volume = read.get_volume(combine_segments=False)
    return {
        one.tracking_id: (one.tracking_uid, int(volume.array[..., number].sum()))
        for number, one in enumerate(map(read.get_segment_description, read.segment_numbers))
    }


def test_a_lesion_keeps_its_number_and_uid_over_studies(two_studies: tuple[Path, ...], tmp_path: Path) -> None:
    before, after, compared = two_studies
    seg = {
        folder: lesions_in(
            export(
                folder, tmp_path / f"{folder.name}-dicom", [ExportKind.SEG], by=ExportBy.LESIONS, comparison=compared
            ).files[ExportKind.SEG]
        )
        for folder in (before, after)
    }
    assert list(seg[before]) == ["Enhancing tumour 1", "Enhancing tumour 2"]
    assert list(seg[after]) == [
        "Enhancing tumour 1",
        "Enhancing tumour 2",
        "Enhancing tumour 3",
        "Enhancing tumour, too small to be followed (4)",
    ]
    for name in seg[before]:
        assert seg[before][name] == seg[after][name]
    assert seg[after]["Enhancing tumour 3"][1] == 5 * 10 * 9  # the largest, but the last to come
    assert len({uid for uid, _ in seg[after].values()}) == 4
    alone = lesions_in(export(after, tmp_path / "alone", [ExportKind.SEG], by=ExportBy.LESIONS).files[ExportKind.SEG])
    assert alone["Enhancing tumour 1"] == seg[after]["Enhancing tumour 1"]  # as it was exported before


def test_a_comparison_of_other_results_is_refused(
    two_studies: tuple[Path, ...], results: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    _, after, compared = two_studies
    given = {"by": ExportBy.LESIONS, "comparison": compared}
    with pytest.raises(InputError, match="is none of the studies of the comparison"):
        export(results("other"), tmp_path / "dicom", [ExportKind.SEG], **given)
    with pytest.raises(InputError, match="those of lesions; export with '--by lesions'"):
        export(after, tmp_path / "dicom", [ExportKind.SEG], comparison=compared)
    with pytest.raises(InputError, match="cannot be read"):
        export(after, tmp_path / "dicom", [ExportKind.SEG], by=ExportBy.LESIONS, comparison=tmp_path)
    with_labels(after, (LARGE, Label.ET))
    with pytest.raises(InputError, match="was changed since the comparison"):
        export(after, tmp_path / "dicom", [ExportKind.SEG], **given)
    assert not (tmp_path / "dicom").exists()


# --- identities kept with the result ------------------------------------------------------------------------------


def exported_lesions(folder: Path, output: Path, **more: object) -> dict[str, tuple[str, int]]:
    return lesions_in(export(folder, output, [ExportKind.SEG], by=ExportBy.LESIONS, **more).files[ExportKind.SEG])


def test_a_lesion_that_shrinks_below_its_neighbour_keeps_its_identity(
    results: Callable[..., Path], tmp_path: Path
) -> None:
    folder = with_labels(results("out"), (LARGE, Label.ET), (SMALL, Label.ET))
    before = exported_lesions(folder, tmp_path / "one")
    assert [voxels for _, voxels in before.values()] == [6 * 8 * 8, 4 * 4 * 4]
    less = np.s_[6:8, 20:22, 18:20]  # a corner of the large one
    with_labels(folder, (less, Label.ET), (SMALL, Label.ET))
    after = exported_lesions(folder, tmp_path / "two")
    assert {name: uid for name, (uid, _) in after.items()} == {name: uid for name, (uid, _) in before.items()}
    assert [voxels for _, voxels in after.values()] == [8, 64]
    with_labels(folder, (SMALL, Label.ET), (NEW, Label.ET))  # the large one is gone, another comes
    third = exported_lesions(folder, tmp_path / "three")
    assert list(third) == ["Enhancing tumour 2", "Enhancing tumour 3"]
    assert third["Enhancing tumour 2"][0] == before["Enhancing tumour 2"][0]
    assert third["Enhancing tumour 3"][0] not in {uid for uid, _ in before.values()}


def test_of_two_pieces_the_larger_keeps_the_identity(results: Callable[..., Path], tmp_path: Path) -> None:
    folder = with_labels(results("out"), (LARGE, Label.ET))
    ((uid, _),) = exported_lesions(folder, tmp_path / "one").values()
    with_labels(folder, (np.s_[6:12, 20:23, 18:26], Label.ET), (np.s_[6:12, 24:28, 18:26], Label.ET))
    pieces = exported_lesions(folder, tmp_path / "two")
    assert pieces["Enhancing tumour 1"] == (uid, 6 * 4 * 8)
    assert pieces["Enhancing tumour 2"][0] != uid


def test_an_identity_outlives_an_edit_of_the_study_from_which_a_comparison_counts(
    two_studies: tuple[Path, ...], tmp_path: Path
) -> None:
    before, after, compared = two_studies
    first = exported_lesions(before, tmp_path / "one", comparison=compared)
    exported_lesions(after, tmp_path / "two", comparison=compared)
    with_labels(before, (np.s_[6:8, 20:22, 18:20], Label.ET), (SMALL, Label.ET))  # now the other one is the largest
    again = tmp_path / "again"
    write_comparison(again, compare([exam(before), exam(after)], in_place=True))
    by_place = {voxels: uid for uid, voxels in exported_lesions(before, tmp_path / "three", comparison=again).values()}
    assert by_place == {8: first["Enhancing tumour 1"][0], 64: first["Enhancing tumour 2"][0]}
    uids = {uid for uid, _ in exported_lesions(after, tmp_path / "four", comparison=again).values()}
    assert set(by_place.values()) <= uids


def test_damaged_identities_are_refused(results: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    folder = with_labels(results("out"), (LARGE, Label.ET))
    (folder / TRACKING).write_text("{")
    with pytest.raises(InputError, match="is damaged; delete it to give the lesions new identities"):
        export(folder, tmp_path / "one", [ExportKind.SEG], by=ExportBy.LESIONS)


# --- kinds that fail, regions that are absent ------------------------------------------------------------------------


def test_a_kind_that_fails_does_not_take_the_others_with_it(
    results: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom")
    import GliomaSegLib.dicom_export.report as report

    def failing(*_: object) -> None:
        raise ValueError("an attribute")

    monkeypatch.setattr(report, "make_report", failing)
    made = export(results(), tmp_path / "dicom", tuple(ExportKind))
    assert set(made.files) == {ExportKind.SEG, ExportKind.RTSTRUCT, ExportKind.OVERLAY}
    assert made.failures == {ExportKind.SR: "sr could not be made: an attribute"}
    assert not (tmp_path / "dicom" / "sr.dcm").exists()
    monkeypatch.setattr("GliomaSegLib.dicom_export.export.make_rtstruct", failing)
    with pytest.raises(InputError, match="rtstruct could not be made"):
        export(tmp_path / "out", tmp_path / "nothing", [ExportKind.RTSTRUCT])
    assert not (tmp_path / "nothing").exists()


@pytest.mark.filterwarnings("error:.*(exceeds the max|PN components)")
def test_names_of_models_and_reviewers_that_are_too_long_for_dicom_are_cut(
    results: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    folder = results()
    review(folder, ReviewState.APPROVED, "Dr. A\\B=C " + "long " * 20)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["model"] |= {"id": "my-model-" * 9, "version": "2024.12.31-" * 7}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    made = export(folder, tmp_path / "dicom", tuple(ExportKind))
    assert made.failures == {}
    structures = pydicom.dcmread(made.files[ExportKind.RTSTRUCT])
    assert str(structures.ReviewerName).startswith("Dr. A B C long")
    assert structures.ManufacturerModelName.startswith("my-model-my-model-")


# --- later versions, planning series, what was judged ----------------------------------------------------------------


def test_objects_after_an_edit_name_their_predecessors(results: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    folder, kinds = results(), [ExportKind.SEG, ExportKind.SR, ExportKind.RTSTRUCT]
    first = {kind: pydicom.dcmread(path) for kind, path in export(folder, tmp_path / "one", kinds).files.items()}
    assert "PredecessorDocumentsSequence" not in first[ExportKind.SR]
    with_labels(folder, (LARGE, Label.ET))
    second = {kind: pydicom.dcmread(path) for kind, path in export(folder, tmp_path / "two", kinds).files.items()}
    before = second[ExportKind.SR].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert before.SeriesInstanceUID == first[ExportKind.SR].SeriesInstanceUID
    assert before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first[ExportKind.SR].SOPInstanceUID
    (before,) = second[ExportKind.RTSTRUCT].PredecessorStructureSetSequence
    assert before.ReferencedSOPInstanceUID == first[ExportKind.RTSTRUCT].SOPInstanceUID


def test_a_structure_set_on_a_planning_series_of_another_grid(results: Callable[..., Path], tmp_path: Path) -> None:
    study = dicom_study(tmp_path / "study")
    folder = results(study=study)
    frame = pydicom.dcmread(next((study / "t1c").iterdir())).FrameOfReferenceUID
    planning = sitk.Resample(
        volume(Modality.T1C), [60, 50, 40], sitk.Transform(), sitk.sitkLinear, (-30, -58, 16), [1.5, 2, 1.5]
    )
    image = sitk.Cast(sitk.Clamp(planning, lowerBound=0), sitk.sitkUInt16)
    write_series(image, Modality.T1C, tmp_path / "planning", "out")
    with pytest.raises(InputError, match="no axial MR series in the frame of reference"):
        export(folder, tmp_path / "other", [ExportKind.RTSTRUCT], series=tmp_path / "planning")
    for path in (tmp_path / "planning").iterdir():
        read = pydicom.dcmread(path)
        read.FrameOfReferenceUID = frame
        read.save_as(path)
    made = export(folder, tmp_path / "dicom", [ExportKind.RTSTRUCT], series=tmp_path / "planning")
    rt = pydicom.dcmread(made.files[ExportKind.RTSTRUCT])
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "planning").iterdir()}
    whole = rt.ROIContourSequence[0].ContourSequence
    assert {one.ContourImageSequence[0].ReferencedSOPInstanceUID for one in whole} <= uids
    points = np.concatenate([np.reshape(np.array(one.ContourData, float), (-1, 3)) for one in whole])
    # The whole tumour of the study is a box: voxels 18 to 27, 10 to 19 and 6 to 13 (Testing.support).
    corner = np.array([-36.0, -60.0, 15.0]) + SPACING_MM * (np.array([18, 10, 6]) - 0.5)
    np.testing.assert_allclose(points.min(axis=0), corner, atol=1.6)
    np.testing.assert_allclose(points.max(axis=0), corner + SPACING_MM * np.array([10, 10, 8]), atol=1.6)
    assert made.warnings == ()
    with pytest.raises(InputError, match="no MR series"):
        export(folder, tmp_path / "seg", [ExportKind.SEG], series=tmp_path / "planning")


@pytest.mark.parametrize("slice_mm", [3.0, 18.0])
def test_what_lies_between_the_slices_of_a_planning_series_is_told(
    results: Callable[..., Path], tmp_path: Path, slice_mm: float
) -> None:
    """A focus one slice of 3 mm high, beside one that is 12 mm high; slices 18 mm apart show the latter alone."""
    study = dicom_study(tmp_path / "study")
    folder = results(study=study)
    labels = sitk.ReadImage(str(folder / "segmentation.nii.gz"))
    labels[4:7, 4:7, 16] = int(Label.ET)
    sitk.WriteImage(labels, str(folder / "segmentation.nii.gz"))
    refresh(folder)
    grid = [20, 20, round(60 / slice_mm)], sitk.Transform(), sitk.sitkLinear, (-33, -57, 7), [4.5, 4.5, slice_mm]
    image = sitk.Cast(sitk.Clamp(sitk.Resample(volume(Modality.T1C), *grid), lowerBound=0), sitk.sitkUInt16)
    write_series(image, Modality.T1C, tmp_path / "planning", "planning")
    for path in (tmp_path / "planning").iterdir():
        read = pydicom.dcmread(path)
        read.FrameOfReferenceUID = pydicom.dcmread(next((study / "t1c").iterdir())).FrameOfReferenceUID
        read.save_as(path)
    made = export(folder, tmp_path / "dicom", [ExportKind.RTSTRUCT], series=tmp_path / "planning", by=ExportBy.LESIONS)
    names = [one.ROIName for one in pydicom.dcmread(made.files[ExportKind.RTSTRUCT]).StructureSetROISequence]
    assert names == ["ET 1"] + ["ET 2"] * (slice_mm == 3)
    assert len(made.warnings) == (slice_mm > 3)
    assert all(
        one.startswith("Of 'Enhancing tumour 2' (0.243 mL) the structure set holds 0 %") for one in made.warnings
    )


def said_in(report: Path) -> dict[str, dict[str, object]]:
    """By Tracking Identifier and time point what the measurement groups of a report say."""
    found: dict[str, dict[str, object]] = {}
    groups = next(
        one for one in pydicom.dcmread(report).ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    for group in groups.ContentSequence:
        said: dict[str, object] = {}
        for item in group.ContentSequence:
            name = item.ConceptNameCodeSequence[0].CodeMeaning
            if item.ValueType == "NUM":
                said[name] = float(item.MeasuredValueSequence[0].NumericValue)
            elif item.ValueType == "CODE":
                said[name] = item.ConceptCodeSequence[0].CodeMeaning
            elif item.ValueType in ("TEXT", "UIDREF"):
                said[name] = item.get("TextValue") or item.get("UID")
        found[", ".join(filter(None, (said["Tracking Identifier"], said.get("Time Point", ""))))] = said
    return found


def test_a_report_after_surgery_says_what_is_left_and_what_was_removed(
    results: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    before = with_labels(results("before", time_point="preoperative"), (LARGE, Label.ET), (SMALL, Label.ET))
    after = with_labels(results("after", days_since_surgery=2), (SMALL, Label.ET))
    review(after, "approved", "Dr A")
    alone = said_in(export(after, tmp_path / "alone", [ExportKind.SEG, ExportKind.SR]).files[ExportKind.SR])
    assert alone["Enhancing tumour after surgery"]["Enhancement after surgery"] == "residual tumour"
    assert alone["Enhancing tumour after surgery"]["Volume"] == pytest.approx(64 * 0.027, abs=0.001)
    write_comparison(tmp_path / "compared", compare([exam(before), exam(after)], in_place=True))
    given = {"by": ExportBy.LESIONS, "comparison": tmp_path / "compared"}
    made = export(after, tmp_path / "dicom", [ExportKind.SEG, ExportKind.SR], **given)
    said = said_in(made.files[ExportKind.SR])
    left = said["Enhancing tumour after surgery"]
    assert left["Extent of resection, ET"] == pytest.approx(100 * 384 / 448, abs=0.1)
    assert left["RANO resect class"] == "3A: subtotal resection of enhancing tumour"
    earlier = {name: one for name, one in said.items() if "study 1" in name}
    assert len(earlier) == 2
    volumes = sorted(one["Volume"] for one in earlier.values())
    assert volumes == pytest.approx([64 * 0.027, 384 * 0.027], abs=0.001)
    now = next(one for name, one in said.items() if "study 2" in name)
    then = next(one for one in earlier.values() if one["Tracking Identifier"] == now["Tracking Identifier"])
    assert then["Tracking Unique Identifier"] == now["Tracking Unique Identifier"]


def test_a_report_of_the_last_study_says_the_response(results: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    folders = []
    for name, days, lesion in (("one", 90, SMALL), ("two", 180, LARGE)):
        folders.append(with_labels(results(name, days_since_surgery=days), (lesion, Label.ET), (NEW, Label.ET)))
        review(folders[-1], "approved", "Dr A")
    points = [exam(folder, day=date(2024, month, 1)) for folder, month in zip(folders, (1, 4), strict=True)]
    write_comparison(tmp_path / "compared", compare(points, in_place=True))
    given = {"by": ExportBy.LESIONS, "comparison": tmp_path / "compared"}
    said = said_in(export(folders[1], tmp_path / "last", [ExportKind.SEG, ExportKind.SR], **given).files[ExportKind.SR])
    by_volume = said["Response by RANO 2.0, volumetric"]
    assert by_volume["Current Response"] == "Progressive Disease"
    assert by_volume["Response Evaluation Method"] == "RANO 2.0, volumetric"
    first = said_in(
        export(folders[0], tmp_path / "first", [ExportKind.SEG, ExportKind.SR], **given).files[ExportKind.SR]
    )
    assert not any(name.startswith("Response") for name in first)
