"""Two runs of one slide beside each other: what `slidecam compare` says, shown on the page."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.prediction.pipeline import predict
from slidecam.runs import Run, compare_runs
from slidecam.runs.spec import PredictSpec
from slidecam.server import views

from .conftest import running_server
from .visits import NAMELESS, Visit, needs_viewer, open_slide, pixels_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from .conftest import Running


@pytest.fixture(scope="module")
def server(
    tiny_bundle: Path,
    other_bundle: Path,
    write_slide: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """Return a server below whose root a slide lies with two runs of it, and another with one."""
    root = tmp_path_factory.mktemp("compared")
    spec = PredictSpec(device="cpu", heatmap="cam")
    slide, other = write_slide(root / "one.tif"), write_slide(root / "two.tif", seed=4)
    list(predict(slide, other_bundle, root / "before", spec))
    list(predict([slide, other], tiny_bundle, root / "after", spec))
    with running_server(tiny_bundle, root, tmp_path_factory.mktemp("home")) as running:
        yield running


def runs_of(server: Running) -> dict[str, str]:
    """Return the ids of the runs, by the folder and name of their slides."""
    with server.client() as client:
        rows = client.get("/v1/runs").json()["runs"]
    return {f"{row['out'].rpartition('/')[2]}/{row['slide']}": row["id"] for row in rows}


def test_the_page_is_given_what_compare_says(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = runs_of(server)
    before, after = (Run.open(server.root / name / "one") for name in ("before", "after"))
    found = compare_runs(before, after)
    assert len(found.changed) > 5
    monkeypatch.setattr(views, "MOST_CHANGED", 5)
    with server.client() as client:
        path = f"/v1/jobs/{ids['after/one']}/slides/one/compared"
        told = client.get(path, params={"before": ids["before/one"]}).json()
        assert told["changed tiles"] == json.loads(json.dumps(found.record()))["changed tiles"][:5]
        assert told["left_out"] == len(found.changed) - 5
        boxes = np.frombuffer(base64.b64decode(told["boxes"]), "<i4").reshape(-1, 4)
        assert boxes.tolist() == [list(tile.box) for tile in found.changed]
        assert (told["changed"], told["agreement"]) == (len(found.changed), found.agreement)
        two = {"before": ids["after/two"], "before_slide": "two"}
        refusal = client.get(path, params=two)
        assert refusal.status_code == 400
        assert "of two slides" in refusal.json()["error"]
        for wrong in ({"before": "none"}, {"before": ids["before/one"], "before_slide": "x"}):
            assert client.get(path, params=wrong).status_code == 404


@pytest.mark.gui
def test_two_runs_are_flipped_between_and_what_changed_is_listed_and_outlined(
    browser: Browser, server: Running
) -> None:
    needs_viewer()
    found = compare_runs(*(Run.open(server.root / name / "one") for name in ("before", "after")))
    visit = Visit(browser, server)
    page = visit.open()
    open_slide(page, "two.tif")
    page.wait_for_selector("#legend li")
    assert not page.is_visible("#compare")  # of one run alone there is no other
    open_slide(page, "one.tif")
    page.wait_for_selector(".view.pale")  # under its heat, which has come
    page.check("#show-classes")
    page.uncheck("#show-heat")
    alone, counts = pixels_of(page, "#overlay"), page.inner_text("#legend")
    page.select_option("#compare-with", "0")
    page.wait_for_selector("#compared:visible")
    words = f"{len(found.changed)} of {len(found.rows_after)} tiles are of another class"
    assert words in page.inner_text("#compare-words")
    assert page.locator("#compare-tiles button").count() == len(found.changed)
    outlined = pixels_of(page, "#overlay")
    assert outlined != alone
    page.uncheck("#show-changed")
    assert pixels_of(page, "#overlay") == alone
    page.click("#flip")
    assert page.get_attribute("#flip", "aria-pressed") == "true"
    assert pixels_of(page, "#overlay") != alone
    assert page.inner_text("#legend") != counts
    page.check("#show-heat")  # which is of the run that is shown, and is not laid over the other's
    assert not page.is_visible(".view.pale")
    page.click("#flip")
    assert page.is_visible(".view.pale")
    page.uncheck("#show-heat")
    assert (pixels_of(page, "#overlay"), page.inner_text("#legend")) == (alone, counts)
    page.locator("#compare-tiles button").first.click()
    box = found.changed[0].box
    middle = f"Middle: {box[0] + box[2] // 2}, {box[1] + box[3] // 2}"
    page.locator("#values", has_text=middle).wait_for()
    assert page.evaluate(NAMELESS) == []
    open_slide(page, "two.tif")
    assert not page.is_visible("#compare")
    visit.close()
