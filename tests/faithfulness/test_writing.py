"""A report in a folder, for programs, for people, and looked at as pictures."""

from __future__ import annotations

import csv
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from slidecam.faithfulness import FaithfulnessSpec, write_faithfulness
from slidecam.faithfulness.plots import curve_picture, figure_picture, randomisation_picture
from slidecam.faithfulness.report import CENTRE, FaithfulnessReport, Ledger, MeanCurve, MethodFacts
from slidecam.faithfulness.stability import STAGES, Likeness
from slidecam.faithfulness.tile_measure import TileFindings
from slidecam.faithfulness.writing import COLUMNS, report_object, rows, stage_rows

if TYPE_CHECKING:
    from pathlib import Path

METHOD, RANDOM = "<b>Grad-CAM</b> $x^2$", "random map, 7 x 7"


@pytest.fixture(scope="module")
def report() -> FaithfulnessReport:
    """Return a report of one method with an awkward name on four tiles; one of its maps is flat."""
    rng, ledger = np.random.default_rng(0), Ledger()
    for tile in range(4):
        found = TileFindings()
        for method, shift in ((METHOD, -0.2), (RANDOM, 0.0), (CENTRE, -0.05)):
            for name in (
                "road",
                "correlation",
                "sensitivity-n:5",
                "sensitivity-n",
                "max-sensitivity",
                "deletion:zero",
            ):
                found.add(
                    method,
                    name,
                    math.nan if tile == 2 and method == METHOD else rng.random() / 10 - shift,
                )
        ledger.add(found)
    curves = tuple(
        MeanCurve(
            method, f"{name}:zero", np.linspace(0, 1, 5), np.linspace(0.9, 0.1, 5), np.full(5, 0.05)
        )
        for method in (METHOD, RANDOM, CENTRE)
        for name in ("deletion", "insertion")
    )
    facts = MethodFacts(METHOD, reference=False, grid=(7, 7), passes=3, facts={"seed": 1})
    references = (MethodFacts(RANDOM, reference=True), MethodFacts(CENTRE, reference=True))
    return FaithfulnessReport(
        "<i>tumour</i>", "softmax probability", "class B", 4, math.nan, (facts, *references),
        ledger.findings({METHOD: RANDOM}), curves,
        tuple(
            Likeness(METHOD, stage, np.array([0.4, math.nan, 0.2]), np.full(3, 0.6))
            for stage in STAGES
        ),
        {"seeds": FaithfulnessSpec().seeds},
        ("Image 2 <of 3> is read.",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(report: FaithfulnessReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new folder that the report was written to."""
    new = tmp_path_factory.mktemp("faithfulness") / "new" / "folder"
    assert write_faithfulness(report, new) == new / "faithfulness.html"
    return new


def test_everything_is_in_the_json_and_every_number_is_one(
    report: FaithfulnessReport, folder: Path
) -> None:

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(
        (folder / "faithfulness.json").read_text(encoding="utf-8"), parse_constant=refuse
    )
    assert found == json.loads(json.dumps(report_object(report)))
    assert found["mask_share"] is None
    assert found["methods"][0] == {
        "name": METHOD, "reference": False, "random": RANDOM, "passes": 3, "facts": {"seed": 1},
    }  # fmt: skip
    finding = next(
        one for one in found["findings"] if (one["method"], one["measure"]) == (METHOD, "road")
    )
    assert finding["values"][2] is None
    assert finding["tiles"] == 3
    assert len(found["sentences"]) == 1
    assert len(found["curves"]) == 6
    assert found["notes"] == ["Image 2 <of 3> is read."]


def test_rows_tell_each_finding_and_both_comparisons(
    report: FaithfulnessReport, folder: Path
) -> None:
    with (folder / "faithfulness.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == COLUMNS
    assert len(table) == len(rows(report)) == 3 * 6
    deletion = next(
        row for row in table if (row["method"], row["measure"]) == (METHOD, "deletion:zero")
    )
    assert (deletion["good"], deletion["random"], deletion["beside_random"]) == (
        "low",
        RANDOM,
        "worse",
    )
    assert float(deletion["minus_random"]) == pytest.approx(
        report.findings[0].differences[0].mean, abs=1e-6
    )
    assert deletion["se_seeds"] == ""
    assert {row["beside_centre"] for row in table if row["reference"] == "True"} == {""}


def test_the_randomisation_check_has_a_table_of_its_own(
    report: FaithfulnessReport, folder: Path
) -> None:
    with (folder / "randomisation.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["stage"] for row in table] == list(STAGES)
    assert (table[0]["correlation"], table[0]["tiles"]) == ("0.3", "2")
    assert stage_rows(report)[0]["structure"] == 0.6


def test_the_page_says_all_of_it_and_takes_names_for_names(folder: Path) -> None:
    page = (folder / "faithfulness.html").read_text(encoding="utf-8")
    assert "<b>Grad-CAM</b>" not in page
    assert page.count("&lt;b&gt;Grad-CAM&lt;/b&gt; $x^2$") >= 3
    assert "&lt;i&gt;tumour&lt;/i&gt;" in page
    assert page.count("data:image/png;base64") == 3
    assert "http" not in page
    assert "last quarter" in page
    assert "<li>Image 2 &lt;of 3&gt; is read.</li>" in page
    assert "sensitivity-n, n = 5" not in page
    assert 'class="number worse"' in page


def test_the_folder_holds_what_the_page_links_to_and_nothing_half_written(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "curves.png", "faithfulness.csv", "faithfulness.html", "faithfulness.json", "figures.png",
        "randomisation.csv", "randomisation.png",
    ]  # fmt: skip


def test_a_report_without_curves_or_randomisation_has_a_page_without_them(
    report: FaithfulnessReport, tmp_path: Path
) -> None:
    values: dict[str, Any] = {**vars(report), "curves": (), "likenesses": (), "findings": ()}
    bare = FaithfulnessReport(**values)
    assert curve_picture(bare) is None
    assert figure_picture(bare) is None
    assert randomisation_picture(bare) is None
    page = write_faithfulness(bare, tmp_path).read_text(encoding="utf-8")
    assert "data:image" not in page
    assert not (tmp_path / "randomisation.csv").exists()


def test_pictures_show_something_and_are_the_same_each_time(
    report: FaithfulnessReport, folder: Path
) -> None:
    for draw, name in (
        (curve_picture, "curves"),
        (figure_picture, "figures"),
        (randomisation_picture, "randomisation"),
    ):
        picture = draw(report)
        assert isinstance(picture, Image.Image)
        pixels = np.asarray(picture)
        with Image.open(folder / f"{name}.png") as before:
            np.testing.assert_array_equal(pixels, np.asarray(before))
        assert 0.005 < (pixels != 255).any(2).mean() < 0.6
        assert tuple(pixels[0, 0]) == (255, 255, 255)
