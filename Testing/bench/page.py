"""What pages cost: written, opened and scrolled in Chromium, and a list of 1,000 cases (needs Chromium and Playwright).

Processor seconds are those of all of the browser's processes together, so that they hold on a computer that has other
work; WebGL is drawn by the processor (SwiftShader).
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import psutil
import SimpleITK as sitk

from GliomaSegLib.case import TimePoint
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.measures.assessment import assess_case
from GliomaSegLib.phantom import make_phantom
from GliomaSegLib.preprocessing.resampling import resample_image
from GliomaSegLib.results import viewer
from GliomaSegLib.results.images import ResultImages
from GliomaSegLib.results.report import render_report
from GliomaSegLib.study.selection import identify
from Testing.bench.cases import brats2021

if TYPE_CHECKING:
    from playwright.sync_api import Page

_SLICES = 60
# The page's own pictures are there, and NiiVue is never unpacked.
_PICTURES_ALONE = (
    "window.DecompressionStream = class { readable = new ReadableStream(); writable = new WritableStream(); };"
)
_SCROLL = """async slices => {
  const began = performance.now();
  for (let slice = 0; slice < slices; slice++) {
    const key = slice < slices / 2 ? "ArrowUp" : "ArrowDown";
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    await new Promise(requestAnimationFrame);
  }
  for (const { niivue: { gl } } of gliomaseg.views)  // waits until all is drawn
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  return (performance.now() - began) / 1000;
}"""


def page() -> None:
    """Pages: size, processor seconds (and wall-clock seconds) to write, open, scroll, sort; WebGL without a GPU."""
    with tempfile.TemporaryDirectory() as folder:
        study = brats2021()[0]
        path = _written(study.name, _brats(study), Path(folder))
        _written("phantom", _phantom(), Path(folder))
        _opened(path)
        _list(Path(folder))


def _brats(study: Path) -> ResultImages:
    """A case with the contours of its experts."""
    originals = {one: sitk.ReadImage(found.source.path, sitk.sitkFloat32) for one, found in identify(study).items()}
    brain = next(iter(originals.values())) != 0
    return ResultImages(read_labels(next(study.glob("*_seg.nii.gz")), LabelScheme.BRATS2017), brain, originals)


def _phantom() -> ResultImages:
    made = make_phantom()
    originals = {
        one: sitk.Cast(resample_image(image, made.reference, made.transforms[one]), sitk.sitkFloat32)
        for one, image in made.images.items()
    }
    return ResultImages(made.reference, made.brain, originals)


def _written(name: str, images: ResultImages, folder: Path) -> Path:
    """Write the report of a case; print its size, and what the images to scroll add to its time."""
    from Testing.results.test_report import manifest  # here: it needs pytest

    regions = (Region.WT, Region.TC, Region.ET)
    record = manifest(TimePoint(), case_id=name, regions=regions)
    assessed = assess_case(images.labels, images.brain, regions, {}, TimePoint(), tuple(images.originals))
    viewer.niivue.cache_clear()
    html, spent, passed = _timed(lambda: render_report(record, assessed, images))
    with mock.patch.object(viewer, "niivue", return_value=None):
        _, less_spent, less_passed = _timed(lambda: render_report(record, assessed, images))
    path = folder / f"{name}.html"
    path.write_text(html, encoding="utf-8")
    script, _ = viewer.niivue() or ("", "")
    megabytes = path.stat().st_size / 1e6
    print(f"{name}: {megabytes:.1f} MB, {len(script) / 1e6:.1f} MB of them NiiVue")
    _print("written on top of the report", spent - less_spent, passed - less_passed)
    return path


def _timed(work: Callable[[], str]) -> tuple[str, float, float]:
    """What it gives, processor seconds and wall-clock seconds."""
    spent, began = time.process_time(), time.perf_counter()
    return work(), time.process_time() - spent, time.perf_counter() - began


def _opened(path: Path) -> None:
    with _browser(path, script=_PICTURES_ALONE) as (tab, spent, began):
        tab.wait_for_selector("#viewer[data-pictures]")
        _print("opened until the first picture", spent(), float(tab.get_attribute("#viewer", "data-pictures")) / 1000)
    with _browser(path) as (tab, spent, began):
        tab.wait_for_selector("#viewer[data-ready]")
        _print("opened until all images can be scrolled", spent(), time.perf_counter() - began)
        before = spent()
        passed = tab.evaluate(_SCROLL, _SLICES)
        _print("one slice further in all images", (spent() - before) / _SLICES, passed / _SLICES)


def _list(folder: Path) -> None:
    from Testing.page.test_list_page import write_list

    with _browser(write_list(folder)) as (tab, spent, began):
        _print("a list of 1,000 cases is opened", spent(), time.perf_counter() - began)
        before, began = spent(), time.perf_counter()
        tab.get_by_role("button", name="WT, mL").click()
        tab.evaluate("new Promise(requestAnimationFrame)")
        _print("it is sorted", spent() - before, time.perf_counter() - began)


@contextlib.contextmanager
def _browser(path: Path, script: str = "") -> Iterator[tuple[Page, Callable[[], float], float]]:
    """The opened file, the processor seconds of the browser since then, and when it was opened."""
    from playwright.sync_api import sync_playwright

    from Testing.page.conftest import launch

    with sync_playwright() as driver:
        browser = launch(driver)
        tab = browser.new_context(offline=True, viewport={"width": 1400, "height": 900}).new_page()
        tab.set_default_timeout(300_000)
        tab.add_init_script(script)
        tab.goto("about:blank")
        time.sleep(1)
        start, began = _processor_seconds(), time.perf_counter()
        tab.goto(path.as_uri())
        yield tab, lambda: _processor_seconds() - start, began
        browser.close()


def _processor_seconds() -> float:
    """Of all processes that this one has started, which are the browser and its driver."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _print(what: str, spent: float, passed: float) -> None:
    print(f"  {what:<42}{spent:7.2f} CPU s{passed:8.2f} s", flush=True)
