"""A package of someone else's adds to slidecam without touching it, and keeps its contracts."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.cli.facts import examine
from slidecam.close_up.methods import listed_methods
from slidecam.errors import UnknownFormatError
from slidecam.explain.catalogue import method_for, slide_methods
from slidecam.explain.contract import ExplainerCase, ExplainerContract
from slidecam.models import Card, classifier_for
from slidecam.models.architectures import build_network, is_known
from slidecam.sources import (
    READERS,
    open_source,
    reader_names,
    slide_suffixes,
    suffixes_for_viewers,
)
from slidecam.sources.contract import SourceCase, SourceContract
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.models import Classifier
    from slidecam.sources import Source

CPU = torch.device("cpu")
MPP = 0.4987


def write(path: Path, pixels: NDArray[np.uint8], mpp: float = MPP) -> Path:
    import_module("slidecam_stripes.reading").write_stripes(path, pixels, mpp)
    return path


def picture(seed: int, height: int = 301, width: int = 418) -> NDArray[np.uint8]:
    """Return a smooth picture with no two rows alike."""
    coarse = np.random.default_rng(seed).integers(40, 250, (height // 16 + 2, width // 16 + 2, 3))
    return np.kron(coarse, np.ones((16, 16, 1)))[:height, :width].astype(np.uint8)


class TestTheirReader(SourceContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> SourceCase:
        pixels = picture(3)
        (tmp_path / "other").mkdir()
        return SourceCase(
            path=str(write(tmp_path / "a.stripes", pixels)),
            reader=None,
            read_by="stripes",
            picture=pixels,
            tolerance=0,
            level_tolerance=0.51,
            spacing=MPP,
            copy=str(write(tmp_path / "other" / "b.stripes", pixels)),
            other=str(write(tmp_path / "c.stripes", picture(4))),
        )

    @pytest.fixture
    def source(self, case: SourceCase) -> Iterator[Source]:
        with open_source(case.path, case.reader) as source:
            yield source


def their_classifier(backend: str = "folded") -> Classifier:
    card = Card(
        name="plain",
        architecture="stripes/plain",
        class_names=("a", "b", "c"),
        activation="softmax",
        tile_px=32,
        spacing=0.5,
        input_px=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        architecture_args={"width": 6},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = build_network(card.architecture, card.architecture_args, 3, "card.json")  # type: ignore[arg-type]
        with torch.no_grad():
            network.get_parameter("head.weight").mul_(10)
    return classifier_for(network, card, CPU, backend=backend)


class TestTheirMethodOnTheirNetwork(ExplainerContract):
    @pytest.fixture
    def case(self) -> ExplainerCase:
        return ExplainerCase(method_for("stripe-cam"), their_classifier())


def test_a_folder_of_their_slides_is_found(tmp_path: Path) -> None:
    write(tmp_path / "one.stripes", picture(1))
    (tmp_path / "notes.doc").write_text("no slide")
    assert [slide.name for slide in find_slides([tmp_path]).slides] == ["one"]


def test_their_reader_is_named_wherever_readers_are(tmp_path: Path) -> None:
    assert "stripes" in reader_names()[len(READERS.own) :]
    (tmp_path / "odd.bin").write_bytes(bytes(range(256)))
    with pytest.raises(UnknownFormatError, match=r"OME-TIFF(, | and ).*\bstripes\b.*: convert it"):
        open_source(tmp_path / "odd.bin")


def test_our_manifest_names_our_readers_files_alone() -> None:
    assert ".stripes" in slide_suffixes()
    assert ".stripes" not in suffixes_for_viewers()


def test_their_method_is_listed_and_offered_for_whole_slides() -> None:
    (row,) = [row for row in listed_methods() if row["name"] == "stripe-cam"]
    assert (row["title"], row["cost"]) == ("Stripe-CAM", "cheap")
    assert slide_methods()["stripe-cam"].title == "Stripe-CAM"


def test_their_network_and_backend_go_by_their_names() -> None:
    assert is_known("stripes/plain")
    assert their_classifier("stripes-twice").backend == "stripes, twice, fp32"


def test_doctor_tells_what_they_add_and_who_needs_it() -> None:
    found = {one.what: one for one in examine()}
    assert found["reader stripes"].detail == "stripes are straight"
    assert found["method stripe-cam"].well
    assert found["backend stripes-twice"].well
    assert not found["reader stripes"].needed


def test_a_whole_run_goes_through_what_they_add(tmp_path: Path, sample_data: Path) -> None:
    with tifffile.TiffFile(sample_data / "slide.tif") as tiff:
        level = tiff.series[0].levels[0].asarray()
    slide = write(
        tmp_path / "theirs.stripes", np.ascontiguousarray(level[1024:2048, 1024:2048]), 0.5
    )
    out = tmp_path / "out"
    call = ["predict", slide, "--model", sample_data / "bundle", "--out", out]
    options = ["--heatmap", "stripe-cam", "--reader", "stripes", "--workers", "1"]
    options += ["--outputs", "default,counts.txt", "--backend", "stripes-twice"]
    result = CliRunner().invoke(app, [*map(str, call), *options])
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads((out / "theirs" / "run.json").read_text())
    assert record["input"]["reader"] == "stripes"
    assert record["versions"]["slidecam-stripes"] == "0.3"
    assert record["tiles"]["done"] > 0
    assert [one["method"] for one in record["heatmaps"]] == ["stripe-cam"]
    done = record["tiles"]["done"]
    assert (out / "theirs" / "counts.txt").read_text() == f"{done} of {done}\n"
    assert record["plan"]["backend"] == "stripes, twice, fp32"
