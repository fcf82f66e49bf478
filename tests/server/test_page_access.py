"""The page without a mouse and without eyes: all is reached by Tab, seen there, and has a name."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from .visits import NAMELESS, Visit, needs_viewer, open_slide, pixels_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.gui

REACHABLE = """() => {
    const all = document.querySelectorAll(
        'a[href], button, input, select, summary, [tabindex]:not([tabindex="-1"])');
    return [...all].filter(one => one.checkVisibility() && !one.disabled && one.tabIndex >= 0)
        .map(one => { one.dataset.stop ??= Math.random(); return one.dataset.stop; });
}"""
"""Marks of what Tab should come to: all that can be used and is there."""

HERE = """() => {
    const one = document.activeElement;
    if (one === document.body) return null;
    const style = getComputedStyle(one);
    const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
    const label = one.labels?.[0];
    const round = label && getComputedStyle(label).outlineStyle !== 'none';
    const view = one.closest('.view');
    const framed = view && getComputedStyle(view, '::after').borderTopStyle === 'solid';
    return { stop: one.dataset.stop ?? null, html: one.outerHTML.slice(0, 90),
             seen: Boolean(ring || round || framed) };
}"""
"""Where the keyboard stands, and whether a ring shows it."""


def walk(page: Page) -> list[dict[str, Any]]:
    """Press Tab from the first link until the end; return where it came by."""
    page.focus(".skip")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")  # now it was come to by the keyboard, which is shown
    stops = [page.evaluate(HERE)]
    for _press in range(200):
        page.keyboard.press("Tab")
        here = page.evaluate(HERE)
        if here is None or here == stops[0]:
            break
        stops.append(here)
    return stops


def assert_all_reached_and_seen(page: Page) -> None:
    wanted = set(page.evaluate(REACHABLE))
    stops = walk(page)
    reached = {stop["stop"] for stop in stops}
    missed = page.evaluate(
        "all => [...document.querySelectorAll('[data-stop]')]"
        ".filter(one => all.includes(one.dataset.stop)).map(one => one.outerHTML.slice(0, 90))",
        sorted(wanted - reached),
    )
    assert missed == []
    assert [stop["html"] for stop in stops if not stop["seen"]] == []
    assert page.evaluate(NAMELESS) == []


def test_tab_comes_to_everything_and_a_ring_shows_where_it_is(visit: Visit) -> None:
    needs_viewer()
    # A slide that no run is of: an old one's buttons come and go while one walks.
    walked = visit.server.root / "walked.tif"
    shutil.copyfile(visit.server.root / "small.tif", walked)
    page = visit.open()
    assert_all_reached_and_seen(page)
    open_slide(page, walked.name)
    assert_all_reached_and_seen(page)
    page.focus("#start")
    page.keyboard.press("Enter")
    page.locator("#outcome.done").wait_for()
    page.wait_for_selector(".view.pale")
    page.focus("#runs summary")
    page.keyboard.press("Enter")
    page.wait_for_selector("#run-entries:visible")
    assert_all_reached_and_seen(page)


def test_every_region_dialog_and_list_has_a_role_and_a_name(visit: Visit) -> None:
    page = visit.open()
    landmarks = page.evaluate(
        "() => ['main', 'header', 'footer'].map(tag => document.querySelectorAll(tag).length > 0)"
    )
    assert landmarks == [True, True, True]
    assert page.get_attribute("html", "lang") == "en"
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    named = "[aria-labelledby], [aria-controls], [aria-describedby], label[for], output[for]"
    missing = page.evaluate(
        """selector => [...document.querySelectorAll(selector)].flatMap(one =>
            ['aria-labelledby', 'aria-controls', 'aria-describedby', 'for']
                .flatMap(name => (one.getAttribute(name) ?? '').split(' '))
                .filter(id => id && !document.getElementById(id)))""",
        named,
    )
    assert missing == []
    headings = page.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3')].map(one => Number(one.tagName[1]))"
    )
    assert headings.count(1) == 1
    steps = [after - before for before, after in itertools.pairwise(headings)]
    assert max(steps) <= 1


def test_the_overview_shows_where_one_is_and_leads_there(visit: Visit) -> None:
    needs_viewer()
    page = visit.open()
    open_slide(page, "large.tif")
    overview = page.locator(".navigator").bounding_box()
    assert overview is not None
    assert overview["width"] > 60
    middle = page.inner_text("#values")
    for _click in range(4):
        page.click("#zoom-in")
    region = page.locator(".displayregion").bounding_box()
    assert region is not None
    assert region["width"] < overview["width"] / 2
    corner = overview["x"] + overview["width"] * 0.4, overview["y"] + overview["height"] * 0.25
    page.mouse.click(*corner)
    page.mouse.move(5, 5)
    moved = page.locator(".displayregion").bounding_box()
    assert moved is not None
    assert moved["y"] < region["y"]
    assert page.inner_text("#values") != middle


def test_the_view_fills_the_screen_with_its_tools_and_layers_and_comes_back(visit: Visit) -> None:
    needs_viewer()
    page = visit.open()
    open_slide(page, "small.tif")
    page.select_option("#method", "none")
    page.click("#start")
    page.locator("#outcome.done").wait_for()
    page.wait_for_selector("#legend li")
    before, small = pixels_of(page, "#overlay"), page.locator("#viewer").bounding_box()
    page.focus("#full-screen")
    page.keyboard.press("Enter")
    page.locator(".view:fullscreen").wait_for()
    page.locator("#full-screen[aria-pressed=true]").wait_for()
    large = page.locator("#viewer").bounding_box()
    assert small is not None
    assert large is not None
    assert large["width"] > small["width"]
    assert page.is_visible("#zoom-in")
    assert page.evaluate("document.activeElement.id") == "full-screen"
    page.keyboard.press("Enter")
    page.locator("#full-screen[aria-pressed=false]").wait_for()
    page.click("#zoom-home")
    assert page.locator("#viewer").bounding_box() == small
    assert pixels_of(page, "#overlay") == before
