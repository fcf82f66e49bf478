"""A bundle's model card as a page, in the terminal and as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.models.architectures import build_network
from slidecam.models.bundle import open_bundle, save_bundle
from slidecam.models.card import Card
from slidecam.reports.card_page import CardPage, card_page, write_card_page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.models.bundle import Bundle

SAMPLE = Path(__file__).parents[2] / "sample_data" / "bundle"

MEASURED = {
    "val": {"accuracy": {"value": 0.91234, "ci95": [0.8571, 0.9513], "by": "Wilson"}},
    "test": {
        "accuracy": {"value": 0.83529, "ci95": [0.74232, 0.89928], "by": "Wilson"},
        "macro AUC": {"value": None, "ci95": None, "note": "one class only"},
    },
}
PROVENANCE = {
    "recipe": '[model]\narchitecture = "test_resnet"\n',
    "data": {
        "digest": "57b6d3103f9af593",
        "pictures": 4427,
        "counts": {"train": {"a": 2081, "b": 65}, "test": {"a": 56, "b": 17}},
        "learnt_from": ["0f", "1c", "77"],
    },
    "first_weights": {"file": "imagenet.safetensors", "sha256": "0ad5"},
    "epochs": 24,
    "measured": MEASURED,
    "measured_on": {
        "val": {"pictures": 141, "groups": None},
        "test": {"pictures": 1073, "groups": 17},
    },
    "caveats": ["In the data more than once (12)."],
    "readings": ["Mean: 0.5 (from config.json); --mean says otherwise."],
    "calibration": {"pictures": 41, "note": ""},
    "published": {"source": "Nguyen 2024, table 2.", "figures": {"accuracy": 0.871}},
}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return made(tmp_path, provenance=PROVENANCE, licence="CC-BY-4.0")


def made(folder: Path, **values: Any) -> Bundle:
    card = Card(
        name="Breast & friends",
        architecture="timm/test_resnet",
        class_names=("a", "b"),
        activation="softmax",
        tile_px=96,
        spacing=0.25,
        input_px=64,
        mean=(0.71, 0.52, 0.68),
        std=(0.17, 0.22, 0.19),
    )
    network = build_network("timm/test_resnet", {}, 2, folder)
    return save_bundle(folder / "bundle", replace(card, **values), network)


def test_a_card_says_what_a_classifier_is_sees_and_comes_from(bundle: Bundle) -> None:
    page = card_page(bundle)
    assert page.identity["Digest"] == bundle.digest
    assert page.sight["Tile"] == "96 px at 0.25 µm/px (24 µm)"
    assert page.sight["Network's input"] == "64 px, resized by bilinear"
    assert "mean 0.71, 0.52, 0.68, deviation 0.17, 0.22, 0.19" in page.sight["Normalisation"]
    assert page.origin["Pictures"] == "4,427"
    assert page.origin["Patients or slides learnt from"] == "3"
    assert page.origin["First weights"] == "file imagenet.safetensors, sha256 0ad5"
    assert page.counts["training part"] == {"a": 2081, "b": 65}
    assert page.terms == {"Licence": "CC-BY-4.0", "Intended use": "not stated"}
    assert page.caveats == (*PROVENANCE["caveats"], *PROVENANCE["readings"])  # type: ignore[misc]  # tuples of sentences


def test_figures_stand_with_their_intervals_by_part_and_the_test_part_first(
    bundle: Bundle,
) -> None:
    page = card_page(bundle)
    assert list(page.figures) == ["test part", "validation part"]
    accuracy, area = page.figures["test part"]
    assert (accuracy.value, accuracy.interval) == ("0.835", "0.742 to 0.899 (Wilson)")
    assert accuracy.published == "0.871"
    assert (area.value, area.note) == ("", "one class only")
    assert page.published.startswith("Nguyen 2024, table 2")


def test_figures_say_of_how_many_pictures_and_patients_they_are(bundle: Bundle) -> None:
    page = card_page(bundle)
    assert page.extents == {
        "test part": "1,073 pictures, of 17 patients or slides",
        "validation part": "141 pictures, patients or slides not known",
    }
    path = bundle.path / "card.html"
    write_card_page(page, path)
    assert "1,073 pictures, of 17 patients or slides" in path.read_text(encoding="utf-8")


def test_what_a_card_does_not_say_is_said_to_be_missing(tmp_path: Path) -> None:
    page = card_page(made(tmp_path))
    assert page.origin == {"Provenance": "not stated"}
    assert "No figure of it stands on its card: slidecam evaluate measures it." in page.caveats
    assert "Its licence is not stated: ask who made it before you use it." in page.caveats
    assert page.heatmaps[0].startswith("Nobody has measured whether its heatmaps are faithful")


def test_a_page_is_complete_in_itself_and_shows_names_as_text(tmp_path: Path) -> None:
    hostile = '<script src="https://x.example/y.js">'
    bundle = made(
        tmp_path,
        name=hostile,
        class_names=("a<b>", 'c" onload="x'),
        provenance={**PROVENANCE, "recipe": "</pre><img src=x>", "caveats": ["<b>no</b>."]},
    )
    write_card_page(card_page(bundle), tmp_path / "card.html")
    text = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|img|link|iframe)\b", text)
    assert "&lt;script src=" in text
    assert "a&lt;b&gt;" in text
    assert "0.742 to 0.899 (Wilson)" in text
    assert not re.search(r'(src|href)="', text)


@pytest.mark.parametrize(
    "provenance",
    [
        {"measured": "0.9", "measured_on": 3},
        {"measured_on": {"test": 12, "val": {"pictures": "many"}}},
        {"measured": {"test": 0.9, "val": {"accuracy": 0.5}}},
        {"measured": {"test": {"accuracy": {"value": "high", "ci95": [0.1]}}}},
        {"data": {"counts": ["a", 3], "learnt_from": None, "pictures": "many"}},
        {"data": 5, "parent": ["x"], "first_weights": None, "caveats": "one", "published": 7},
        {"recipe": {"model": 3}, "with": ["torch"], "calibration": [1]},
    ],
)
def test_whatever_people_write_into_a_provenance_makes_a_page(
    tmp_path: Path, provenance: Mapping[str, object]
) -> None:
    page = card_page(made(tmp_path, provenance=provenance))
    write_card_page(page, tmp_path / "card.html")
    json.dumps(page.record())


def test_the_command_prints_and_writes_and_says_where(tmp_path: Path, bundle: Bundle) -> None:
    run = CliRunner().invoke(app, ["card", str(bundle.path)], catch_exceptions=False)
    assert run.exit_code == 0
    assert "0.835  0.742 to 0.899 (Wilson)" in run.stdout
    assert "1,073 pictures, of 17 patients or slides" in run.stdout
    assert (bundle.path / "card.html").is_file()
    path = tmp_path / "elsewhere" / "page.html"
    run = CliRunner().invoke(
        app, ["card", str(bundle.path), "--json", "--out", str(path)], catch_exceptions=False
    )
    record = json.loads(run.stdout)
    assert record["figures"]["test part"]["accuracy"]["value"] == "0.835"
    assert record["page"] == str(path)
    assert path.is_file()


def test_the_pages_of_the_sample_and_of_a_network_without_colour_are_made(tmp_path: Path) -> None:
    pages: list[CardPage] = [card_page(open_bundle(SAMPLE))]
    pages.append(card_page(open_bundle(SAMPLE.parent / "mri-bundle")))
    assert "CAM was shown to be faithful, and is shown first." in pages[0].heatmaps
    assert "slices" in pages[1].sight["Volumes"]
    for number, page in enumerate(pages):
        write_card_page(page, tmp_path / f"{number}.html")
