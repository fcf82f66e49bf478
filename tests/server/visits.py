"""Visits of the page: a real browser, a page opened by its link, and what people do there."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.server.views import viewer_files
from stopping import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from .conftest import Running

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = [
    "--no-sandbox",  # Chromium refuses its sandbox to root, whom CI is
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


NAMELESS = """() => [
    ...document.querySelectorAll('button, input, select, a, canvas:not([aria-hidden])')
].filter(one =>
    !one.labels?.length && !one.textContent.trim() && !one.ariaLabel
    && !one.closest('.openseadragon-container')
).map(one => one.outerHTML)"""
"""What of the page's controls has no name that a screen reader could say."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return the system's Chromium; skip where there is none, but never in CI."""
    if CHROMIUM is None and "CI" not in os.environ:
        pytest.skip("there is no Chromium here")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (only where there is a browser)

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield found
        found.close()


class Visit:
    """A page that was opened by its link, and what it asked for and complained of."""

    def __init__(self, browser: Browser, server: Running, device_scale_factor: float = 1) -> None:
        self.context = browser.new_context(
            viewport={"width": 1100, "height": 760},
            device_scale_factor=device_scale_factor,
            reduced_motion="reduce",  # nothing is looked at while it still moves
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(1000 * PATIENCE)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.server = server

    def open(self) -> Page:
        self.page.goto(f"{self.server.url}/#token={self.server.token}")
        self.page.wait_for_selector("body[data-ready]")
        return self.page

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []
        elsewhere = [
            url for url in self.asked if not url.startswith((self.server.url, "blob:", "data:"))
        ]
        assert elsewhere == []


@pytest.fixture
def visit(browser: Browser, server: Running) -> Iterator[Visit]:
    """Return a fresh visit, of which nothing may have gone wrong or gone elsewhere in the end."""
    found = Visit(browser, server)
    yield found
    found.close()


def upload(page: Page, name: str, content: bytes) -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": content})


def pixels_of(page: Page, selector: str) -> Any:
    script = (
        "canvas => { const d = canvas.getContext('2d').getImageData(0, 0, canvas.width,"
        " canvas.height).data;"
    )
    return page.eval_on_selector(
        selector, script + " let h = 0; for (const v of d) h = (h * 31 + v) | 0; return h; }"
    )


def open_slide(page: Page, name: str) -> None:
    page.click("#tab-slide")
    if not page.is_visible("#entries"):
        page.click("#files summary")
    page.click(f'#entries button[data-path$="{name}"]')
    page.wait_for_selector("#run:visible")
    if viewer_files():
        page.wait_for_selector("#blank", state="hidden")


def needs_viewer() -> None:
    if not viewer_files() and "CI" not in os.environ:
        pytest.skip("OpenSeadragon is not here: npm ci --prefix web")
