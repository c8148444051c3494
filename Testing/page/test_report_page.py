"""The report in a real browser: what a reader sees, presses and drags, without a network."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import re
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from GliomaSegLib.case import Modality, StudyIdentity, TimePoint, TimePointKind
from GliomaSegLib.io.grid import oriented
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.assessment import assess_case
from GliomaSegLib.results import viewer
from GliomaSegLib.results.images import ResultImages
from GliomaSegLib.results.report import render_report
from GliomaSegLib.results.share import brain_alone, without_identity
from GliomaSegLib.results.update import refresh
from GliomaSegLib.results.viewer import Panel, viewer_html
from Testing.page.conftest import Open, serious
from Testing.results import test_old_results
from Testing.results.test_report import Given, manifest
from Testing.support.live_node import until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytest.importorskip("ipyniivue", reason="NiiVue is not installed")

SIZE, CENTRE = (90, 100, 80), (10.0, -5.0, 20.0)  # voxels of 2 mm; LPS mm of the middle
BEFORE = TimePoint(TimePointKind.PREOPERATIVE)
HOSTILE = "<img src=x onerror=alert(1)>"
earlier = test_old_results.old  # a fixture
COLOURS = {"whole": (41, 182, 246), "enhancing": (255, 51, 120)}


def head(spacing: float = 2.0, orientation: str = "LPS", turn: float = 0.0) -> Given:
    """A ball of brain in scalp, with a tumour far to the patient's left, in front and high."""
    size = [round(voxels * 2.0 / spacing) for voxels in SIZE]
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing((spacing,) * 3)
    rotation = sitk.Euler3DTransform((0, 0, 0), turn, 0.5 * turn, 0)
    grid.SetDirection(rotation.GetMatrix())
    grid.SetOrigin(np.subtract(CENTRE, np.reshape(rotation.GetMatrix(), (3, 3)) @ (np.array(size) - 1) * spacing / 2))
    grid = oriented(grid, orientation)
    axes = np.indices(grid.GetSize()[::-1])[::-1].reshape(3, -1)
    points = np.reshape(grid.GetDirection(), (3, 3)) @ (axes * np.reshape(grid.GetSpacing(), (3, 1)))
    left, back, up = (points + np.reshape(grid.GetOrigin(), (3, 1)) - np.reshape(CENTRE, (3, 1))).reshape(
        3, *grid.GetSize()[::-1]
    )

    def ball(x: float, y: float, z: float, radius: float) -> NDArray[np.bool_]:
        return (left - x) ** 2 + (back - y) ** 2 + (up - z) ** 2 < radius**2

    def on_grid(array: NDArray) -> sitk.Image:
        image = sitk.GetImageFromArray(array)
        image.CopyInformation(grid)
        return image

    brain = ball(0, 0, 0, 62)
    marked = np.zeros(brain.shape, np.uint8)
    marked[ball(35, -15, 10, 16)] = Label.SNFH
    marked[ball(35, -15, 10, 9)] = Label.ET
    noise = np.random.default_rng(0).normal(100, 6, brain.shape)
    scan = np.where(brain, noise + 60 * (marked > 0), 40 * ball(0, 0, 0, 74)).astype(np.float32)
    originals = {
        modality: on_grid(scan * weight) for weight, modality in enumerate((Modality.T1C, Modality.T2F), start=1)
    }
    mask, labels = on_grid(brain.astype(np.uint8)), on_grid(marked)
    record = manifest(BEFORE, case_id=HOSTILE, regions=(Region.WT, Region.TC, Region.ET))
    assessed = assess_case(labels, mask, record.regions, {}, BEFORE, tuple(originals))
    return record, assessed, ResultImages(labels, mask, originals)


def written(folder: Path, given: Given) -> Path:
    path = folder / "report.html"
    path.write_text(render_report(*given), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with images to scroll."""
    return written(tmp_path_factory.mktemp("page"), head())


@pytest.fixture(scope="module")
def opened(file: Path, open_page: Open) -> Page:
    """The report in the browser."""
    return ready(open_page(file))


@pytest.fixture
def page(opened: Page) -> Page:
    """The same, as it was when it was opened."""
    opened.evaluate("() => { document.activeElement.blur(); gliomaseg.restart(); }")
    return opened


def ready(page: Page) -> Page:
    page.wait_for_selector("#viewer[data-ready]", timeout=120_000)
    return page


def pixels(where: Locator) -> NDArray[np.int16]:
    """A picture of a part of the page: ``[row, column, RGB]``."""
    return np.asarray(Image.open(BytesIO(where.screenshot())).convert("RGB"), np.int16)


def figure(page: Page, number: int = 0) -> Locator:
    return page.locator("#viewer figure").nth(number)


def drawn(picture: NDArray[np.int16], name: str) -> NDArray[np.bool_]:
    """Where a contour is."""
    return np.abs(picture - COLOURS[name]).sum(axis=2) < 40


def centre(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Of a mask, as shares of the picture from its left and top."""
    rows, columns = np.nonzero(mask)
    return columns.mean() / mask.shape[1], rows.mean() / mask.shape[0]


def point(page: Page) -> list[float]:
    """Where the views are (RAS mm)."""
    text = page.locator("#where").inner_text()
    return [float(mm) * (1 if letter in "RAS" else -1) for letter, mm in re.findall(r"([RLAPSI]) (\d+)", text)]


# --- what it holds --------------------------------------------------------------------------------------------------


class Addresses(HTMLParser):
    """Collects what a page would load or lead to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """See :class:`html.parser.HTMLParser`."""
        loading = {"src", "href", "srcset", "data", "action", "formaction", "poster", "background", "xlink:href"}
        self.found += [value or "" for name, value in attributes if name in loading]
        self.found += [tag] * (tag in ("link", "base", "iframe", "object", "embed"))


def test_no_address_leads_out_of_the_page(file: Path) -> None:
    html = file.read_text()
    assert all(one.startswith("data:image/png;base64,") for one in Addresses(html).found)
    assert "default-src 'none'" in html
    assert not re.search(r"url\(|@import", html)
    assert "BSD 2-Clause License" in html, "NiiVue's notice"


def test_without_niivue_the_page_for_print_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "niivue", lambda: None)
    html = render_report(*head(4.0))
    assert 'id="viewer"' not in html
    assert "<script" not in html
    assert html.count("<svg") > 5


def test_a_result_without_its_images_has_no_viewer() -> None:
    manifest, assessed, images = head(4.0)
    assert 'id="viewer"' not in render_report(manifest, assessed, dataclasses.replace(images, originals={}))


def test_many_fine_voxels_are_shown_coarser_and_that_is_said() -> None:
    grid = sitk.Image((200, 200, 160), sitk.sitkUInt8)
    grid.SetSpacing((0.5, 0.5, 0.5))
    brain = grid + 1
    panels = [Panel(name, brain, grid) for name in "abcd"]
    html = viewer_html(panels, brain, [], [])
    assert "the images have voxels of 0.5 × 0.5 × 0.5 mm" in html
    shown = volume(html, "image0")
    assert np.prod(shown.shape) * 4 <= 14e6
    assert np.allclose(np.array(shown.shape) * shown.header.get_zooms(), (100, 100, 80), atol=1)


def volume(html: str, name: str) -> nib.Nifti1Image:
    text = re.search(rf'id="part-{name}">([^<]+)<', html)
    assert text
    stored = nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text[1])))
    slices = np.cumsum(
        np.asarray(stored.dataobj), axis=2, dtype=np.uint8
    )  # each is stored as its difference from the last
    return nib.Nifti1Image(slices, stored.affine)


def test_an_anonymous_page_has_the_brain_alone_and_no_name() -> None:
    manifest, _, images = given = head()
    known = StudyIdentity(patient_name="Doe^Jane", patient_id="PID-77", study_date="20210304", accession_number="ACC-5")
    warnings = ("The T2 of Doe-John, 2021-03-04, was mirrored.", "HEAD JANE has no FLAIR.")
    incomplete = ("The series 'T2' in /archive/Doe-John is incomplete: 3 slices are lost",)
    update = {"case_id": "Doe-John", "warnings": warnings, "identity": known, "incomplete": incomplete}
    manifest = manifest.model_copy(update=update)
    hidden = render_report(without_identity(manifest), given[1], brain_alone(images))
    open_text = render_report(manifest, given[1], images)
    said, hidden_said = (
        re.sub(r"<script.*?</script>|data:[^\"]*", "", html, flags=re.DOTALL) for html in (open_text, hidden)
    )
    for name in ("Doe", "PID-77", "ACC-5", "post.nii.gz", "2024-01-31", "2021-03-04", "flair"):
        assert (name in said, name in hidden_said) == (True, False)
    assert "The T2 of …, …, was mirrored." in hidden
    assert "HEAD … has no FLAIR." in hidden
    assert "is incomplete: 3 slices are lost; what is missing is neither shown nor measured." in hidden
    packed = re.findall(r'id="part-(?:image|marked|brain)\w*">([^<]+)<', hidden)
    pictures = [base64.b64decode(one) for one in re.findall(r"data:image/png;base64,([^\"]+)", hidden)]
    text = re.sub(r"[\w+/=]{200,}", "", hidden)  # without what is packed
    everything = [text.encode(), *pictures, *(gzip.decompress(base64.b64decode(one)) for one in packed)]
    assert len(everything) > 10
    for name in (b"Doe-John", b"Doe^Jane", b"PID-77", b"ACC-5", b"2021-03-04", b"20210304"):
        assert not any(name.lower() in one.lower() for one in everything), "also in headers of images"
    for picture in pictures:
        assert re.findall(rb"IHDR|tEXt|zTXt|iTXt|eXIf|tIME", picture) == [b"IHDR"], "no text in a picture's file"


def test_short_names_and_folders_are_hidden_and_numbers_are_not() -> None:
    """Initials, surnames such as Li, and all of a path; of a case called '6' numbers were '…1 mm'."""
    manifest = head()[0]
    flair = manifest.sequences[Modality.T2F].model_copy(update={"path": Path("/mnt/JD/out/T2/Ng")})
    warnings = (
        "The series 'T2' in /mnt/JD/out/T2/Ng/Wu covers 61 mm without doubt.",
        "Li, Q. (JD) was named in it.",
    )
    update = {
        "case_id": "6", "warnings": warnings, "identity": StudyIdentity(patient_name="Li^Q"),
        "sequences": manifest.sequences | {Modality.T2F: flair},
    }  # fmt: skip
    hidden = without_identity(manifest.model_copy(update=update)).warnings
    assert hidden == (
        "The series 'T2' in … covers 61 mm without doubt.",
        "…, Q. (…) was named in it.",
    )


def test_an_anonymous_page_has_no_skin_in_any_pixel() -> None:
    manifest, assessed, images = head()
    bright = {one: sitk.Mask(image, images.brain, 300.0) for one, image in images.originals.items()}
    images = dataclasses.replace(images, originals=bright)
    hidden, open_text = (render_report(manifest, assessed, one) for one in (brain_alone(images), images))
    brightest = [
        max(
            volume(html, name).get_fdata()[volume(html, "brain").get_fdata() == 0].max()
            for name in ("image0", "image1")
        )
        for html in (hidden, open_text)
    ]
    assert brightest[0] == 0 < 40 < brightest[1]
    assert max(border(open_text)) > 40, "scalp, where nothing was hidden"
    assert max(border(hidden)) == 0


def border(html: str) -> list[int]:
    """The brightest pixel of the outer 4 mm of each picture; the brain is 6 mm away from their edges."""
    found = []
    for one in re.findall(r"data:image/png;base64,([^\"]+)", html):
        picture = np.asarray(Image.open(BytesIO(base64.b64decode(one)))).copy()
        picture[8:-8, 8:-8] = 0
        found.append(int(picture.max()))
    return found


# --- what a reader does ---------------------------------------------------------------------------------------------


def test_it_opens_from_disk_without_a_network(page: Page) -> None:
    assert page.locator("#viewer figcaption").all_inner_texts() == ["T1 + contrast", "FLAIR"]
    for number in range(2):
        assert drawn(pixels(figure(page, number)), "enhancing").sum() > 20
    assert not page.locator(".still svg").first.is_visible()


# On a quick computer the pictures are gone before anybody can ask the page for them from outside.
_LOOK_AT_PICTURES = """
  new MutationObserver((_, observer) => {
    const viewer = document.querySelector("#viewer[data-pictures]");
    if (!viewer) return;
    observer.disconnect();
    window.contours = [...viewer.querySelectorAll("figure svg .contours")].map(one => one.checkVisibility());
  }).observe(document, { subtree: true, attributeFilter: ["data-pictures"] });
"""


def test_pictures_are_there_before_the_images_can_be_scrolled(file: Path, open_page: Open) -> None:
    page = open_page(file, wait_until="commit", script=_LOOK_AT_PICTURES)
    page.wait_for_selector("#viewer[data-pictures]")
    assert page.evaluate("window.contours") == [True] * 2
    ready(page)
    assert page.locator("#viewer svg").count() == 0


def test_a_name_with_markup_is_text(page: Page) -> None:
    assert HOSTILE in page.locator("header").inner_text()
    assert page.locator("img").count() == 0


@pytest.mark.parametrize(("key", "side"), [("a", (1, 0)), ("c", (1, 0)), ("s", (-1, 0))])
def test_left_is_on_the_right_and_anterior_of_a_sagittal_slice_on_the_left(
    page: Page, key: str, side: tuple[int, int]
) -> None:
    page.keyboard.press(key)
    picture = pixels(figure(page))
    x, y = centre(drawn(picture, "whole"))
    assert (x - 0.5) * side[0] > 0.03
    assert y < 0.47, "anterior of an axial slice and superior of the others are at the top"


@pytest.mark.parametrize(("key", "letters"), [("a", "RLAP"), ("c", "RLSI"), ("s", "APSI")])
def test_letters_name_the_sides_of_the_patient(page: Page, key: str, letters: str) -> None:
    assert shown_letters(page, key) == letters


def shown_letters(page: Page, key: str) -> str:
    """The letters at the left, right, top and bottom of the first image."""
    page.evaluate(
        """() => {
          const view = gliomaseg.views[0].niivue, draw = view.drawText;
          window.drawn = [];
          view.drawText = function (at, text, ...more) {
            window.drawn.push([text, ...at]);
            return draw.call(this, at, text, ...more);
          };
        }"""
    )
    page.keyboard.press(key)
    letters = "window.drawn.filter(([text]) => 'RLAPSI'.includes(text)).slice(-4)"
    until(lambda: len(page.evaluate(letters)) == 4)
    drawn = page.evaluate(letters)
    page.evaluate("delete gliomaseg.views[0].niivue.drawText")
    across, along = (sorted(drawn, key=lambda one: one[axis]) for axis in (1, 2))
    return across[0][0] + across[-1][0] + along[0][0] + along[-1][0]


def test_arrows_and_the_wheel_scroll_all_images(page: Page) -> None:
    before, height = [pixels(figure(page, number)) for number in range(2)], point(page)[2]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    higher = point(page)[2]
    assert higher == pytest.approx(height + 4, abs=1)
    assert all(np.any(pixels(figure(page, number)) != before[number]) for number in range(2))
    figure(page, 1).hover()
    page.mouse.wheel(0, 100)
    page.wait_for_timeout(500)
    assert point(page)[2] != higher
    levels = page.evaluate("gliomaseg.views.map(view => view.niivue.scene.crosshairPos.join())")
    assert levels[0] == levels[1]


def test_space_shows_and_hides_contours(page: Page) -> None:
    assert drawn(pixels(figure(page)), "whole").any()
    page.keyboard.press(" ")
    assert not drawn(pixels(figure(page)), "whole").any()
    assert not page.locator("#outlined").is_checked()
    page.keyboard.press(" ")
    assert drawn(pixels(figure(page)), "whole").any()


def test_fill_and_single_regions(page: Page) -> None:
    lines = drawn(pixels(figure(page)), "enhancing").sum()
    page.locator("#fill").fill("1")
    assert drawn(pixels(figure(page)), "enhancing").sum() > 3 * lines
    page.get_by_label("Enhancing tumour").uncheck()
    assert not drawn(pixels(figure(page)), "enhancing").any()
    assert drawn(pixels(figure(page)), "whole").any()


def test_a_number_makes_one_image_large_and_again_all(page: Page) -> None:
    page.keyboard.press("2")
    assert [figure(page, number).is_visible() for number in range(2)] == [False, True]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("2")
    assert all(figure(page, number).is_visible() for number in range(2))


def test_dragging_changes_brightness_and_contrast_of_that_image(page: Page) -> None:
    page.keyboard.press(" ")
    before = [pixels(figure(page, number)).mean() for number in range(2)]
    drag(page, 0, (0.3, 0.3), (0.3, 0.7), button="right")
    after = [pixels(figure(page, number)).mean() for number in range(2)]
    assert after[0] < 0.8 * before[0]
    assert after[1] == pytest.approx(before[1])
    page.keyboard.press("0")
    assert pixels(figure(page)).mean() == pytest.approx(before[0], rel=0.02)


def drag(page: Page, number: int, start: tuple[float, float], end: tuple[float, float], button: str = "left") -> float:
    """Drag from one place of an image to another, given as shares of its size; the pixels between them."""
    box = figure(page, number).bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down(button=button)
    page.mouse.move(*places[1], steps=4)
    page.mouse.up(button=button)
    return float(np.hypot(*np.subtract(*places)))


def test_the_ruler_measures_millimetres(page: Page) -> None:
    page.get_by_label("ruler").check()
    length = drag(page, 0, (0.3, 0.5), (0.7, 0.5))
    tile = page.evaluate("gliomaseg.views[0].niivue.screenSlices[0]")
    measured = page.evaluate("gliomaseg.views[0].niivue.document.completedMeasurements")
    expected = length * abs(tile["fovMM"][0]) / tile["leftTopWidthHeight"][2]
    assert [one["distance"] for one in measured] == [pytest.approx(expected, rel=0.03)]


def test_the_list_jumps_to_a_lesion(page: Page) -> None:
    for _ in range(10):
        page.keyboard.press("ArrowDown")
    assert not drawn(pixels(figure(page)), "enhancing").any()
    page.locator("#viewer nav button").first.click()
    assert point(page) == pytest.approx([-(CENTRE[0] + 35), -(CENTRE[1] - 15), CENTRE[2] + 10], abs=2)
    assert drawn(pixels(figure(page)), "enhancing").any()


def test_in_three_dimensions_the_tumour_is_in_the_brain(page: Page) -> None:
    page.keyboard.press("d")
    page.wait_for_timeout(1500)
    picture = pixels(figure(page, 2))
    picture = picture[: round(0.75 * len(picture))]  # below is the cube of directions
    red, green, blue = np.moveaxis(picture, 2, 0)
    whole, enhancing = blue - red > 40, red - green > 40
    assert min(whole.sum(), enhancing.sum()) > 50
    assert centre(whole) == pytest.approx(centre(enhancing), abs=0.05), (
        "the core is seen through the rest of the tumour"
    )
    page.keyboard.press("d")
    assert not figure(page, 2).is_visible()


def test_no_serious_finding_of_axe(page: Page) -> None:
    assert serious(page) == []


def test_all_controls_are_reached_by_the_keyboard(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")
    reached = reached_by_tab(page)
    assert {"plane", "tool", "solid", "outlined", "fill", "flicker", "reset", "BUTTON"} <= reached


def reached_by_tab(page: Page) -> set[str]:
    """What the Tab key reaches: its id, else its name, else the tag."""
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.name || document.activeElement.tagName")
        )
    return reached


# --- other browsers and other images --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "without",
    [
        {"java_script_enabled": False},
        {"script": "HTMLCanvasElement.prototype.getContext = () => null;"},
    ],
    ids=["scripts", "WebGL 2"],
)
def test_without_scripts_or_webgl_the_pictures_are_there(file: Path, open_page: Open, without: dict[str, Any]) -> None:
    page = open_page(file, **without)
    assert page.locator(".still svg").first.is_visible()
    assert not page.locator("#viewer").is_visible()


def test_print_has_the_pictures_and_not_the_viewer(page: Page) -> None:
    page.emulate_media(media="print")
    assert page.locator(".still svg").first.is_visible()
    assert not page.locator("#viewer").is_visible()
    page.emulate_media(media="screen")


@pytest.mark.parametrize(("orientation", "turn"), [("PSR", 0.0), ("LPS", 0.35)])
def test_sagittal_and_oblique_images_have_left_on_the_right(
    orientation: str, turn: float, tmp_path: Path, open_page: Open
) -> None:
    page = ready(open_page(written(tmp_path, head(3.0, orientation, turn))))
    assert [shown_letters(page, key) for key in "csa"] == ["RLSI", "APSI", "RLAP"]
    x, y = centre(drawn(pixels(figure(page)), "whole"))
    assert x > 0.53
    assert y < 0.5


def test_the_page_of_a_result_of_an_earlier_version_can_be_scrolled(earlier: Path, open_page: Open) -> None:
    refresh(earlier)
    page = ready(open_page(earlier / "report.html"))
    assert page.locator("#viewer nav button").count() > 0
    assert drawn(pixels(figure(page)), "whole").any()
