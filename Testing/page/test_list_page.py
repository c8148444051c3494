"""The list of a batch in a real browser: a thousand cases, sorted and filtered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from GliomaSegLib.batch import overview_page
from GliomaSegLib.batch.cases import BatchCase
from GliomaSegLib.batch.summary import CaseState, CaseSummary
from Testing.page.conftest import Open, serious

if TYPE_CHECKING:
    from playwright.sync_api import Page

CASES = 1000


def case(number: int) -> CaseSummary:
    """A case whose whole tumour has as many mL as its number says, backwards; every tenth has a warning."""
    name = f"case{number:04}"
    warnings = ("The T2 was mirrored.",) if number % 10 == 0 else ()
    volumes = {"WT": float(CASES - number), "TC": 1.5, "ET": 0.5}
    review = "approved" if number % 4 == 0 else "draft"
    row = BatchCase(name, {"output": f"/nowhere/{name}"}, name)
    found = {"volumes": volumes, "lesions": number % 7, "warnings": warnings, "review": review}
    return CaseSummary(row, CaseState.DONE, "any", **found)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a thousand cases, with a picture of 160 by 160 pixels of each."""
    folder = tmp_path_factory.mktemp("list")
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    for number in range(CASES):
        Image.fromarray(np.roll(picture, number, axis=1)).save(folder / f"case{number:04}.jpg", quality=80)

    def picture_and_report(output: Path, one: CaseSummary) -> tuple[str, str]:
        return f"{one.case.name}.jpg", f"{one.case.name}/report.html"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overview_page, "_picture_and_report", picture_and_report)
        return overview_page.write_page(folder, [case(number) for number in range(CASES)], Path("cohort.csv"))


@pytest.fixture(scope="module")
def page(file: Path, open_page: Open) -> Page:
    """The page in the browser."""
    return open_page(file)


def names(page: Page) -> list[str]:
    """The cases that are shown, in their order."""
    return page.locator("tbody tr:not([hidden]) td.case").evaluate_all("cells => cells.map(cell => cell.dataset.value)")


def test_a_thousand_cases_open_and_lead_to_their_reports(page: Page) -> None:
    assert len(names(page)) == CASES
    assert page.get_by_role("link", name="case0007", exact=True).get_attribute("href") == "case0007/report.html"
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < 5000


def test_a_click_sorts_another_turns_it_round_a_third_is_as_before(page: Page) -> None:
    before = names(page)
    volume = page.get_by_role("button", name="WT, mL")
    volume.click()
    assert names(page)[:2] == ["case0999", "case0998"]
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("WT")
    volume.press("Enter")
    assert names(page)[0] == "case0000"
    volume.click()
    assert names(page) == before


def test_filters_and_the_order_are_kept(page: Page) -> None:
    page.get_by_label("Show only cases with this text").fill("mirrored")
    page.get_by_label("review").select_option("approved")
    assert page.locator("#shown").inner_text() == "50 of 1000 shown"
    page.get_by_role("button", name="Foci").click()
    kept = names(page)
    page.reload()
    assert names(page) == kept
    page.get_by_label("Show only cases with this text").fill("")
    page.get_by_label("review").select_option("all")
    page.get_by_label("only what needs a look").check()
    assert len(names(page)) == 100
    page.get_by_label("only what needs a look").uncheck()
    assert len(names(page)) == CASES


def test_no_serious_finding_of_axe_in_the_list(file: Path, open_page: Open) -> None:
    page = open_page(file)
    page.get_by_label("Show only cases with this text").fill("case000")
    assert serious(page) == []
