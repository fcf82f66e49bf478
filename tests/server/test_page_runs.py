"""Runs on the page: listed, found again after anything, and taken up when the server is back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.store import RunStore
from stopping import gate_before

from .conftest import running_server
from .visits import NAMELESS, Visit, needs_viewer, open_slide

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.gui


@pytest.fixture
def root(tmp_path: Path, write_slide: Callable[..., Path]) -> Path:
    """Return a folder with two slides."""
    folder = tmp_path / "root"
    folder.mkdir()
    write_slide(folder / "one.tif")
    write_slide(folder / "two.tif", width=2200, height=1900, seed=2)
    return folder


def row(page: Page, name: str, status: str) -> str:
    """Return the selector of a run in the list, once it stands so."""
    if not page.is_visible("#run-entries"):
        page.click("#runs summary")
    found = page.locator(f'#run-entries li[data-status="{status}"]', has_text=name)
    found.first.wait_for()
    return f'#run-entries li[data-status="{status}"]:has-text("{name}")'


def test_a_result_is_there_again_after_another_slide_in_another_tab_and_from_the_command_line(
    browser: Browser, tiny_bundle: Path, root: Path, tmp_path: Path
) -> None:
    needs_viewer()
    spec = PredictSpec(device="cpu", heatmap="cam")
    list(predict(root / "one.tif", tiny_bundle, root / "results", spec))
    with running_server(tiny_bundle, root, tmp_path / "home") as running:
        visit = Visit(browser, running)
        page = visit.open()
        open_slide(page, "one.tif")  # what the command line found is laid over it at once
        page.locator("#outcome.done").wait_for()
        page.locator("#show-heat:checked").wait_for()
        open_slide(page, "two.tif")
        assert not page.is_visible("#layers")
        page.click(f"{row(page, 'one', 'done')} button.open")
        page.locator("#slide-name", has_text="one").wait_for()
        page.wait_for_selector("#layers:visible")
        assert page.evaluate(NAMELESS) == []
        with page.context.expect_page() as opened:
            page.click(f"{row(page, 'one', 'done')} a")
        assert "Research use only" in opened.value.inner_text("body")
        opened.value.close()
        # Another tab asks the one that is open for the key, and sees the same runs.
        other = page.context.new_page()
        other.goto(running.url)
        other.wait_for_selector("body[data-ready]")
        assert other.url == f"{running.url}/"
        other.click("#tab-slide")
        row(other, "one", "done")
        visit.close()


def test_a_run_is_cancelled_and_continued_from_the_list(
    browser: Browser, tiny_bundle: Path, root: Path, tmp_path: Path
) -> None:
    needs_viewer()
    with running_server(tiny_bundle, root, tmp_path / "home") as running:
        visit = Visit(browser, running)
        page = visit.open()
        open_slide(page, "two.tif")
        page.select_option("#method", "none")
        page.select_option("#overlap", "0.5")
        with gate_before(RunStore, "commit", 3) as gate:
            page.click("#start")
            gate.wait_reached()
            open_slide(page, "one.tif")  # which leaves the run going
            page.click(f"{row(page, 'two', 'running')} button.cancel")
            gate.open()
            stopped = row(page, "two", "cancelled")
        page.click(f"{stopped} button.continue")
        page.locator("#slide-name", has_text="two").wait_for()
        page.locator("#outcome.done").wait_for()
        row(page, "two", "done")
        visit.close()


def test_a_server_that_is_gone_is_said_and_taken_up_again_when_it_is_back(visit: Visit) -> None:
    needs_viewer()
    page = visit.open()
    open_slide(page, "large.tif")
    page.select_option("#overlap", "0.5")
    assert not page.is_visible("#gone")
    with gate_before(RunStore, "commit", 3) as gate:
        page.click("#start")
        gate.wait_reached()
        page.context.set_offline(True)
        page.route("**/v1/**", lambda route: route.abort())
        page.locator("#gone", has_text="The server does not answer").wait_for()
        assert "still running" in page.inner_text("#gone")
        gate.open()
        page.wait_for_timeout(300)
        assert page.is_visible("#cancel")
        page.unroute("**/v1/**")
        page.context.set_offline(False)
        page.wait_for_selector("#gone", state="hidden")
    page.wait_for_selector("#outcome:visible")
    assert page.inner_text("#outcome") == "Done."
    assert not page.is_visible("#slide-error")


def test_a_server_that_was_started_anew_has_another_key_and_that_is_said(visit: Visit) -> None:
    page = visit.open()
    page.evaluate("sessionStorage.setItem('slidecam-token', 'of-the-one-before')")
    page.locator("#gone", has_text="started anew").wait_for()


def test_the_keyboard_stays_where_it_stood_when_a_run_begins_and_ends(visit: Visit) -> None:
    needs_viewer()
    page = visit.open()
    open_slide(page, "small.tif")
    page.select_option("#method", "none")
    page.focus("#start")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.id === 'cancel'")
    page.wait_for_selector("#outcome:visible")
    assert page.evaluate("document.activeElement.id") == "start"


def test_a_link_is_good_once_and_says_what_else_to_open(browser: Browser, visit: Visit) -> None:
    link = visit.server.links.link()
    page = visit.page
    page.goto(link)
    page.wait_for_selector("body[data-ready]")
    assert page.url == f"{visit.server.url}/"
    assert visit.server.token not in page.content()
    page.reload()
    page.wait_for_selector("body[data-ready]")
    stranger = Visit(browser, visit.server)
    stranger.page.goto(link)
    stranger.page.locator("#stranger", has_text="was used before").wait_for()
    assert re.search("file that slidecam serve names", stranger.page.inner_text("#stranger"))
    stranger.close()
