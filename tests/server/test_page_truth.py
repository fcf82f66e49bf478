"""What is on the screen is true: of this slide, of this run, and of this moment."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from slidecam.server import folders

from .visits import Visit, needs_viewer, open_slide

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Route

    from .conftest import Running

pytestmark = pytest.mark.gui

MOVED = """async ([steps, seed]) => {
    const at = (id) => document.getElementById(id);
    const canvas = at("overlay");
    const painted = () => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let [sum, covered] = [0, 0];
        for (let i = 0; i < data.length; i += 4) {
            sum = (sum * 31 + data[i] + 3 * data[i + 1] + 7 * data[i + 2] + 11 * data[i + 3]) | 0;
            covered += data[i + 3] > 0;
        }
        return [sum, covered];
    };
    const frames = async () => {
        for (let i = 0; i < 2; i += 1) await new Promise(requestAnimationFrame);
    };
    let state = seed;
    const drawn = (count) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor((state / 4294967296) * count);
    };
    const view = document.querySelector(".openseadragon-canvas");
    const pause = () => new Promise((done) => setTimeout(done, 60)); // wheels are heard so often
    const moves = [
        () => at("zoom-in").click(),
        () => at("zoom-out").click(),
        () => at("zoom-home").click(),
        async () => {
            await pause();
            const box = view.getBoundingClientRect();
            const place = { clientX: box.x + drawn(box.width), clientY: box.y + drawn(box.height) };
            const turn = { deltaY: drawn(2) ? 120 : -120, bubbles: true, cancelable: true };
            view.dispatchEvent(new WheelEvent("wheel", { ...place, ...turn }));
        },
        () => { document.querySelector(".side").style.minWidth = `${200 + drawn(300)}px`; },
    ];
    const wrong = [];
    const views = new Set();
    for (let step = 0; step < steps; step += 1) {
        await moves[drawn(moves.length)]();
        await frames();
        const before = painted();
        canvas.width += 0; // a fresh canvas: nothing of an earlier drawing's state is left
        at("classes-opacity").dispatchEvent(new Event("input"));
        const fresh = painted();
        views.add(fresh[0]);
        if (before[0] !== fresh[0]) wrong.push([step, before[1], fresh[1]]);
    }
    return [wrong, views.size, canvas.width / canvas.clientWidth];
}"""


@pytest.mark.parametrize("ratio", [1, 2])
def test_after_any_way_through_a_slide_its_layers_are_those_of_a_fresh_drawing(
    browser: Browser, server: Running, ratio: int
) -> None:
    needs_viewer()
    visit = Visit(browser, server, device_scale_factor=ratio)
    page = visit.open()
    page.set_viewport_size({"width": 900, "height": 420})  # its pixels are looked at one by one
    open_slide(page, "small.tif")
    page.click("#start")
    page.wait_for_selector(".view.pale")
    page.check("#show-classes")
    wrong, views, shown_ratio = page.evaluate(MOVED, [200, 7])
    assert wrong == []
    assert views > 40  # it did move
    assert shown_ratio == pytest.approx(ratio, rel=0.01)
    visit.close()


@pytest.fixture
def nameless(server: Running) -> Path:
    """Return a slide that says nothing of its µm per pixel."""
    path = server.root / "nameless.tif"
    pixels = np.random.default_rng(4).integers(120, 200, (300, 400, 3)).astype(np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(128, 128))
    return path


def test_micrometres_that_are_typed_are_of_one_slide_alone(visit: Visit, nameless: Path) -> None:
    needs_viewer()
    page = visit.open()
    open_slide(page, nameless.name)
    assert "unknown scale" in page.inner_text("#slide-facts")
    assert not page.is_visible("#ruler")
    page.fill("#mpp", "2")
    assert "2 µm/px as given" in page.inner_text("#slide-facts")
    page.wait_for_selector("#ruler:visible")
    open_slide(page, "small.tif")
    assert page.input_value("#mpp") == ""
    assert "0.5 µm/px" in page.inner_text("#slide-facts")
    open_slide(page, nameless.name)
    assert page.input_value("#mpp") == "2"
    nameless.unlink()


def test_micrometres_far_from_the_files_are_asked_about_and_the_bar_follows_the_run(
    visit: Visit,
) -> None:
    needs_viewer()
    page = visit.open()
    open_slide(page, "small.tif")
    page.fill("#mpp", "1")
    page.click("#start")
    page.wait_for_selector("#mpp-question:visible")
    assert "0.5 µm per pixel, and you wrote 1: 2 times as much" in page.inner_text("#mpp-words")
    assert page.evaluate("document.activeElement.id") == "mpp-file"
    page.click("#mpp-file")
    page.wait_for_selector("#outcome:visible")
    bar = ruler(page)
    page.fill("#mpp", "1")
    page.click("#start")
    page.click("#mpp-given")
    page.wait_for_selector("#outcome:visible")
    assert ruler(page) == pytest.approx(2 * bar, rel=0.05)
    assert "1 µm/px as given (the file says 0.5)" in page.inner_text("#slide-facts")
    with visit.server.client() as client:
        runs = client.get("/v1/jobs").json()["jobs"][:2]
        widths = [
            client.get(f"/v1/jobs/{run['id']}/slides/small/tiles").json()["tiles"] for run in runs
        ]
    assert widths[0] > 2 * widths[1]


def ruler(page: Page) -> float:
    """Return the µm of a screen's pixel, as the bar has it."""
    told, unit = page.inner_text("#ruler").split()
    width = page.eval_on_selector("#ruler", "one => one.getBoundingClientRect().width")
    return float(told) * (1000 if unit == "mm" else 1) / float(width)


def test_a_slide_that_fails_to_open_leaves_nothing_of_the_one_before(visit: Visit) -> None:
    needs_viewer()
    broken = visit.server.root / "broken.png"
    broken.write_bytes(b"\x89PNG broken")
    page = visit.open()
    open_slide(page, "small.tif")
    page.click("#start")
    page.wait_for_selector("#legend li")
    marked = page.get_attribute('#entries button[aria-current="true"]', "data-path")
    assert str(marked).endswith("small.tif")
    if not page.is_visible("#entries"):
        page.click("#files summary")
    page.click('#entries button[data-path$="broken.png"]')
    page.wait_for_selector("#slide-error:visible")
    for gone in ("#run", "#start", "#layers", "#outcome", "#ruler", "#values", "#tools"):
        assert not page.is_visible(gone), gone
    assert page.locator('#entries button[aria-current="true"]').count() == 0
    assert "could not be opened" in page.inner_text("#blank")
    empty = (
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)"
        ".data.every(value => value === 0)"
    )
    assert page.eval_on_selector("#overlay", empty)
    broken.unlink()


def test_the_list_of_slides_stays_where_a_slide_with_an_old_run_is_opened(visit: Visit) -> None:
    needs_viewer()
    page = visit.open()
    open_slide(page, "small.tif")
    page.click("#start")
    assert not page.is_visible("#entries")
    page.wait_for_selector("#outcome:visible")
    page.click("#files summary")
    page.click('#entries button[data-path$="small.tif"]')
    page.wait_for_selector("#outcome:visible")
    assert page.is_visible("#entries")


def test_the_slide_that_was_chosen_last_is_shown_and_not_the_one_that_came_last(
    visit: Visit,
) -> None:
    needs_viewer()
    held: list[Route] = []
    page = visit.open()
    page.click("#tab-slide")
    page.route("**/v1/slides/open?*large*", lambda route: held.append(route))  # noqa: PLW0108
    page.click('#entries button[data-path$="large.tif"]')
    page.locator("#blank", has_text="Opening").wait_for()
    page.click('#entries button[data-path$="small.tif"]')
    page.locator("#slide-name", has_text="small").wait_for()
    for route in held:
        with suppress(Exception):  # the page has let go of it
            route.continue_()
    page.wait_for_timeout(500)
    assert page.inner_text("#slide-name") == "small"
    assert "700 \u00d7 500" in page.inner_text("#slide-facts")
    assert len(held) == 1


def test_a_list_of_files_that_ends_early_says_so(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MOST", 1)
    page = visit.open()
    page.click("#tab-slide")
    said = page.locator("#entries li.muted").inner_text()
    assert re.search(r"ends here: \d+ more slides", said)
