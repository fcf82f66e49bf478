"""Whatever the code of another package's entry raises, it ends in words and takes nothing along."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.errors import ReaderFailedError
from slidecam.models.backends import BACKENDS
from slidecam.sources import READERS, open_source
from slidecam.sources.source import Source

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

PACKAGE = "slidecam-stripes 0.3"


class OddError(Exception):
    """Derives from nothing that any list of errors could name."""


def raises(*_args: object, **_named: object) -> Any:
    raise OddError("the lamp is off")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def words_of(result: Result) -> str:
    """Return what was printed, having held that it is no traceback and how it ended is said."""
    assert isinstance(result.exception, SystemExit | None)
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.stripes"
    pixels = np.random.default_rng(7).integers(60, 180, (301, 418, 3), np.uint8)
    import_module("slidecam_stripes.reading").write_stripes(path, pixels, 0.5)
    return path


def change(patch: pytest.MonkeyPatch, registry: Any, name: str, **fields: object) -> None:
    patch.setitem(registry._entries, name, replace(registry[name], **fields))


def test_a_reader_that_cannot_open_is_named_with_what_it_raised(
    stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, READERS, "stripes", opener=raises)
    result = run("info", stripes)
    assert result.exit_code == 1
    said = f"Reader stripes of {PACKAGE} raised OddError: the lamp is off ({stripes})."
    assert said in words_of(result)
    assert f"Report it to those who make {PACKAGE}" in result.output


def test_a_slide_that_its_reader_raised_at_keeps_the_traceback(
    stripes: Path, sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, READERS, "stripes", opener=raises)
    result = run("predict", stripes, "--model", sample_data / "bundle", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "Reader stripes of" in words_of(result)
    record = json.loads((tmp_path / "out" / "theirs" / "run.json").read_text())
    assert record["traceback"][-1].endswith("OddError: the lamp is off")


def test_a_reader_that_cannot_look_at_a_file_leaves_it_to_others(
    stripes: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, READERS, "stripes", rank=raises)
    with open_source(sample_data / "slide.tif") as source:
        (note,) = [one for one in source.facts.readings if "stripes" in one]
    assert note.startswith(f"Left out: reader stripes of {PACKAGE} raised OddError")
    with pytest.raises(ReaderFailedError, match="the lamp is off"):
        open_source(stripes)


def test_a_reader_that_cannot_close_costs_nothing_but_a_word(
    sample_data: Path, tmp_path: Path, stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("slidecam_stripes.reading").StripesSource, "close", raises)
    out = tmp_path / "out"
    call = ["predict", stripes, "--model", sample_data / "bundle", "--out", out]
    result = run(*call, "--min-tissue", "0", "--heatmap", "none", "--outputs", "tiles.csv")
    said = "theirs: Reader stripes could not close the file and raised OddError: the lamp is off."
    assert said in words_of(result)
    assert result.exit_code == 0
    assert json.loads((out / "theirs" / "run.json").read_text())["status"] in {"done", "skipped"}
    assert run("info", stripes).exit_code == 0


def test_what_the_system_raises_in_reading_is_not_blamed_on_the_output_folder(
    stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_args: object) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(import_module("slidecam_stripes.reading").StripesSource, "_decode", gone)
    with open_source(stripes) as source, pytest.raises(ReaderFailedError) as told:
        source.read(0, source.chunk_box(0, 1, 2))
    assert "Input/output error" in told.value.problem
    assert "can be read" in told.value.remedy
    assert "output folder" not in told.value.remedy
    assert isinstance(source, Source)


def test_a_backend_that_raises_is_left_out_in_words(
    sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, BACKENDS, "stripes-twice", variants=raises)
    out = tmp_path / "out"
    call = ["predict", sample_data / "slide.tif", "--model", sample_data / "bundle", "--out", out]
    options = ["--backend", "stripes-twice", "--heatmap", "none", "--outputs", "tiles.csv"]
    result = run(*call, *options)
    assert result.exit_code == 0
    said = f"Left out: backend stripes-twice of {PACKAGE} raised OddError: the lamp is off."
    assert said in words_of(result)
    record = json.loads((out / "slide" / "run.json").read_text())
    assert record["plan"]["backend"] == "torch, eager, fp32"


def explained(sample_data: Path, out: Path, methods: str, *more: str) -> Result:
    call = ["explain", sample_data / "slide.tif", "--model", sample_data / "bundle", "--out", out]
    return run(*call, "--methods", methods, "--at", "1500,1400", "--no-curves", *more)


def test_a_method_that_raises_is_named_and_the_others_go_on(
    sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = import_module("slidecam_stripes.explaining")
    monkeypatch.setattr(theirs.MapExplainer, "steps", raises)
    result = explained(sample_data, tmp_path / "alone", "stripe-cam")
    said = f"Explainer stripe-cam of {PACKAGE} raised OddError: the lamp is off."
    assert said in words_of(result)
    assert result.exit_code == 1
    assert not (tmp_path / "alone").exists()
    result = explained(sample_data, tmp_path / "both", "stripe-cam,occlusion")
    assert said in words_of(result)
    assert result.exit_code == 3
    record = json.loads((tmp_path / "both" / "explanation.json").read_text())
    assert (list(record["methods"]), list(record["failed"])) == (["occlusion"], ["stripe-cam"])
    assert record["failed"]["stripe-cam"]["problem"] == said
    assert record["failed"]["stripe-cam"]["traceback"][-1].endswith("OddError: the lamp is off")


def test_what_no_boundary_foresaw_ends_a_command_in_words(
    sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slidecam.cli.facts.settle_spacing", raises)
    result = run("info", sample_data / "slide.tif")
    assert result.exit_code == 1
    assert "Error: OddError: the lamp is off (" in words_of(result)
    machine = json.loads(run("info", sample_data / "slide.tif", "--json").output)
    assert (machine["event"], machine["error"]) == ("Error", "OddError")
    assert machine["traceback"][-1].endswith("OddError: the lamp is off")
