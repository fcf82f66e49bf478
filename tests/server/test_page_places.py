"""What people look for on the page: classes one by one, areas, places, pictures to take along."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from slidecam.models import open_bundle, save_bundle
from slidecam.models.architectures import build_network
from slidecam.runs import Run

from .conftest import picture, running_server
from .visits import NAMELESS, Visit, needs_viewer, open_slide, pixels_of, upload

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.gui


@pytest.fixture
def page(visit: Visit) -> Page:
    """Return the page with a slide that is classified."""
    needs_viewer()
    found = visit.open()
    open_slide(found, "small.tif")
    found.select_option("#method", "none")
    found.click("#start")
    found.locator("#outcome.done").wait_for()
    found.wait_for_selector("#legend li")
    return found


def last_run(visit: Visit) -> dict[str, Any]:
    with visit.server.client() as client:
        job: dict[str, Any] = client.get("/v1/jobs").json()["jobs"][0]
    return job


def test_classes_are_switched_one_by_one_and_seen_from_a_value_on(visit: Visit, page: Page) -> None:
    run = Run.open(Path(last_run(visit)["out"]) / "small")
    whole = pixels_of(page, "#overlay")
    called = int(np.bincount(run.tiles.winners[run.tiles.done]).argmax())
    name = run.tiles.class_names[called]
    page.uncheck(f'#legend input[data-name="{name}"]')
    assert pixels_of(page, "#overlay") != whole
    page.check(f'#legend input[data-name="{name}"]')
    assert pixels_of(page, "#overlay") == whole
    values = run.tiles.probabilities[run.tiles.done].max(axis=1)
    least = round(float(np.median(values)), 2)
    page.fill("#least", str(round(100 * least)))
    assert page.inner_text("#least-told") == f"{least:.2f}"
    told = page.locator("#legend .count").all_inner_texts()
    assert sum(int(text.split()[0]) for text in told) == int((values >= np.float32(least)).sum())
    assert pixels_of(page, "#overlay") != whole
    assert page.evaluate(NAMELESS) == []


def test_what_is_seen_or_drawn_is_classified_alone(visit: Visit, page: Page) -> None:
    whole = last_run(visit)["progress"]["total"]
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.select_option("#region", "drawn")
    page.mouse.move(middle[0] - 90, middle[1] - 80)
    page.mouse.down()
    for x, y in ((90, -80), (90, 60), (-90, 60)):
        page.mouse.move(middle[0] + x, middle[1] + y, steps=4)
    page.mouse.up()
    assert "drawn area" in page.inner_text("#region-words")
    page.click("#start")
    page.locator("#outcome.done").wait_for()
    drawn = last_run(visit)["progress"]["total"]
    assert 0 < drawn < whole
    page.click("#zoom-in")
    page.click("#zoom-in")
    page.select_option("#region", "view")
    page.click("#start")
    page.wait_for_selector("#cancel:visible")
    page.locator("#outcome.done").wait_for()
    assert 0 < last_run(visit)["progress"]["total"] < whole
    page.select_option("#region", "drawn")
    page.click("#start")
    assert "Nothing is drawn" in page.inner_text("#region-words")


def test_a_place_is_explained_by_several_methods_with_mouse_and_keyboard(page: Page) -> None:
    page.focus("#explain")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.activeElement.id === 'pad'")
    page.keyboard.press("Enter")
    page.wait_for_selector("#explained-maps figure:nth-child(4) canvas")
    titles = page.locator("#explained-maps strong").all_inner_texts()
    assert titles == ["CAM", "Grad-CAM++", "Score-CAM"]
    assert "deletion 0." in page.inner_text("#explained-maps")
    by_keyboard = page.inner_text("#explained-title")
    assert page.evaluate(NAMELESS) == []
    page.click("#explained-close")
    assert not page.is_visible("#explained")
    page.click("#explain")
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4)
    page.wait_for_selector("#explained-maps figure:nth-child(4) canvas")
    assert page.inner_text("#explained-title") != by_keyboard
    open_slide(page, "large.tif")
    assert not page.is_visible("#explained")


def test_what_is_seen_is_saved_with_its_bar_and_legend(page: Page, tmp_path: Path) -> None:
    with page.expect_download() as saved:
        page.click("#save-picture")
    assert saved.value.suggested_filename == "small.png"
    saved.value.save_as(tmp_path / "small.png")
    with Image.open(tmp_path / "small.png") as found:
        pixels = np.asarray(found.convert("RGB")).astype(int)
    shown = page.locator("#overlay").bounding_box()
    assert shown is not None
    high = round(shown["height"])
    assert pixels.shape[1] == round(shown["width"])
    assert pixels.shape[0] > high + 80  # the bar and the legend below it
    assert pixels[:high].std() > 10
    below = pixels[high:]
    assert (below.max(axis=2) < 40).sum() > 100  # the bar and the words
    assert (np.ptp(below, axis=2) > 60).sum() > 100  # colours of classes


def test_a_link_leads_to_the_place_in_a_tab_beside(visit: Visit, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#zoom-in")
    page.click("#zoom-in")
    page.click("#copy-link")
    page.locator("#said", has_text="copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{visit.server.url}/#slide=")
    assert visit.server.token not in link
    place = middle_of(page)
    other = page.context.new_page()
    other.set_viewport_size({"width": 1100, "height": 760})
    other.goto(link)
    other.wait_for_selector("body[data-ready]")
    other.wait_for_selector("#blank", state="hidden")
    assert other.inner_text("#slide-name") == "small"
    assert middle_of(other) == pytest.approx(place, abs=3)


def middle_of(page: Page) -> list[int]:
    """Return the place of level 0 in the middle of the view."""
    page.wait_for_selector("#values:visible")
    found = re.findall(r"Middle: (-?\d+), (-?\d+) px", page.inner_text("#values"))
    return list(map(int, found[0]))


def test_several_pictures_are_taken_one_after_the_other_and_saved_as_a_table(visit: Visit) -> None:
    page = visit.open()
    files: list[Any] = [
        {"name": f"cell {seed}.png", "mimeType": "", "buffer": picture(seed=seed)}
        for seed in range(3)
    ]
    page.set_input_files("#file", files)
    page.locator("#history-entries li:nth-child(3)").wait_for()
    assert page.inner_text("#picture-name") == "cell 2.png"
    page.click("#history-entries li:nth-child(3) button")
    assert page.inner_text("#picture-name") == "cell 0.png"
    with page.expect_download() as saved:
        page.click("#history-save")
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text())))
    assert [row["picture"] for row in rows] == ["cell 0.png", "cell 1.png", "cell 2.png"]
    with visit.server.client() as client:
        answer = client.post("/v1/image?methods=none", content=picture(seed=1)).json()
    for one in answer["classes"]:
        assert float(rows[1][one["name"]]) == pytest.approx(one["probability"], abs=1e-5)
    upload(page, "notes.txt", b"no picture")
    page.wait_for_selector("#picture-error:visible")


def test_of_many_classes_it_is_said_that_the_least_likely_are_not_listed(
    browser: Browser, tiny_bundle: Path, slides: Path, tmp_path: Path
) -> None:
    opened = open_bundle(tiny_bundle)
    names = tuple(f"class {number}" for number in range(30))
    card = replace(opened.card, class_names=names, class_colors=())
    torch.manual_seed(1)
    network = build_network(card.architecture, card.architecture_args, 30, tmp_path)
    save_bundle(tmp_path / "many", card, network)
    with running_server(tmp_path / "many", slides, tmp_path / "home") as running:
        visit = Visit(browser, running)
        page = visit.open()
        upload(page, "cell.png", picture())
        page.wait_for_selector("#bars button:nth-child(24)")
        assert page.locator("#bars button").count() == 24
        assert "The 6 least likely of 30 classes" in page.inner_text("#picture-notes")
        visit.close()
