"""The commands around teaching, as programs and people call them.

They are ``fine-tune``, ``compare``, ``suggest``, ``legend``, ``export`` and ``figure``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.models import open_bundle
from slidecam.prediction.pipeline import predict
from slidecam.runs import Run as SlideRun
from slidecam.runs.spec import PredictSpec
from slidecam.teaching import Annotation, Corrections, write_annotations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result


def slidecam(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def lines_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def run(
    tiny_bundle: Path, write_slide: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a run with an annotation beside it and some corrected tiles."""
    folder = tmp_path_factory.mktemp("run")
    list(
        predict(
            write_slide(folder / "a.tif"), tiny_bundle, folder / "out", PredictSpec(heatmap="none")
        )
    )
    read = SlideRun.open(folder / "out" / "a")
    area = [[100, 100], [300, 100], [300, 300], [100, 300]]
    write_annotations(folder / "a.geojson", [Annotation("A", (area,))])  # type: ignore[arg-type]  # made an array
    Corrections.open(read).set([0, 1, 2], "fat")
    return read.folder


def test_fine_tune_makes_a_bundle_that_predict_takes_and_compare_tells_of(
    run: Path, tmp_path: Path
) -> None:
    drawn = run.parents[1] / "a.geojson"
    refused = slidecam(
        "fine-tune", run, "--annotations", drawn, "--out", tmp_path / "new", "--json"
    )
    assert refused.exit_code == 2
    assert "--new-class 'fat'" in lines_of(refused)[-1]["remedy"]
    given = (
        "fine-tune",
        run,
        "--annotations",
        drawn,
        "--out",
        tmp_path / "new",
        "--new-class",
        "fat",
        "--json",
    )
    told = lines_of(slidecam(*given))
    assert {line.get("phase") for line in told[:-1]} >= {"training", "writing"}
    last = told[-1]
    assert (last["event"], last["new_classes"], last["labelled"]["fat"]) == (
        "FineTuned",
        ["fat"],
        3,
    )
    assert last["digest"] == open_bundle(tmp_path / "new").digest
    slide = run.parents[1] / "a.tif"
    list(predict(slide, tmp_path / "new", tmp_path / "again", PredictSpec(heatmap="none")))
    (compared,) = lines_of(slidecam("compare", run, tmp_path / "again" / "a", "--json"))
    assert compared["tiles"] == len(SlideRun.open(run))
    assert [one["name"] for one in compared["classes"]] == ["A", "B", "C", "fat"]
    people = slidecam("compare", run, tmp_path / "again" / "a")
    assert people.exit_code == 0
    assert "agreement" in people.stdout
    again = slidecam(*given)
    assert again.exit_code != 0
    assert "lies here already" in lines_of(again)[-1]["problem"]


def test_suggest_leaves_out_what_is_labelled(run: Path) -> None:
    (told,) = lines_of(slidecam("suggest", run, "-n", 1000, "--json"))
    rows = {one["tile"] for one in told["suggestions"]}
    assert rows == set(range(3, len(SlideRun.open(run))))
    (everything,) = lines_of(slidecam("suggest", run, "-n", 1000, "--no-corrections", "--json"))
    assert len(everything["suggestions"]) == len(rows) + 3


def test_legend_and_figure_tell_of_a_run(run: Path, tmp_path: Path) -> None:
    (told,) = lines_of(slidecam("legend", run, "--threshold", 0.4, "--json"))
    assert [row["name"] for row in told["rows"]] == ["A", "B", "C"]
    assert told["threshold"] == 0.4
    assert "mm²" in slidecam("legend", run).stdout
    picture = tmp_path / "a.png"
    region = ("--show", "probability", "--class", "B", "--region", "100,100,200,100")
    assert slidecam("figure", run, "--out", picture, *region).exit_code == 0
    assert picture.stat().st_size > 10_000
    assert slidecam("figure", run, "--out", picture, "--region", "1,2").exit_code == 2


def test_export_writes_a_tile_set(run: Path, tmp_path: Path) -> None:
    drawn = run.parents[1] / "a.geojson"
    told = lines_of(
        slidecam("export", run, "--annotations", drawn, "--out", tmp_path / "set", "--json")
    )[-1]
    assert told["fat"] == 3
    assert told["A"] >= 4
    assert (tmp_path / "set" / "annotations.geojson").exists()
