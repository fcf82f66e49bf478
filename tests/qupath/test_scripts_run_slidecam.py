"""Scripts and real slidecam processes.

A run, a kill and its resumption, a selection, a slide with scanned bounds.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.geometry import Box
from slidecam.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qupath.conftest import Desk

SIZE = (700, 500)
BOUNDS = Box(100, 60, 500, 400)
"""What a made-up scanner has scanned of it."""

FAKE = """#!{python}
# slidecam with a reader that finds scanned bounds in every slide, as OpenSlide does in MRXS.
import sys
from slidecam.geometry import Box
from slidecam.sources import _openslide, apart

# Read in this process, which alone knows of that scanner.
apart._is_native = lambda *given: False
_openslide._bounds = lambda properties: Box({box})
from slidecam.cli import main

assert sys.argv[1:3] == ["-m", "slidecam"]
del sys.argv[1:3]
main()
"""


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory, write_slide: Callable[..., Path]) -> Path:
    return write_slide(tmp_path_factory.mktemp("my slides") / "größe 1.tif")


@pytest.fixture
def settings(tiny_bundle: Path, tmp_path: Path) -> list[str]:
    """Return the settings of a run by process.

    No server of the person's who runs the tests is asked.
    """
    return [
        "engine=process",
        f"python={sys.executable}",
        f"model={tiny_bundle}",
        f"out={tmp_path / 'out'}",
    ]


@pytest.fixture
def scanner(tmp_path: Path) -> str:
    """Return the setting that makes slidecam find `BOUNDS` in a slide."""
    if os.name == "nt":
        pytest.skip("a script with a shebang stands for Python here")
    path = tmp_path / "python with bounds"
    box = f"{BOUNDS.x}, {BOUNDS.y}, {BOUNDS.width}, {BOUNDS.height}"
    path.write_text(FAKE.format(python=sys.executable, box=box))
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return f"python={path}"


def boxes(desk: Desk) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([tile["box"] for tile in desk.tiles()]).reshape(-1, 4)


def test_a_killed_run_stops_slidecam_and_the_next_one_goes_on_from_there(
    desk: Desk, slide: Path, settings: list[str], tmp_path: Path
) -> None:
    desk.open(slide, SIZE, viewer=True)
    killed = desk.run("1", *settings, "batch=8", kill_at=r": \d+ of \d+ tiles")
    assert killed.kind == "InterruptedException"
    folder = tmp_path / "out" / slide.stem
    assert RunStore.open(folder).pending_batches()
    assert desk.tiles() == []
    ran = desk.done("1", *settings, "batch=8")
    assert not RunStore.open(folder).pending_batches()
    assert any(" of them to do" in line for line in ran.log)
    np.testing.assert_array_equal(boxes(desk), RunStore.open(folder).boxes)
    assert desk.look()["display"][0] is True
    said = [line for line in ran.log if " tiles" in line and " of " in line]
    assert len(said) < len(boxes(desk)) / 8, "a line for each batch fills QuPath's log"
    desk.done("3", "class=C")


def test_what_cannot_be_started_is_said_with_its_remedy(
    desk: Desk, slide: Path, tiny_bundle: Path
) -> None:
    desk.open(slide, SIZE)
    ran = desk.run("1", "engine=process", "python=/nowhere/python", f"model={tiny_bundle}")
    assert ran.kind == "IOException"
    assert "/nowhere/python cannot be started" in str(ran.problem)
    assert "Install slidecam" in str(ran.problem)


def test_an_image_that_is_closed_while_slidecam_works_gets_no_tiles_and_a_word(
    desk: Desk, slide: Path, settings: list[str], tmp_path: Path
) -> None:
    desk.open(slide, SIZE, viewer=True)
    ran = desk.run("1", *settings, close_at=r": \d+ of \d+ tiles")
    assert ran.kind == "IllegalStateException"
    assert "was closed while slidecam worked" in str(ran.problem)
    assert str(tmp_path / "out" / slide.stem) in str(ran.problem)
    seen = desk.look()
    assert (seen["objects"], seen["overlays"], seen["display"]) == ([], [], [False, 1.0, True])


def test_failures_of_a_batch_are_counted_and_said_at_its_end(desk: Desk, slide: Path) -> None:
    for place in range(3):
        desk.open(slide, SIZE)
        ran = desk.run("4", batch=[place, 3])
        assert ran.kind == "IllegalStateException"
    assert any(line.startswith("3 of 3 images failed: ") for line in ran.log)


FAILING = """
import qupath.ext.slidecam.Slidecam
Map batch = ['qupath.script.batchIndex': 0, 'qupath.script.batchSize': 2]
try { Slidecam.run('remove', [:], batch) }
catch (IllegalStateException seen) { }
"""


def test_a_batch_with_failures_ends_with_a_code_that_is_not_0(groovy: list[str]) -> None:
    done = subprocess.run(  # noqa: S603  (our own command)
        [*groovy, "-e", FAILING], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr


def test_what_is_no_tissue_in_a_selection_is_left_out_in_words(
    desk: Desk, slide: Path, settings: list[str]
) -> None:
    drawn = [
        {"box": [0, 0, 350, 250], "selected": True, "class": "A"},
        {"box": [0, 0, 350, 128], "selected": True, "class": "Ignore*"},
        {"box": [900, 900, 50, 50], "selected": True, "class": "A"},
        {"kind": "tmaCore", "box": [350, 250, 350, 250], "missing": True, "selected": True},
        {"box": [400, 300, 128, 128], "selected": True, "class": "A", "z": 2},
    ]
    desk.open(slide, SIZE, objects=drawn)
    words = " ".join(desk.done("2", *settings, "heatmap=none").log)
    left, top, width, height = boxes(desk).T
    middle_x, middle_y = left + width / 2, top + height / 2
    first = (middle_x < 350) & (middle_y < 250)
    assert first.any()
    assert (middle_y[first] >= 128).all(), "Ignore* is cut out"
    assert ((middle_x[~first] >= 400) & (middle_y[~first] >= 300)).all(), "the core is missing"
    assert "1 of classes that QuPath sets apart" in words
    assert "1 TMA cores that are missing are left out" in words
    assert "1 of 3 areas lie off the slide" in words
    assert "1 of 3 areas were drawn on another plane" in words


def test_on_a_slide_with_scanned_bounds_everything_lands_where_qupath_shows_it(
    desk: Desk, slide: Path, settings: list[str], scanner: str, tmp_path: Path
) -> None:
    # QuPath shows the scanned part alone: its pixel 0, 0 is the slide's 100, 60.
    area = [50, 40, 192, 128]
    desk.open(
        slide, (500, 400), objects=[{"box": area, "selected": True, "class": "A"}], viewer=True
    )
    told = [scanner, "reader=openslide", "heatmap=gradcam"]
    desk.done("2", *settings, *told, "min_tissue=0.99")
    store = RunStore.open(tmp_path / "out" / slide.stem)
    found = boxes(desk)
    np.testing.assert_array_equal(found, store.boxes - (BOUNDS.x, BOUNDS.y, 0, 0))
    assert len(found) >= 1
    assert (found[:, :2] >= area[:2]).all()
    assert (found[:, :2] + found[:, 2:] <= np.add(area[:2], area[2:])).all()
    desk.done("3")
    left, top, width, height = desk.look()["overlays"][0]["region"]
    assert [left, top] == found[:, :2].min(axis=0).tolist()
    assert [left + width, top + height] == (found[:, :2] + found[:, 2:]).max(axis=0).tolist()


def test_an_uncropped_view_of_such_a_slide_is_told_apart_by_its_size(
    desk: Desk, slide: Path, settings: list[str], scanner: str, tmp_path: Path
) -> None:
    tiles = [
        {"kind": "tile", "box": [160, 110, 64, 64], "name": "slidecam"},
        {"kind": "tile", "box": [600, 400, 64, 64], "name": "slidecam"},
    ]
    core = {
        "kind": "tmaCore",
        "polygon": [[150, 100], [342, 100], [342, 228], [150, 228]],
        "selected": True,
    }
    desk.open(slide, SIZE, objects=[core, *tiles])
    desk.done("2", *settings, scanner, "reader=openslide", "heatmap=none", "min_tissue=0.99")
    store = RunStore.open(tmp_path / "out" / slide.stem)
    # Our earlier tile inside the core is replaced, the one outside stays, and nothing is shifted.
    np.testing.assert_array_equal(boxes(desk), [[600, 400, 64, 64], *store.boxes])
    assert len(store) >= 1
    inside = (store.boxes[:, :2] >= (150, 100)) & (
        store.boxes[:, :2] + store.boxes[:, 2:] <= (342, 228)
    )
    assert inside.all()


FAILING = """#!{python}
# slidecam that refuses and has not ended yet.
import json, sys, time
refusal = dict(event="Error", error="E", problem="it is no bundle.", remedy="Name one.")
print(json.dumps(refusal), flush=True)
sys.stderr.write("a line")
time.sleep(60)
"""


def test_a_refusal_of_slidecam_is_the_only_thing_that_is_told(
    desk: Desk, slide: Path, tmp_path: Path
) -> None:
    if os.name == "nt":
        pytest.skip("a script with a shebang stands for Python here")
    path = tmp_path / "python"
    path.write_text(FAILING.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    desk.open(slide, SIZE)
    ran = desk.run("1", "engine=process", f"python={path}", "model=m", f"out={tmp_path / 'out'}")
    assert (ran.kind, "it is no bundle. Name one." in str(ran.problem)) == ("IOException", True)
    assert [line for line in ran.log if "uncaught" in line] == []


def test_a_size_that_is_neither_is_refused_by_slidecam_and_nothing_is_added(
    desk: Desk, slide: Path, settings: list[str]
) -> None:
    desk.open(slide, (350, 250))
    ran = desk.run("1", *settings)
    assert ran.kind == "IOException"
    assert "350 x 250" in str(ran.problem)
    assert "700 x 500" in str(ran.problem)
    assert desk.tiles() == []


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["engine=process", "model=m", "python=no-such-python"], "SLIDECAM_PYTHON"),
        (["engine=process", "python=x"], "No model is named"),
        (["batches=3"], "'batches=3' is no setting"),
    ],
)
def test_what_cannot_work_is_said_before_anything_runs(
    desk: Desk, slide: Path, args: list[str], told: str
) -> None:
    desk.open(slide, SIZE)
    assert told in str(desk.run("1", *args).problem)


def test_without_a_selection_there_is_nothing_to_classify(desk: Desk, slide: Path) -> None:
    desk.open(
        slide,
        SIZE,
        objects=[{"point": [4, 4], "selected": True}, {"box": [0, 0, 9, 9], "class": "A"}],
    )
    assert "Nothing with an area is selected" in str(desk.run("2").problem)
    assert "Nothing with an area is selected" in str(desk.run("2", "classes=B,C").problem)
