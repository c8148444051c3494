"""The comparison of studies in a real browser: linked, flickering, with what became of each lesion in colour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import TimePoint, TimePointKind
from GliomaSegLib.followup.compare import compare
from GliomaSegLib.followup.interactive import _CHANGES
from GliomaSegLib.followup.page import render_comparison
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.volumes import measure
from GliomaSegLib.results.time_point import SegmentedTimePoint
from Testing.page.conftest import Open, serious
from Testing.page.test_report_page import figure, head, pixels, point, reached_by_tab, ready

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("ipyniivue", reason="NiiVue is not installed")

# Boxes of enhancing tumour: x, y, z of the middle voxel and half a width; lesions far apart, so that each is its own.
BEFORE = [(30, 30, 40, 4), (60, 30, 40, 4), (30, 65, 40, 4), (60, 65, 40, 4)]
AFTER = [(30, 30, 40, 7), (60, 30, 40, 2), (60, 65, 40, 4), (45, 48, 60, 4)]  # grown, shrunk, as before, new


def time_point(boxes: list[tuple[int, int, int, int]], day: float) -> SegmentedTimePoint:
    """A study with these lesions in the head of the report's tests."""
    _, _, images = head()
    array = np.zeros(images.labels.GetSize()[::-1], np.uint8)
    for x, y, z, half in boxes:
        array[z - half : z + half + 1, y - half : y + half + 1, x - half : x + half + 1] = Label.ET
    labels = sitk.GetImageFromArray(array)
    labels.CopyInformation(images.labels)
    regions = frozenset({Region.WT, Region.TC, Region.ET})
    return SegmentedTimePoint(
        name=f"day {day:g} <b>",
        path=Path("study"),
        labels=labels,
        regions=regions,
        measures=measure(labels, images.brain, tuple(regions)),
        time_point=TimePoint(TimePointKind.POSTOPERATIVE, day),
        image=next(iter(images.originals.values())),
        brain=images.brain,
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, open_page: Open) -> Page:
    """The comparison of two studies in the browser."""
    path = tmp_path_factory.mktemp("comparison") / "comparison.html"
    aligned = compare([time_point(BEFORE, 30), time_point(AFTER, 90)], in_place=True)
    path.write_text(render_comparison(aligned), encoding="utf-8")
    return ready(open_page(path))


def colours(page: Page, number: int) -> set[str]:
    """What became of lesions, by the colours in an image."""
    picture = pixels(figure(page, number))
    rgb = {name: [int(colour[at : at + 2], 16) for at in (1, 3, 5)] for name, colour in _CHANGES.values()}
    return {name for name, one in rgb.items() if (np.abs(picture - one).sum(axis=2) < 30).sum() > 10}


def test_lesions_have_the_colour_of_what_became_of_them(page: Page) -> None:
    assert page.locator("#viewer figcaption").all_inner_texts() == [
        "1: 30 days after surgery", "2: 90 days after surgery",
    ]  # fmt: skip
    listed = page.locator("#viewer nav button").all_inner_texts()
    words = ("grown", "shrunk", "gone", "unchanged", "new")
    assert [next(word for word in words if word in one) for one in listed] == list(words)
    page.locator("#viewer nav button").first.click()
    assert colours(page, 0) == set()
    assert colours(page, 1) == {"grown", "shrunk", "gone", "other"}
    page.locator("#viewer nav button").last.click()
    assert colours(page, 1) == {"new"}


def test_studies_flicker_at_the_same_place(page: Page) -> None:
    before = point(page)
    page.keyboard.press("f")
    seen = set()
    for _ in range(12):
        visible = "all => all.map(one => getComputedStyle(one).visibility === 'visible' && !one.hidden)"
        seen.add(tuple(page.locator("#viewer figure").evaluate_all(visible)))
        assert pixels(page.locator("#viewer .panels")).max() > 200, "neither is black for a moment"
        page.wait_for_timeout(150)
    assert seen == {(True, False), (False, True)}
    page.keyboard.press("f")
    assert point(page) == before
    assert all(figure(page, number).is_visible() for number in range(2))


def test_no_serious_finding_of_axe_in_a_comparison(page: Page) -> None:
    assert serious(page) == []


def test_a_comparison_is_used_by_the_keyboard_alone(page: Page) -> None:
    page.evaluate("document.activeElement.blur(); gliomaseg.restart()")
    assert {"plane", "tool", "outlined", "fill", "flicker", "reset", "BUTTON"} <= reached_by_tab(page)
    page.evaluate("document.activeElement.blur()")
    before = point(page)
    page.keyboard.press("ArrowRight")
    assert point(page) != before
    page.keyboard.press("2")
    assert [figure(page, number).is_visible() for number in range(2)] == [False, True]
    page.keyboard.press("2")
