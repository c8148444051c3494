"""A real browser: Chromium, driven by Playwright, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

SOFTWARE_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser, with WebGL drawn by the processor."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Chromium is not installed, or not Playwright")
    if program() is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = launch(driver)
        yield browser
        browser.close()


def program() -> str | None:
    """The path of Chromium; ``None`` where it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def launch(driver: Playwright) -> Browser:
    """A browser that draws WebGL by the processor."""
    return driver.chromium.launch(executable_path=program(), args=list(SOFTWARE_WEBGL))


Open = Callable[..., "Page"]


@pytest.fixture(scope="session")
def open_page(chromium: Browser) -> Iterator[Open]:
    """Opens a file, or an address, offline; a request that leads further than the folder and an error fail the test."""
    pages: list[tuple[Any, list[str]]] = []

    def opened(
        page: Path | str, offline: bool = True, wait_until: Any = "load", script: str = "", **context: Any
    ) -> Page:
        given = {"viewport": {"width": 1400, "height": 900}} | context
        tab = chromium.new_context(offline=offline, **given).new_page()
        tab.set_default_timeout(120_000)  # a computer that has much other work to do
        tab.add_init_script(script)
        address = page.as_uri() if isinstance(page, Path) else page
        wrong: list[str] = []
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda message: message.type == "error" and is_ours(message) and wrong.append(message.text))
        tab.on(
            "request",
            lambda request: (
                request.url.startswith(("data:", "blob:", address.rpartition("/")[0])) or wrong.append(request.url)
            ),
        )
        tab.goto(address, wait_until=wait_until)
        pages.append((tab, wrong))
        return tab

    def is_ours(message: Any) -> bool:
        return not message.location["url"].endswith("/favicon.ico")  # which browsers ask every server for

    yield opened
    for tab, wrong in pages:
        tab.context.close()
        assert not wrong


def serious(page: Page) -> list[str]:
    """What axe-core finds serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:150]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
