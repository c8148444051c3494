"""The lists of a batch of a thousand cases and of a node in a real browser: sorted, filtered, by the keyboard alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from GliomaSegLib.batch import overview_page
from GliomaSegLib.batch.cases import BatchCase
from GliomaSegLib.batch.summary import CaseState, CaseSummary
from GliomaSegLib.dicom_node.queue import State
from GliomaSegLib.resources import resource
from Testing.page.conftest import Open, serious
from Testing.support.live_node import until

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
    """The page of a thousand cases."""
    return write_list(tmp_path_factory.mktemp("list"))


def write_list(folder: Path) -> Path:
    """Write the page of a thousand cases, with a picture of 160 by 160 pixels of each."""
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


@pytest.mark.parametrize(
    "texts",
    [
        ["2026-04-30 09:12", "2026-05-01 08:00", "2026-11-30 07:30"],  # when a study of a node arrived
        ["9-0451", "17-0009", "17-0034"],  # names of cases that begin with a number
        ["-2.5", "0.4", "12"],
    ],
)
def test_what_only_begins_with_a_number_is_sorted_as_text(texts: list[str], tmp_path: Path, open_page: Open) -> None:
    rows = "".join(f"<tr><td>{text}</td></tr>" for text in [texts[1], texts[2], "", texts[0]])
    (tmp_path / "list.html").write_text(
        "<span id=shown></span><table data-list><thead><tr><th><button>X</button></th></tr></thead>"
        f"<tbody>{rows}</tbody></table><script>{resource('list.js').read_text(encoding='utf-8')}</script>"
    )
    page = open_page(tmp_path / "list.html")
    page.get_by_role("button", name="X").click()
    assert page.locator("tbody td").all_inner_texts() == [*texts, ""]
    page.get_by_role("button", name="X").click()
    assert page.locator("tbody td").all_inner_texts() == [*reversed(texts), ""]


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


def test_the_list_is_used_by_the_keyboard_alone(file: Path, open_page: Open) -> None:
    page = open_page(file)
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.filter ?? document.activeElement.textContent"))
    assert reached[:2] == ["summary.csv", ""], "the table, then the text to look for"
    assert [one for one in reached if one in ("look", "review", "Case", "WT, mL", "Foci", "Review")] == [
        "look", "review", "Case", "WT, mL", "Foci", "Review",
    ]  # fmt: skip
    assert "case0000" in reached, "a case is opened by the keyboard too"


# --- the status page of a node ----------------------------------------------------------------------------------------


@pytest.fixture
def node_page(tmp_path: Path, open_page: Open) -> Iterator[Page]:
    """The page of a node with two studies, behind its login; the second has no tumour."""
    pytest.importorskip("pynetdicom", reason="pynetdicom (the extra 'node') is not installed")
    from Testing.support.live_node import at_work, send, until, write_live_config
    from Testing.support.node_site import write_images, write_secret

    write_secret(tmp_path / "password", "open sesame\n")
    config = write_live_config(tmp_path, web={"port": 0, "login": {"user": "staff", "password_file": "password"}})
    with at_work(config) as node:
        for count, volume_ml in enumerate((31.0, 0.0), start=1):
            send(config, write_images(tmp_path / str(volume_ml), study=str(volume_ml), slices=1))
            until(lambda count=count: node.queue.counts()[State.SENDING] == count)
            study = node.queue.studies(latest=True)[0]
            folder = node.storage.results(study.key, study.revision)
            (folder / "segmentation.nii.gz").write_bytes(b"")
            Image.new("RGB", (160, 160), "teal").save(folder.with_name(f"picture-{study.revision}.jpg"))
            (folder / "report.html").write_text("<!DOCTYPE html><title>Report</title><p>The report.")
            (folder / "measures.json").write_text(json.dumps({"volumes": [{"name": "WT", "volume_ml": volume_ml}]}))
            manifest = json.loads((folder / "manifest.json").read_text())
            (folder / "manifest.json").write_text(json.dumps(manifest | {"review": "draft"}))
        credentials = {"username": "staff", "password": "open sesame"}
        page = open_page(f"http://127.0.0.1:{node.web.port}/", offline=False, http_credentials=credentials)
        yield page
        page.context.close()  # before the node, so that it is not asked any more


def test_the_list_of_a_node_has_outliers_first_and_leads_to_reports(node_page: Page) -> None:
    node_page.get_by_label("renewed every 15 s").uncheck()
    rows = node_page.locator("table[data-list] tbody tr")
    assert rows.count() == 2
    assert "no tumour was marked" in rows.first.inner_text()
    pictures = "[...document.querySelectorAll('img')].every(one => one.complete && one.naturalWidth === 160)"
    until(lambda: node_page.evaluate(pictures))  # wait_for_function would need unsafe-eval, which the page forbids
    node_page.get_by_label("only what needs a look").check()
    assert rows.locator("visible=true").count() == 1
    assert serious(node_page) == []
    node_page.reload()
    assert not node_page.get_by_label("renewed every 15 s").is_checked()
    assert node_page.get_by_label("only what needs a look").is_checked()
    rows.first.get_by_role("link").click()
    assert node_page.locator("p").inner_text() == "The report."
