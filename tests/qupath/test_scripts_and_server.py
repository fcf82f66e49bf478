"""Scripts and a real server.

Found by its file, asked over HTTP with its token, cancelled by a kill.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slidecam.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qupath.conftest import Desk

pytest.importorskip("slidecam.server", reason="the server is not in this tree")

SIZE = (700, 500)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory, write_slide: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    write_slide(folder / "größe 1.tif")
    return folder


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, slides: Path, tiny_bundle: Path
) -> Iterator[dict[str, Any]]:
    """Return what `slidecam serve` said when it began to listen; it is asked to end afterwards."""
    file = tmp_path_factory.mktemp("state") / "server.json"
    call = [
        sys.executable,
        "-m",
        "slidecam",
        "serve",
        "--json",
        "--model",
        str(tiny_bundle),
        "--root",
        str(slides),
    ]
    with subprocess.Popen(  # noqa: S603  (our own command)
        [*call, "--out", str(slides / "out")],
        stdout=subprocess.PIPE,
        env={**os.environ, "SLIDECAM_SERVER_FILE": str(file)},
        text=True,
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield told
        process.terminate()


@pytest.fixture
def with_server(desk: Desk, server: dict[str, Any]) -> Iterator[Desk]:
    """Return the desk, which finds the server as a person's QuPath would."""
    desk.ask("know", file=server["file"])
    yield desk
    desk.ask("know", file="")


def test_a_slide_goes_to_the_server_and_lands_as_by_process(
    with_server: Desk, slides: Path
) -> None:
    (slide,) = slides.glob("*.tif")
    with_server.open(slide, SIZE, viewer=True)
    ran = with_server.done("1", "engine=server", f"out={slides / 'whole'}", "batch=32")
    store = RunStore.open(slides / "whole" / slide.stem)
    assert [tile["box"] for tile in with_server.tiles()] == store.boxes.tolist()
    values = [
        [tile["measurements"][f"prob_{name}"] for name in "ABC"] for tile in with_server.tiles()
    ]
    np.testing.assert_array_equal(np.array(values, np.float32), store.probabilities)
    assert any(" of " in line and " tiles" in line for line in ran.log)
    with_server.done("3")


def test_a_selection_goes_to_the_server_as_geojson(with_server: Desk, slides: Path) -> None:
    (slide,) = slides.glob("*.tif")
    area = {"box": [150, 100, 192, 128], "selected": True, "class": "A"}
    with_server.open(slide, SIZE, objects=[area])
    with_server.done("2", "heatmap=none", "min_tissue=0.99")
    boxes = np.array([tile["box"] for tile in with_server.tiles()])
    assert len(boxes) >= 1
    assert (boxes[:, :2] >= (150, 100)).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= (342, 228)).all()


def test_a_kill_cancels_the_job_and_the_next_run_goes_on(with_server: Desk, slides: Path) -> None:
    (slide,) = slides.glob("*.tif")
    told = ["engine=server", f"out={slides / 'killed'}", "batch=4"]
    with_server.open(slide, SIZE)
    killed = with_server.run("1", *told, kill_at=r": \d+ of \d+ tiles")
    assert killed.kind == "InterruptedException"
    assert any("is cancelled" in line for line in killed.log)
    assert with_server.tiles() == []
    with_server.done("1", *told)
    assert not RunStore.open(slides / "killed" / slide.stem).pending_batches()


def test_what_the_server_refuses_is_said_in_its_words(
    with_server: Desk, slides: Path, tmp_path: Path
) -> None:
    (slide,) = slides.glob("*.tif")
    with_server.open(slide, SIZE)
    refused = with_server.run("1", "engine=server", f"out={tmp_path / 'elsewhere'}")
    assert refused.kind == "IOException"
    assert "elsewhere" in str(refused.problem)
    with_server.open(slide, (350, 250))
    assert "350 x 250" in str(
        with_server.run("1", "engine=server", f"out={slides / 'wrong'}").problem
    )


def test_a_server_that_has_gone_is_passed_over(desk: Desk, slides: Path, tmp_path: Path) -> None:
    (slide,) = slides.glob("*.tif")
    gone = {
        "format": "slidecam-server",
        "version": 1,
        "url": "http://127.0.0.1:9",
        "token": "t",
        "pid": 1,
    }
    (tmp_path / "server.json").write_text(json.dumps(gone))
    desk.ask("know", file=str(tmp_path / "server.json"))
    desk.open(slide, SIZE)
    assert "No model is named" in str(desk.run("1").problem)
    assert "No slidecam server runs" in str(desk.run("1", "engine=server").problem)
    desk.ask("know", file="")
