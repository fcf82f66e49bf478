"""Outputs are rows of a table: chosen by name, missed, cleared, linked and refused by it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet

from slidecam import registry
from slidecam.errors import UsageError
from slidecam.events import BatchDone, Finished, Warned
from slidecam.prediction.pipeline import predict
from slidecam.registry import resolve
from slidecam.runs.outputs import OUTPUT_TABLE, OUTPUTS, Output, chosen_outputs
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BESIDE = "heatmap-gradcam++.ome.zarr"
"""What lies beside the heatmap of a linear head where no method is named."""

SMALL = PredictSpec(batch=8, workers=1, heatmap_classes=("A",))


def left_in(folder: Path) -> set[str]:
    kept = {"run.json", "run.zarr"}
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")} - kept


def linked(out: Path) -> set[str]:
    (slide,) = json.loads((out / "manifest.json").read_text())["slides"]
    return set(slide["outputs"])


@pytest.fixture
def slide(tmp_path: Path, write_slide: Callable[..., Path]) -> Path:
    """Return a small slide."""
    return write_slide(tmp_path / "one.tif", 360, 300)


def test_every_row_has_words_a_writer_and_a_medium() -> None:
    for row in OUTPUT_TABLE.own:
        assert row.help
        assert "/" in row.media
        assert row.write
        if not row.packages:
            assert callable(resolve(row.write))
        if row.wanted:
            assert callable(resolve(row.wanted))


def test_what_is_written_by_default_is_as_it_was() -> None:
    assert set(OUTPUTS) == {
        *("tiles.csv", "tiles.geojson", "heatmap.ome.zarr", "overview.png", "mask.png")
    }
    assert [row.name for row in chosen_outputs((), volume=True)] == [
        *("slices.csv", "heatmap.ome.zarr", "montage.png", "mask.nii.gz")
    ]


def test_outputs_are_those_that_were_named(tmp_path: Path, tiny_bundle: Path, slide: Path) -> None:
    names = ("tiles.parquet", "tiles.csv")
    list(predict(slide, tiny_bundle, tmp_path / "out", replace(SMALL, outputs=names)))
    assert left_in(tmp_path / "out" / "one") == linked(tmp_path / "out") == set(names)
    rows = (tmp_path / "out" / "one" / "tiles.csv").read_text().splitlines()
    table = parquet.read_table(tmp_path / "out" / "one" / "tiles.parquet")
    assert table.num_rows == len(rows) - 1


def test_an_output_that_is_asked_for_later_is_written_without_classifying_again(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    list(predict(slide, tiny_bundle, tmp_path / "out", SMALL))
    wish = replace(SMALL, outputs=("default", "tiles.parquet"), existing="resume")
    events = list(predict(slide, tiny_bundle, tmp_path / "out", wish))
    assert not [event for event in events if isinstance(event, BatchDone)]
    assert left_in(tmp_path / "out" / "one") == {*OUTPUTS, BESIDE, "tiles.parquet"}


def test_what_is_not_as_it_was_written_is_written_anew_in_words(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    list(predict(slide, tiny_bundle, tmp_path / "out", SMALL))
    folder = tmp_path / "out" / "one"
    table, picture = folder / "tiles.csv", folder / "overview.png"
    files = [path for path in (folder / BESIDE).rglob("*") if path.is_file()]
    chunk = max(files, key=lambda path: path.stat().st_size)
    before = {path: path.read_bytes() for path in (table, picture, chunk)}
    table.write_bytes(b"")
    picture.write_bytes(before[picture][:-1])
    chunk.write_bytes(before[chunk][: len(before[chunk]) // 3])
    resumed = replace(SMALL, existing="resume")
    events = list(predict(slide, tiny_bundle, tmp_path / "out", resumed))
    assert not [event for event in events if isinstance(event, BatchDone)]
    assert {path: path.read_bytes() for path in before} == before
    said = [event.message for event in events if isinstance(event, Warned)]
    (sentence,) = [each for each in said if each.startswith("Not as it was written")]
    for name in ("tiles.csv", "overview.png", BESIDE):
        assert name in sentence
    events = list(predict(slide, tiny_bundle, tmp_path / "out", resumed))
    said = [event.message for event in events if isinstance(event, Warned)]
    assert not [each for each in said if each.startswith("Not as it was written")]


def test_outputs_of_an_earlier_call_that_are_not_wanted_now_do_not_outlive_their_tiles(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    folder = tmp_path / "out" / "one"
    list(predict(slide, tiny_bundle, tmp_path / "out", replace(SMALL, outputs=("tiles.parquet",))))
    again = replace(SMALL, outputs=("tiles.csv",), existing="resume")
    list(predict(slide, tiny_bundle, tmp_path / "out", again))
    assert left_in(folder) == {"tiles.csv"}
    anew = replace(SMALL, outputs=("mask.png",), existing="overwrite")
    list(predict(slide, tiny_bundle, tmp_path / "out", anew))
    assert left_in(folder) == {"mask.png"}


def test_an_output_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"no output 'tiles\.xls'.*tiles\.parquet.*'default'"):
        PredictSpec(outputs=("tiles.csv", "tiles.xls"))


def test_a_package_that_is_missing_is_named_before_the_run(
    tmp_path: Path, tiny_bundle: Path, slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    words = r'^tiles\.parquet cannot be written: pyarrow is not.*pip install "slidecam\[parquet\]"'
    with pytest.raises(UsageError, match=words):
        list(
            predict(
                slide, tiny_bundle, tmp_path / "out", replace(SMALL, outputs=("tiles.parquet",))
            )
        )
    assert not (tmp_path / "out").exists()


def _count(results: Any, path: Path) -> None:
    path.write_text(f"{len(results.table)} tiles of {results.name}")


COUNT = Output(
    "count.txt", write=_count, media="text/plain", default=False, help="how many tiles there are"
)


@pytest.fixture
def with_count(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let another package add an output."""
    point = EntryPoint("count.txt", f"{__name__}:COUNT", "slidecam.outputs")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group else [])
    monkeypatch.setattr(EntryPoint, "load", lambda _point: COUNT)
    OUTPUT_TABLE.look_again()
    yield
    monkeypatch.undo()
    OUTPUT_TABLE.look_again()


@pytest.mark.usefixtures("with_count")
def test_another_packages_output_is_written_missed_linked_and_cleared_like_ours(
    tmp_path: Path, tiny_bundle: Path, slide: Path
) -> None:
    out, spec = tmp_path / "out", replace(SMALL, outputs=("tiles.csv", "count.txt"))
    list(predict(slide, tiny_bundle, out, spec))
    tiles = len((out / "one" / "tiles.csv").read_text().splitlines()) - 1
    assert (out / "one" / "count.txt").read_text() == f"{tiles} tiles of one"
    assert linked(out) == {"tiles.csv", "count.txt"}
    (out / "one" / "count.txt").unlink()
    *_, finished = predict(slide, tiny_bundle, out, replace(spec, existing="resume"))
    assert isinstance(finished, Finished)
    assert (out / "one" / "count.txt").exists()
    list(predict(slide, tiny_bundle, out, replace(SMALL, outputs=("mask.png",), existing="resume")))
    assert left_in(out / "one") == {"mask.png"}
