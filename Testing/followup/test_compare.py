"""Studies of one patient compared, from the files to the page, and exported as DICOM."""

from __future__ import annotations

import argparse
import io
import json
import re
from dataclasses import replace
from datetime import date
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.cli import compare as command
from GliomaSegLib.cli import evaluate
from GliomaSegLib.cli import export as export_command
from GliomaSegLib.errors import GliomaSegError, InputError
from GliomaSegLib.followup.compare import compare
from GliomaSegLib.followup.conditions import Treatment
from GliomaSegLib.followup.growth import Curve, growth_plot
from GliomaSegLib.followup.page import LESIONS, NUMBERS, PAGE, render_comparison, write_comparison
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.measures.lesion_tracking import Change
from GliomaSegLib.measures.rano import Category
from GliomaSegLib.measures.resection import Finding
from GliomaSegLib.phantom import Phantom
from GliomaSegLib.phantom.dicom import write_series
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.results.layout import LABEL_MAP, REPORT
from GliomaSegLib.results.time_point import SegmentedTimePoint, read_time_point, twice
from GliomaSegLib.results.update import refresh, review
from GliomaSegLib.zoo.store import Store
from Testing.support.study import toy_job, volume, write_study

PRE, EARLY = TimePoint(TimePointKind.PREOPERATIVE), TimePoint(TimePointKind.POSTOPERATIVE, 1)
LATER = TimePoint(TimePointKind.POSTOPERATIVE, 100)


def labels_of(*boxes: tuple[slice, slice, slice]) -> sitk.Image:
    array = np.zeros((30, 40, 50), np.uint8)
    for one in boxes:
        array[one] = Label.ET
    return sitk.GetImageFromArray(array)


LARGE, SMALL = np.s_[5:25, 5:25, 5:25], np.s_[5:13, 10:18, 30:38]


@pytest.fixture
def segmented(tmp_path: Path):
    """Makes a segmented time point from boxes of enhancing tumour; without an image."""

    def made(*boxes: tuple[slice, slice, slice], when: TimePoint = LATER, **fields: object) -> SegmentedTimePoint:
        path = tmp_path / f"study{len(list(tmp_path.iterdir()))}.nii.gz"
        sitk.WriteImage(sitk.Cast(labels_of(*boxes) > 0, sitk.sitkUInt8), path)
        return read_time_point(path, scheme=LabelScheme.ENHANCING, when=when, **fields)

    return made


def test_surgery_then_two_follow_ups(segmented, tmp_path: Path) -> None:
    rest, grown = np.s_[5:8, 5:15, 5:15], np.s_[5:17, 5:17, 5:17]
    studies = [
        segmented(LARGE, SMALL, when=PRE),
        segmented(rest, SMALL, when=EARLY),
        segmented(grown, SMALL, np.s_[27:29, 30:38, 5:20], when=LATER),
    ]
    aligned = compare(studies, treatment=Treatment(baseline=1), in_place=True)
    found = aligned.comparison
    assert found.resection.finding is Finding.RESIDUAL
    assert found.resection.residual.volume_ml == pytest.approx(0.3 + 0.512)
    assert found.resection.extents[0].fraction == pytest.approx(1 - 0.812 / 8.512)
    assert [[step.change for step in steps] for steps in found.course.steps] == [
        [Change.SHRUNK, Change.UNCHANGED],
        [Change.UNCHANGED, Change.GROWN, Change.NEW],  # in order of size before
    ]
    assert [track.id for track in found.course.tracks] == [1, 2, 3]
    assert found.baseline == 1  # not the pre-operative study
    assert {one.category for one in found.responses} <= {Category.PROGRESSION, Category.NOT_MEASURABLE}
    assert "by imaging alone, against study 2 (1 day after surgery), the baseline that was given" in found.answers[0]
    assert found.answers[1].startswith("3 enhancing lesions of 2.48 mL now, 2 of 0.812 mL in study 2: ")
    of_second = [sentence for sentence in found.answers if sentence.startswith("Study 2 (1 day after surgery): ")]
    assert of_second[0].endswith(found.resection.answer)
    assert "Extent of resection: 90.5 % of the enhancing tumour (8.51 mL before, 0.812 mL after)." in found.answers
    after_surgery = compare(studies[:2], in_place=True).comparison
    assert after_surgery.answers[0] == after_surgery.resection.answer
    assert [one.day for one in found.studies] == [None] * 3  # the first has neither a day nor a date

    page = write_comparison(tmp_path / "out", aligned)
    text = unescape(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8")))
    in_table = {f"{one.brief}.": one.reason for one in found.responses}
    for sentence in (
        *(in_table.get(one, one) for one in found.answers),
        "Not a medical device",
        "RANO resect group",
        "Components of less than 20 mm³",
    ):
        assert sentence in text
    assert "://" not in page.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert json.loads((tmp_path / "out" / NUMBERS).read_text())["resection"]["finding"] == "residual tumour"
    assert len((tmp_path / "out" / LESIONS).read_text().splitlines()) == 1 + 2 + 2 + 3
    with pytest.raises(InputError, match="exists already"):
        write_comparison(tmp_path / "out", aligned)
    write_comparison(tmp_path / "out", aligned, overwrite=True)


def test_later_studies_are_not_called_residual(segmented) -> None:
    found = compare([segmented(LARGE, when=PRE), segmented(SMALL, when=LATER)], in_place=True).comparison
    assert found.resection.finding is Finding.LATE
    text = " ".join(found.answers)
    assert "may be treatment effect" in text
    assert "Extent of resection" not in text
    assert "gross total" not in text


def test_dates_give_days(segmented) -> None:
    days = [date(2024, 1, 1), date(2024, 3, 1)]
    studies = [segmented(LARGE, day=one) for one in days]
    assert [one.day for one in compare(studies, in_place=True).comparison.studies] == [0, 60]


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ({"day": date(2024, 3, 1)}, {"day": date(2024, 1, 1)}, "made before"),
        ({"when": EARLY}, {"when": PRE}, "made before"),
        ({"when": LATER}, {"when": EARLY}, "made before"),
        ({"when": EARLY, "day": date(2024, 3, 1)}, {"when": PRE, "day": date(2024, 3, 1)}, "made before"),
    ],
)
def test_studies_in_the_wrong_order_are_refused(segmented, first: dict, second: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        compare([segmented(LARGE, **first), segmented(SMALL, **second)], in_place=True)


def test_the_curve_of_a_lesion_that_has_gone_stays_at_nothing(segmented) -> None:
    boxes = [(LARGE, SMALL), (LARGE,), (LARGE,), (LARGE, SMALL)]
    html = render_comparison(compare([segmented(*one) for one in boxes], in_place=True))
    curves = {len(points.split()) for points in re.findall(r'<polyline points="([^"]+)"', html)}
    assert curves == {4, 1}  # of the lesions that there were from the beginning, and of the new one
    assert {"lesion 1", "lesion 2", "lesion 3"} <= set(re.findall(r">(lesion \d)</text>", html))


def test_a_study_without_a_date_between_others_hides_no_wrong_order(segmented) -> None:
    studies = [segmented(LARGE, day=day) for day in (date(2024, 5, 1), None, date(2024, 1, 1))]
    with pytest.raises(InputError, match=r"study2\.nii\.gz was made before .*study0\.nii\.gz"):
        compare(studies, in_place=True)


def test_two_studies_on_the_day_of_a_second_operation_are_in_order(segmented) -> None:
    day = date(2024, 5, 1)
    compare([segmented(LARGE, when=LATER, day=day), segmented(SMALL, when=EARLY, day=day)], in_place=True)


def test_what_is_too_small_to_count_after_surgery_does_not_count_before_it_either(segmented) -> None:
    """A nodule and ten specks that stay as they are."""
    specks = [np.s_[28:30, 2 * n, 48:50] for n in range(10)]
    nodule = np.s_[5:12, 5:12, 5:12]
    studies = [segmented(nodule, *specks, when=when) for when in (PRE, EARLY)]
    (extent,) = compare(studies, in_place=True).comparison.resection.extents
    assert (extent.before_ml, extent.percent) == (pytest.approx(0.343), 0)


def test_studies_of_two_patients_are_refused(segmented) -> None:
    studies = [replace(segmented(LARGE), patient=name) for name in ("P1", "P2")]
    with pytest.raises(InputError, match=r"different patients \(P1 and P2\)"):
        compare(studies, in_place=True)
    compare([studies[0], segmented(SMALL)], in_place=True)  # not known of one of them


def test_one_examination_given_twice_is_no_stable_disease(segmented, tmp_path: Path) -> None:
    one = segmented(LARGE)
    with pytest.raises(InputError, match=r"are of the same images.*'gliomaseg agree'"):
        compare([one, segmented(SMALL), one], in_place=True)
    scan = tmp_path / "scan.nii.gz"
    sitk.WriteImage(sitk.Cast(labels_of(LARGE, SMALL), sitk.sitkFloat32), scan)
    drawn = [read_time_point(segmented(box).path, scan, LabelScheme.ENHANCING, LATER) for box in (LARGE, SMALL)]
    with pytest.raises(InputError, match=r"study.*and .*study.*are of the same images"):
        compare([replace(study, date=date(2024, 1, 1)) for study in drawn], in_place=True)
    found = compare(drawn, in_place=True).comparison
    assert found.responses == ()
    assert "not judged, because studies 1 and 2 are of the same images" in found.answers[0]
    assert any("Studies 1 and 2 are of the same images" in warning for warning in found.warnings)


def test_what_cannot_be_compared_is_refused(segmented, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two"):
        compare([segmented(LARGE)])
    with pytest.raises(InputError, match="cannot be registered; give it with --image"):
        compare([segmented(LARGE), segmented(SMALL)])
    with pytest.raises(InputError, match="no enhancing tumour before surgery"):
        compare([segmented(when=PRE), segmented(SMALL, when=EARLY)], in_place=True)
    with pytest.raises(InputError, match="cannot be the baseline"):
        compare(
            [segmented(LARGE, when=PRE), segmented(SMALL), segmented(SMALL)],
            treatment=Treatment(baseline=0),
            in_place=True,
        )
    path = tmp_path / "whole.nii.gz"
    sitk.WriteImage(labels_of(LARGE) // 3, path)
    with pytest.raises(InputError, match="no region in common"):
        compare([segmented(LARGE), read_time_point(path, scheme=LabelScheme.WHOLE_TUMOUR)], in_place=True)
    scan = tmp_path / "scan.nii.gz"
    sitk.WriteImage(sitk.Cast(labels_of(LARGE, SMALL)[1:, 1:], sitk.sitkFloat32), scan)
    with pytest.raises(InputError, match="different grids"):
        read_time_point(path, scan, LabelScheme.WHOLE_TUMOUR)


def test_an_empty_study_and_a_lesion_at_the_border(segmented) -> None:
    found = compare([segmented(LARGE), segmented()], in_place=True).comparison
    assert found.studies[1].foci == 0
    assert [step.change for step in found.course.steps[0]] == [Change.GONE]
    assert {one.criteria.name: one.category for one in found.responses} == {
        "RANO 2010": Category.NOT_COMPARABLE,  # the FLAIR abnormality was not drawn
        "RANO 2.0": Category.COMPLETE,
        "RANO 2.0, volumetric": Category.COMPLETE,
    }
    cut = compare([segmented(np.s_[0:10, 0:10, 0:10]), segmented(np.s_[0:10, 0:10, 0:10])], in_place=True).comparison
    assert any("touches the border" in warning for warning in cut.warnings)


def test_a_moved_head_is_registered_and_measured_where_it_was(small_phantom: Phantom, tmp_path: Path) -> None:
    """The same head and tumour, scanned again with the head turned, on another grid."""
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.12, -0.05, 0.1, (6.0, -4.0, 5.0))
    points = []
    for number in range(2):
        # Not resampled: a head that was turned in the scanner is the same voxels in another place.
        t1c, drawn = (sitk.Image(one) for one in (small_phantom.images[Modality.T1C], small_phantom.reference))
        if number:
            for image in (t1c, drawn):
                matrix = np.reshape(turn.GetMatrix(), (3, 3)) @ np.reshape(image.GetDirection(), (3, 3))
                image.SetOrigin(turn.TransformPoint(image.GetOrigin()))
                image.SetDirection(matrix.ravel().tolist())
        paths = tmp_path / f"t1c{number}.nii.gz", tmp_path / f"labels{number}.nii.gz"
        sitk.WriteImage(sitk.Cast(t1c, sitk.sitkFloat32), paths[0])
        sitk.WriteImage(drawn, paths[1])
        points.append(read_time_point(paths[1], paths[0], when=LATER))
    aligned = compare(points)
    found = aligned.comparison
    assert found.studies[0].moved_mm > 4
    assert {step.change for step in found.course.steps[0]} == {Change.UNCHANGED}
    for track in found.course.tracks:
        assert track.lesions[0].voxels == track.lesions[1].voxels
    where = turn.GetInverse().TransformPoint((10.0, 20.0, 30.0))
    assert aligned.transforms[0].TransformPoint((10.0, 20.0, 30.0)) == pytest.approx(where, abs=1.5)
    assert "<svg" in write_comparison(tmp_path / "out", aligned).read_text(encoding="utf-8")


# --- folders of results --------------------------------------------------------------------------------------------


@pytest.fixture
def results(toy_store: Store, tmp_path: Path):
    """Makes a folder of results of the toy model."""

    def made(name: str, **fields: object) -> Path:
        run(toy_job(toy_store, tmp_path / name, study=write_study(tmp_path / f"{name}-study"), **fields))
        return tmp_path / name

    return made


def edit(folder: Path, place: tuple[slice, slice, slice], label: int) -> None:
    image = sitk.ReadImage(folder / LABEL_MAP)
    array = sitk.GetArrayFromImage(image)
    array[place] = label
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, folder / LABEL_MAP)


def test_results_bring_their_time_point_images_and_doubts(results) -> None:
    before = read_time_point(results("pre", time_point="preoperative"))
    assert before.time_point.kind is TimePointKind.PREOPERATIVE
    assert before.has_native_t1 is False
    assert before.image is not None
    assert before.probabilities.keys() == {Region.WT}
    assert before.measures.lesions_of(Region.WT)[0].certainty == pytest.approx(1000 / (2 * 545), abs=0.02)
    assert "toy" in before.origin


def test_a_model_for_before_surgery_judges_no_residual_tumour_until_it_is_approved(results) -> None:
    folder = results("post", days_since_surgery=2)
    unjudged = "Residual tumour is not judged, because the model was not made for studies after surgery"
    assert unjudged in (folder / REPORT).read_text(encoding="utf-8")
    review(folder, "approved", "Dr A")
    approved = (folder / REPORT).read_text(encoding="utf-8")
    assert unjudged not in approved
    assert "of enhancing tumour" in approved
    review(folder, "rejected", "Dr A")
    rejected = "Residual tumour is not judged, because a reviewer has rejected the contours of the model"
    assert rejected in (folder / REPORT).read_text(encoding="utf-8")


def test_from_two_results_to_the_answer(results, tmp_path: Path) -> None:
    folders = results("pre", time_point="preoperative"), results("post", days_since_surgery=2)
    edit(folders[1], np.s_[8:11], 0)
    with pytest.raises(InputError, match="run 'gliomaseg measure"):
        read_time_point(folders[1])
    refresh(folders[1])
    assert read_time_point(folders[1]).probabilities == {}  # they are not those of the edited contours
    assert twice([read_time_point(folder) for folder in folders]) == [(0, 1)], "both are of one examination"
    said = commanded("compare", *folders, "-o", tmp_path / "unreviewed")
    assert said.startswith("Residual tumour is not judged, because the model of study 2 (2 days after surgery) was not")
    assert "Extent of resection" not in said
    review(folders[1], "approved", "Dr A")
    said = commanded("compare", *folders, "-o", tmp_path / "out")
    assert "Extent of resection: " in said
    assert "Residual tumour: " in said
    assert (tmp_path / "out" / PAGE).is_file()
    numbers = json.loads(commanded("compare", *folders, "-o", tmp_path / "out", "--overwrite", "--json"))
    assert numbers["studies"][1]["days_since_surgery"] == 2
    assert any("without one blood" in note for note in numbers["resection"]["notes"])


# --- the command line ----------------------------------------------------------------------------------------------


def commanded(*arguments: object) -> str:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers()
    command.add_arguments(verbs.add_parser("compare"))
    evaluate.add_agreement_arguments(verbs.add_parser("agree"))
    export_command.add_arguments(verbs.add_parser("export"))
    parsed = parser.parse_args([str(argument) for argument in arguments])
    output = io.StringIO()
    assert parsed.command(parsed, output) == 0
    return output.getvalue()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--when", "preoperative"), "'--when' is given 1 times for 2 studies"),
        (("--when", "yesterday", "--when", "unknown"), "'--when yesterday' is not"),
        (("--date", "2024-13-01", "--date", "2024-12-01"), "is not a date"),
        (("--image", "a.nii.gz"), "1 scans are given for 2 label files"),
        (("--baseline", "1", "--baseline", "1"), "'--baseline' is given 2 times; response has one baseline"),
        (("--baseline", "1", "--radiotherapy-end", "none"), "names two baselines"),
        (("--radiotherapy-end", "soon"), "'--radiotherapy-end soon' is not a date"),
        (("--radiotherapy-end", "20240331"), "'--radiotherapy-end 20240331' is not a date"),
    ],
)
def test_options_that_cannot_be_are_refused(segmented, tmp_path: Path, options: tuple[str, ...], sentence: str) -> None:
    files = segmented(LARGE).path, segmented(SMALL).path
    with pytest.raises(GliomaSegError, match=sentence):
        commanded("compare", *files, "-o", tmp_path / "out", "--no-registration", "--scheme", "enhancing", *options)


def test_what_is_not_known_is_asked_and_the_command_succeeds(segmented, tmp_path: Path) -> None:
    files, options = (segmented(LARGE).path, segmented(SMALL).path), ("--no-registration", "--scheme", "enhancing")
    said = commanded("compare", *files, "-o", tmp_path / "out", *options)
    assert said.startswith(
        "Response to treatment is not judged before it is known: Were studies 1, 2 made before or after surgery?"
    )
    assert "Answer with --when, once per study, or --baseline N." in said
    numbers = json.loads((tmp_path / "out" / NUMBERS).read_text())
    assert (numbers["responses"], len(numbers["questions"])) == ([], 1)
    answered = ("--when", "postoperative", "--when", "postoperative", "--radiotherapy-end", "none")
    with_answer = json.loads(commanded("compare", *files, "-o", tmp_path / "answered", *options, *answered, "--json"))
    assert with_answer["baseline_reason"] == "the first after surgery, as there was no radiotherapy"


def test_agree_prints_and_writes_the_consensus(segmented, tmp_path: Path) -> None:
    files = [segmented(LARGE).path, segmented(LARGE, SMALL).path, segmented(LARGE).path]
    consensus = tmp_path / "consensus.nii.gz"
    said = commanded("agree", *files, "--scheme", "enhancing", "--region", "ET", "--write-consensus", consensus)
    assert "majority" in said
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(consensus)) > 0, sitk.GetArrayFromImage(labels_of(LARGE)) > 0
    )


def dicom_study(folder: Path) -> Path:
    for sequence in (Modality.T1C, Modality.T2F):
        image = sitk.Cast(sitk.Clamp(volume(sequence), lowerBound=0), sitk.sitkUInt16)
        write_series(image, sequence, folder / sequence.value, "toy")
    return folder


def test_a_result_made_from_dicom_is_exported(toy_store: Store, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    run(toy_job(toy_store, tmp_path / "out", study=dicom_study(tmp_path / "study")))
    said = commanded("export", tmp_path / "out", "-o", tmp_path / "dicom", "--dicom-seg", "--rtstruct", "--sr")
    assert sorted(path.name for path in (tmp_path / "dicom").iterdir()) == ["rtstruct.dcm", "seg.dcm", "sr.dcm"]
    assert "Not a medical device" in said
    with pytest.raises(InputError, match="exists already"):
        commanded("export", tmp_path / "out", "-o", tmp_path / "dicom", "--rtstruct")
    review(tmp_path / "out", "rejected", "Dr A")
    with pytest.raises(InputError, match="was rejected"):
        commanded("export", tmp_path / "out", "-o", tmp_path / "dicom2", "--rtstruct")


def test_a_result_from_other_files_needs_the_series(results, tmp_path: Path) -> None:
    folder = results("out")
    with pytest.raises(InputError, match="no DICOM series; give the folder"):
        commanded("export", folder, "-o", tmp_path / "dicom", "--rtstruct")
    with pytest.raises(InputError, match="Nothing was asked for"):
        commanded("export", folder, "-o", tmp_path / "dicom")
    study = dicom_study(tmp_path / "study")
    commanded("export", folder, "-o", tmp_path / "dicom", "--rtstruct", "--series", study / "t1c")
    assert [path.name for path in (tmp_path / "dicom").iterdir()] == ["rtstruct.dcm"]


def test_the_growth_plot_has_every_point() -> None:
    svg = growth_plot(
        [Curve("a", [1, None, 3]), Curve("b<", [0, 0, 0], strong=True)], [0, 10, 30], ["0", "10", "30"], "d"
    )
    assert svg.count("<circle") == 5
    assert "b&lt;" in svg


def test_names_with_markup_are_text_on_the_page(segmented, tmp_path: Path) -> None:
    markup = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
    studies = [
        replace(segmented(LARGE, when=when), name=markup, origin=markup, doubts=(markup,)) for when in (EARLY, LATER)
    ]
    page = write_comparison(tmp_path / "out", compare(studies, in_place=True)).read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
