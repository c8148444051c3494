"""The report: what it says, that it is self-contained, and that its pictures show the right place and side."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from html import unescape
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.job import Job, ReviewEvent
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.assessment import CaseAssessment, assess_case
from GliomaSegLib.measures.volumes import measure
from GliomaSegLib.phantom.dicom import write_series
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.preprocessing.resampling import moved, resample_image
from GliomaSegLib.results import viewer
from GliomaSegLib.results.images import ResultImages
from GliomaSegLib.results.manifest import Manifest, ModelUsed, SequenceRecord
from GliomaSegLib.results.reading import read_manifest
from GliomaSegLib.results.report import NOTICE, render_report, write_report
from GliomaSegLib.results.slice_pictures import Slice, Viewer
from GliomaSegLib.zoo.store import Store
from Testing.support.study import toy_job, volume

SPACING = (1.0, 1.2, 5.0)
SIZE = (60, 50, 16)
AFTER_SURGERY = TimePoint(TimePointKind.POSTOPERATIVE, 2)


@pytest.fixture(autouse=True)
def without_niivue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page as it is printed; with images to scroll it is tested in Testing/page."""
    monkeypatch.setattr(viewer, "niivue", lambda: None)


def image_of(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin((-30.0, -25.0, -20.0))
    return image


def brain() -> sitk.Image:
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[1:15, 5:45, 6:54] = 1
    return image_of(mask)


def labels() -> sitk.Image:
    """A tumour at high x: on the patient's left."""
    array = np.zeros(SIZE[::-1], np.uint8)
    array[5:10, 15:31, 38:50] = Label.SNFH
    array[6:9, 18:26, 40:48] = Label.ET
    array[7, 20:24, 42:46] = Label.NETC
    return image_of(array)


def scan(seed: int) -> sitk.Image:
    noise = np.random.default_rng(seed).normal(100, 20, SIZE[::-1])
    return image_of(np.where(sitk.GetArrayFromImage(brain()) > 0, noise, 0).astype(np.float32))


Given = tuple[Manifest, CaseAssessment, ResultImages]


def content(
    marked: sitk.Image | None = None,
    when: TimePoint = AFTER_SURGERY,
    regions: tuple[Region, ...] = tuple(Region),
    probabilities: Mapping[Region, sitk.Image] | None = None,
    originals: Mapping[Modality, sitk.Image] | None = None,
    **fields: object,
) -> Given:
    """A result of T1c and FLAIR; ``fields`` are the manifest's."""
    marked = labels() if marked is None else marked
    originals = originals or {modality: scan(seed) for seed, modality in enumerate((Modality.T1C, Modality.T2F))}
    assessed = assess_case(marked, brain(), regions, probabilities or {}, when, (Modality.T1C, Modality.T2F))
    return manifest(when, **fields), assessed, ResultImages(marked, brain(), originals)


def manifest(when: TimePoint, name: str = "post.nii.gz", licence: str = "BSD-3-Clause", **fields: object) -> Manifest:
    given = {
        "case_id": "case-7",
        "time_point": when.kind,
        "days_since_surgery": when.days_since_surgery,
        "job": Job(study="study", output="out"),
        "model": ModelUsed(
            id="ca-cnn",
            title="CA-CNN",
            version="1",
            licence=licence,
            citation="Wang 2017",
            weights_sha256="0" * 64,
            device="cpu",
            precision="float32",
        ),
        "regions": tuple(Region),
        "sequences": {
            Modality.T1C: sequence(name, 0.87, "contrast agent in the DICOM header"),
            Modality.T2F: sequence("flair.nii.gz", 0.99, "called 'flair'"),
        },
        "missing": (),
        "cost": "Without T2 the edema is less certain.",
        "created": "2024-01-31T12:00:00+00:00",
        "warnings": ("The FLAIR was mirrored.",),
    }
    return Manifest(**(given | fields))


def sequence(name: str, confidence: float, reason: str) -> SequenceRecord:
    return SequenceRecord(
        path=Path("study", "file"),
        series_uid=None,
        series_part="",
        name=name,
        pixels_sha256="0" * 64,
        confidence=confidence,
        reason=reason,
        is_reference=reason.startswith("contrast"),
        moved_mm=None,
        mutual_information=None,
        mirror_contrast=None,
    )


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.split("<main>")[1]))


def test_it_says_what_a_reader_needs() -> None:
    text = text_of(render_report(*content()))
    for sentence in (
        NOTICE,
        "draft: not reviewed",
        "case-7 · post-operative, 2 days after surgery",
        "The FLAIR was mirrored.",
        "contrast agent in the DICOM header",
        "87 %",
        "Without T2 the edema is less certain.",
        "CA-CNN",
        "BSD-3-Clause",
        "Whole tumour: 1 focus",
    ):
        assert sentence in text
    assert text.index(NOTICE) < text.index("case-7")
    assert re.search(r"Whole tumour 5\.76 mL", text)  # 5 x 16 x 12 voxels of 6 mm³
    assert re.search(r"T1 missing T2 missing", text)
    assert "left" in text
    assert "No tumour was found" not in text
    assert "Not used:" not in text


# --- the answer ----------------------------------------------------------------------------------------------------


def answer_of(given: Given) -> str:
    """What stands between the heading and the first warning."""
    html = render_report(*given)
    assert html.index('class="answer"') < html.index('class="warnings"') < html.index('class="tiles"')
    return text_of("<main>" + html.split('class="answer">')[1].split("</section>")[0])


def after(days: float | None) -> TimePoint:
    return TimePoint(TimePointKind.POSTOPERATIVE, days)


def test_after_surgery_the_answer_stands_first() -> None:
    said = answer_of(content())  # 3 x 8 x 8 voxels of ET less 4 x 4 of its core, 6 mm³ each
    assert re.search(r"Residual tumour: 1\.06 mL .*, 0\.881 mL above the limit of 0\.175 mL for gross", said)
    assert "There is no T1 without contrast: without one blood and residual tumour cannot be told apart." in said


def test_a_little_left_is_a_gross_total_resection() -> None:
    array = np.zeros(SIZE[::-1], np.uint8)
    array[7:9, 20:24, 40:43] = Label.ET
    said = answer_of(content(image_of(array)))
    assert re.search(r"Gross total resection: 0\.144 mL .*, 0\.031 mL below the limit", said)
    assert "gross total resection" in answer_of(content(image_of(np.zeros(SIZE[::-1], np.uint8))))


@pytest.mark.parametrize(("days", "sentence"), [(30, "may be treatment effect"), (None, "cannot be called residual")])
def test_later_or_undated_nothing_is_called_residual(days: float | None, sentence: str) -> None:
    said = answer_of(content(when=after(days)))
    assert "Enhancing volume 1.06 mL" in said
    assert sentence in said
    assert "gross total" not in said


def test_the_probability_map_says_how_sure_the_answer_is() -> None:
    probability = sitk.Cast(labels() == int(Label.ET), sitk.sitkFloat32) * 0.6
    assert "(probability 0.75 and more)" in answer_of(content(probabilities={Region.ET: probability}))
    assert "is not available" in answer_of(content())


def test_after_surgery_the_picture_shows_what_is_left_not_the_cavity() -> None:
    array = np.zeros(SIZE[::-1], np.uint8)
    array[3, 10:40, 10:40] = Label.RC
    array[9:11, 20:25, 40:45] = Label.ET
    html = render_report(*content(image_of(array)))
    assert "Axial slice with the largest area of enhancing tumour, S 25 mm" in text_of(html)  # -20 + 9 x 5 mm
    before = render_report(*content(image_of(array), TimePoint()))
    assert "Axial slice with the largest area of tumour, I 5 mm" in text_of(before)


def test_without_contrast_residual_tumour_is_not_judged() -> None:
    said = answer_of(content(regions=(Region.WT,)))
    assert "Residual tumour cannot be judged: the enhancing tumour was not determined." in said
    assert "Whole tumour 5.76 mL" in said


@pytest.mark.parametrize("kind", [TimePointKind.PREOPERATIVE, TimePointKind.UNKNOWN])
def test_before_surgery_the_answer_is_how_much_there_is(kind: TimePointKind) -> None:
    said = answer_of(content(when=TimePoint(kind)))
    assert "Whole tumour 5.76 mL, tumour core 1.15 mL, enhancing tumour 1.06 mL; one enhancing focus of" in said
    assert said.rstrip().endswith("left.")
    array = sitk.GetArrayFromImage(labels())
    array[12, 30:40, 20:30] = Label.ET
    assert "2 enhancing foci, the largest" in answer_of(content(image_of(array), TimePoint(kind)))


def test_specks_are_no_foci_and_their_number_is_said() -> None:
    array = sitk.GetArrayFromImage(labels())
    array[12, 30, 20] = array[12, 40, 40] = Label.ET
    assessed = content(image_of(array), TimePoint(TimePointKind.PREOPERATIVE))
    said = answer_of(assessed)
    assert "one enhancing focus of" in said
    assert "and 2 specks of 0.0" in said
    text = text_of(render_report(*assessed))
    assert "Enhancing tumour: 1 focus" in text
    assert "Not counted: 2 specks of" in text


def test_lesions_show_their_certainty_and_what_the_border_cuts() -> None:
    array = sitk.GetArrayFromImage(labels())
    array[0, 10:20, 10:20] = Label.ET
    marked = image_of(array)
    probability = sitk.Cast(marked == int(Label.ET), sitk.sitkFloat32) * 0.87
    text = text_of(render_report(*content(marked, probabilities={Region.ET: probability})))
    assert "0.87" in text.split("Enhancing tumour: 2 foci")[1].split("Sequences")[0]
    assert "No. 2 touches the border of the image" in text
    assert "Highest probability" not in text_of(render_report(*content(marked)))


def test_cost_of_missing_sequences_is_said_once_above_the_volumes() -> None:
    html = render_report(*content())
    assert html.count("Without T2 the edema is less certain.") == 1
    assert html.index("Without T2 the edema") < html.index('<section class="tiles">')
    assert "Not every sequence was there" not in render_report(*content(cost=None))


def test_unused_volumes_are_listed() -> None:
    html = render_report(*content(ignored=("'scan3.nii.gz' (could not be told)", "'ADC' (called 'adc')")))
    text = unescape(text_of(html))
    assert "Not used: 'scan3.nii.gz' (could not be told), 'ADC' (called 'adc')." in text


def test_it_has_no_outside_part() -> None:
    html = render_report(*content())
    assert not re.search(r"<script|<link|<iframe|@import|url\(|https?:", html)
    assert all(target.startswith("data:image/png;base64,") for target in re.findall(r'(?:href|src)="([^"]*)"', html))


def test_every_text_is_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    reviews = tuple(ReviewEvent(state="approved", when="2024-02-01T12:00:00+00:00", by=evil) for _ in range(2))
    html = render_report(
        *content(
            name=evil,
            licence=evil,
            case_id=evil,
            cost=evil,
            choice=evil,
            warnings=(f"{evil} ",),
            ignored=(evil,),
            review="approved",
            reviews=reviews,
        )
    )
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") == 11  # the case is also the title; reviews: state, history


def test_nothing_found_is_said_plainly_and_still_pictured() -> None:
    html = render_report(*content(labels() * 0))
    assert "No tumour was found." in html
    assert "The model marked no voxel of this study." in html
    assert "<path" not in html
    assert html.count("<svg") >= 2


def test_what_was_not_segmented_is_not_called_zero() -> None:
    html = render_report(*content(regions=(Region.WT,)))
    assert re.search(r"Tumour core not determined", text_of(html))
    assert 'class="ET"' not in html


def test_the_cavity_is_shown_where_it_was_looked_for() -> None:
    assert "Resection cavity 0.00" in text_of(render_report(*content()))
    without = text_of(render_report(*content(regions=(Region.WT, Region.TC, Region.ET))))
    assert "Resection cavity 0" not in without
    assert "Resection cavity not determined" not in without
    array = sitk.GetArrayFromImage(labels())
    array[6:9, 20:30, 10:20] = Label.RC
    html = render_report(*content(image_of(array)))
    assert "Resection cavity 1.80" in text_of(html)
    assert 'class="RC"' in html


def test_the_volume_of_a_single_voxel_is_not_nothing() -> None:
    array = np.zeros(SIZE[::-1], np.uint8)
    array[7, 20, 20] = Label.SNFH
    fine = image_of(array)
    fine.SetSpacing((1, 1, 1))
    about, _, images = content()
    html = render_report(about, CaseAssessment(measure(fine)), images)
    assert "&lt; 0.01" in html


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SPL", "AIR"])
def test_the_order_of_the_axes_does_not_change_the_pictures(orientation: str) -> None:
    def turned(image: sitk.Image) -> sitk.Image:
        return sitk.DICOMOrient(image, orientation)

    about, assessed, upright = content()
    lying = ResultImages(
        turned(upright.labels),
        turned(upright.brain),
        {modality: turned(image) for modality, image in upright.originals.items()},
    )
    assessed_lying = CaseAssessment(measure(lying.labels, lying.brain), assessed.residual)
    both = (about, assessed, upright), (about, assessed_lying, lying)
    pictures = [re.findall(r"<svg.*?</svg>", render_report(*given), re.DOTALL) for given in both]
    assert pictures[0]
    assert pictures[0] == pictures[1]


def picture(plane: str, index: int) -> tuple[list[float], np.ndarray, dict[str, tuple[float, float]], np.ndarray]:
    """A drawn slice: its size in mm, the WT contour's points (x, y), the marks' places and the pixels."""
    viewer = Viewer(labels(), scan(0), brain(), tuple(Region))
    svg = viewer.draw(viewer.grey(scan(0)), Slice(plane, index))
    size = [float(number) for number in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()]
    path = re.search(r'class="WT"[^>]* d="([^"]*)"', svg).group(1)
    points = np.array([[float(n) for n in pair.split()] for pair in re.split("[ML]", path.replace("Z", ""))[1:]])
    marks = {
        letter: (float(x), float(y)) for x, y, letter in re.findall(r'<text[^>]*x="([\d.]+)" y="([\d.]+)">(\w)', svg)
    }
    png = re.search(r'href="data:image/png;base64,([^"]*)"', svg).group(1)
    return size, points, marks, np.asarray(Image.open(BytesIO(base64.b64decode(png))))


def test_axial_slices_follow_the_radiological_convention() -> None:
    (width, height), contour, marks, pixels = picture("axial", 7)
    # The brain's 48 x 40 voxels and at least 6 mm on each side as far as the image reaches.
    assert (width, height) == pytest.approx((60.0, 50 * 1.2))
    assert marks["R"][0] < width / 2 < marks["L"][0]
    assert marks["A"][1] < height / 2 < marks["P"][1]
    # Voxels 38 to 49 along x and 15 to 30 along y, from edge to edge: the patient's left is on the right.
    assert contour.min(axis=0) == pytest.approx([38.0, 15 * 1.2])
    assert contour.max(axis=0) == pytest.approx([50.0, 31 * 1.2])
    assert pixels.shape == (120, 120)
    assert pixels[:8].max() == 0


def test_coronal_and_sagittal_slices_have_superior_on_top_and_their_true_aspect() -> None:
    (width, height), contour, marks, _ = picture("coronal", 20)
    assert (width, height) == pytest.approx((60.0, 16 * 5.0))
    assert marks["R"][0] < marks["L"][0]
    assert marks["S"][1] < marks["I"][1]
    assert contour.min(axis=0) == pytest.approx([38.0, (16 - 10) * 5.0])
    assert contour.max(axis=0) == pytest.approx([50.0, (16 - 5) * 5.0])
    (width, height), contour, marks, _ = picture("sagittal", 44)
    assert (width, height) == pytest.approx((50 * 1.2, 80.0))
    assert marks["A"][0] < marks["P"][0]
    assert contour.min(axis=0) == pytest.approx([15 * 1.2, 30.0])


def test_slices_are_chosen_where_the_tumour_is() -> None:
    viewer = Viewer(labels(), scan(0), brain(), tuple(Region))
    assert viewer.largest("axial").index in range(5, 10)
    assert viewer.position(Slice("axial", 3)) == "I 5 mm"
    assert viewer.position(Slice("coronal", 0)) == "A 25 mm"
    assert viewer.position(Slice("sagittal", 50)) == "L 20 mm"
    indices = [where.index for where in viewer.spread("axial", 4)]
    assert indices == sorted(set(indices))
    assert all(index in range(5, 10) for index in indices)


def test_an_image_on_another_grid_is_drawn_as_if_it_were_resampled() -> None:
    transform = sitk.Euler3DTransform((-1.0, 2.0, 3.0), 0.1, -0.05, 0.2, (1.5, -2.0, 0.7))
    own, thin = scan(1), sitk.DICOMOrient(labels(), "RIP")
    drawn = Viewer(thin, own, sitk.DICOMOrient(brain(), "RIP"), tuple(Region))
    for other, expected in (
        (moved(own, transform), resample_image(own, labels(), transform)),
        (sitk.DICOMOrient(own, "PSR"), own),
    ):
        greys = drawn.grey(other), drawn.grey(expected)
        for where in (Slice("axial", 7), Slice("coronal", 21), Slice("sagittal", 44)):
            one, same = (drawn.cut(grey, where)[0].astype(int) for grey in greys)
            assert np.ptp(same) > 100
            assert np.abs(one - same).max() <= 2


def test_the_image_of_the_reference_must_be_there() -> None:
    with pytest.raises(InputError, match="lacks the image of its reference"):
        render_report(*content(originals={Modality.T2F: scan(1)}))


def test_it_is_written_as_one_file(tmp_path: Path) -> None:
    write_report(*content(), tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(*content(), tmp_path / "no such folder" / "report.html")


# --- identity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
def test_the_report_names_patient_study_and_images_unless_that_is_switched_off(
    toy_store: Store, tmp_path: Path, kept: bool
) -> None:
    for sequence in (Modality.T1C, Modality.T2F):
        image = sitk.Cast(sitk.Clamp(volume(sequence), lowerBound=0), sitk.sitkUInt16)
        write_series(image, sequence, tmp_path / "study" / sequence.value, "P-77")
        for path in (tmp_path / "study" / sequence.value).iterdir():
            header = pydicom.dcmread(path)
            header.PatientID, header.PatientName, header.AccessionNumber = "ID-4711", "Doe^Jane", "ACC-9"
            header.StudyDate, header.InstanceNumber = "20240131", 100 + header.InstanceNumber
            header.save_as(path)
    result = run(toy_job(toy_store, tmp_path / "out", study=tmp_path / "study", case_id="case", identity=kept))
    html = result.files["report"].read_text()
    texts = ("Doe Jane", "ID-4711", "2024-01-31", "ACC-9")
    assert [text in html for text in texts] == [kept] * 4
    identity = read_manifest(result.output).identity
    assert (identity is not None) is kept
    if identity:
        lesion = result.measures.lesions_of(Region.ET)[0]
        headers = [pydicom.dcmread(path) for path in (tmp_path / "study" / "t1c").iterdir()]
        shown = min(headers, key=lambda one: abs(float(one.ImagePositionPatient[2]) - lesion.slice_ras_mm))
        assert identity.image_numbers[lesion.slice] == shown.InstanceNumber
        assert f"(image {shown.InstanceNumber})" in html
    else:
        everything = [
            path.read_bytes() for path in result.output.rglob("*") if path.suffix in (".json", ".html", ".csv")
        ]
        assert not any(text.encode() in one for text in ("Jane", "ID-4711", "ACC-9") for one in everything)
