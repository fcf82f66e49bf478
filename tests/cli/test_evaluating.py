"""``slidecam evaluate`` on annotated slides and finished runs, as programs and people call it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from slidecam.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def object_of(result: Result) -> dict[str, Any]:
    (line,) = result.stdout.splitlines()
    return dict(json.loads(line))


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """Return annotations of a slide of 400 x 300 pixels: its left half is A, its right half B."""

    def half(name: str, left: int) -> dict[str, Any]:
        corners = [[left, 0], [left + 200, 0], [left + 200, 300], [left, 300], [left, 0]]
        return {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [corners]},
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }

    path = tmp_path / "one.geojson"
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": [half("A", 0), half("B", 200)]})
    )
    return path


@pytest.fixture
def slide(tmp_path: Path, write_slide: Callable[..., Path]) -> Path:
    return write_slide(tmp_path / "one.tif", 400, 300)


def test_a_slide_and_its_finished_run_give_the_same_figures(
    tmp_path: Path, tiny_bundle: Path, slide: Path, drawn: Path
) -> None:
    common = (tiny_bundle, "--annotations", drawn, "--json")
    of_slide = object_of(evaluate(*common, "--slides", slide, "--out", tmp_path / "report"))
    made = CliRunner().invoke(
        app, ["predict", str(slide), "-m", str(tiny_bundle), "-o", str(tmp_path / "out")]
    )
    assert made.exit_code == 0
    of_run = object_of(evaluate(*common, "--runs", tmp_path / "out"))
    assert of_slide["accuracy"] == of_run["accuracy"]
    assert of_slide["areas"] == of_run["areas"]
    assert set(of_slide["areas"]["per class"]["A"]) == {
        "sensitivity",
        "precision",
        "Dice",
        "classified",
    }
    assert {"slides.html", "evaluation.html"} <= {
        path.name for path in (tmp_path / "report").iterdir()
    }


def test_people_are_told_of_tiles_areas_and_slides(
    tiny_bundle: Path, slide: Path, drawn: Path
) -> None:
    told = evaluate(tiny_bundle, "--annotations", drawn, "--slides", slide).stdout
    assert all(
        words in told for words in ("tiles right", "area accuracy", "area of A", "sensitivity")
    )
    assert "resamples of 1 group (patients" in " ".join(told.split())


@pytest.mark.parametrize(("arguments", "words"), [
    ((), "What to measure on is not clear"),
    (("--data", "d", "--slides", "s"), "What to measure on is not clear"),
    (("--slides", "s"), "Pass --annotations"),
    (("--data", "d", "--annotations", "a"), "--annotations says nothing of --data"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(
    tiny_bundle: Path, arguments: tuple[str, ...], words: str
) -> None:
    refused = evaluate(tiny_bundle, *arguments)
    assert refused.exit_code == 2
    assert words in refused.output


@pytest.mark.parametrize(
    ("option", "of"),
    [
        (("--group-pattern", "(?P<group>P.)"), "--slides"),
        (("--part", "test"), "--runs"),
        (("--only-pattern", ""), "--slides"),
        (("--mpp", "0.5"), "--data"),
        (("--min-share", "0.7"), "--data"),
        (("--class", "A"), "--data"),
        (("--threshold", "mean+1"), "--slides"),
        (("--map", "a=b"), "--mask"),
        (("--batch", "3"), "--runs"),
    ],
)
def test_an_option_that_would_be_without_effect_is_refused(
    tmp_path: Path, tiny_bundle: Path, option: tuple[str, str], of: str
) -> None:
    done = evaluate(tiny_bundle, of, tmp_path, *option)
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert f"says nothing of {of}" in said
    assert f"{option[0]} is for" in said
