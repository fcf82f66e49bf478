"""A slide classified by an ensemble: its members' mean, and how far they disagree of each tile."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from pyarrow import parquet

from slidecam.events import BatchDone
from slidecam.exchange.qupath import write_tiles_table
from slidecam.models import open_bundle, save_bundle
from slidecam.models.architectures import build_network
from slidecam.models.ensemble_bundle import ensemble_of
from slidecam.prediction.pipeline import predict
from slidecam.runs import Run
from slidecam.runs.arrays import run_frame
from slidecam.runs.spec import PredictSpec
from slidecam.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slidecam.models import Bundle

SPEC = PredictSpec(batch=4, workers=2, outputs=("tiles.csv", "tiles.geojson", "tiles.parquet"))


@pytest.fixture(scope="module")
def members(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    first, made = open_bundle(tiny_bundle), []
    for seed in (17, 29, 31):
        folder = tmp_path_factory.mktemp("member") / "bundle"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            args = dict(first.card.architecture_args)
            network = build_network(first.card.architecture, args, 3, folder)
        made.append(save_bundle(folder, replace(first.card, temperature=seed / 23), network))
    return made


@pytest.fixture(scope="module")
def ensemble(members: list[Bundle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    card, weights = ensemble_of(members, "three")
    return save_bundle(tmp_path_factory.mktemp("ensemble") / "bundle", card, dict(weights)).path


@pytest.fixture(scope="module")
def finished(
    ensemble: Path, write_slide: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("finished")
    slide = write_slide(folder / "one.tif")
    list(predict(slide, ensemble, folder / "out", SPEC))
    return slide, folder / "out"


def test_each_tile_has_the_members_mean_and_their_divergence(
    finished: tuple[Path, Path], members: list[Bundle], tmp_path: Path
) -> None:
    slide, out = finished
    logits, shares = [], []
    for number, member in enumerate(members):
        list(predict(slide, member.path, tmp_path / str(number), replace(SPEC, outputs=())))
        store = RunStore.open(tmp_path / str(number) / "one")
        assert store.disagreement is None
        logits.append(store.logits / np.float32(member.card.temperature))
        shares.append(store.probabilities.astype(np.float64))
    run = Run.open(out / "one")
    mean = np.mean(logits, axis=0, dtype=np.float64)
    expected = np.exp(mean) / np.exp(mean).sum(1, keepdims=True)
    np.testing.assert_allclose(run.tiles.probabilities, expected, atol=1e-6)
    pooled = np.mean(shares, axis=0)
    divergence = np.mean([(p * np.log(p / pooled)).sum(1) for p in shares], axis=0) / np.log(3)
    assert run.tiles.disagreement is not None
    np.testing.assert_allclose(run.tiles.disagreement, divergence, atol=1e-6)
    assert divergence.min() > 1e-4


def test_tables_for_other_programs_hold_it(finished: tuple[Path, Path], tmp_path: Path) -> None:
    folder = finished[1] / "one"
    tiles = Run.open(folder).tiles
    expected = tiles.disagreement
    assert expected is not None
    with (folder / "tiles.csv").open() as lines:
        rows = [*csv.DictReader(lines)]
    np.testing.assert_array_equal([np.float32(row["disagreement"]) for row in rows], expected)
    table = parquet.read_table(folder / "tiles.parquet")
    np.testing.assert_array_equal(table["disagreement"].to_numpy(), expected)
    features = json.loads((folder / "tiles.geojson").read_text())["features"]
    found = [each["properties"]["measurements"]["disagreement"] for each in features]
    np.testing.assert_array_equal(np.array(found, np.float32), expected)
    write_tiles_table(tiles, tmp_path / "table.csv.gz")
    with gzip.open(tmp_path / "table.csv.gz", "rt") as packed:
        own = [*csv.DictReader(packed)]
    np.testing.assert_array_equal([np.float32(row["disagreement"]) for row in own], expected)


def test_people_are_shown_it_with_its_range(finished: tuple[Path, Path]) -> None:
    run = Run.open(finished[1] / "one")
    assert run.tiles.disagreement is not None
    frame = run_frame(run)
    np.testing.assert_array_equal(frame["disagreement"], run.tiles.disagreement)
    mean = float(run.tiles.disagreement.mean())
    (said,) = run.tiles.disagreement_words
    assert said.startswith(f"Its members disagree by {mean:.3f} on average (0: all say the same,")


def test_a_stopped_run_goes_on_to_the_same_disagreement(
    finished: tuple[Path, Path], ensemble: Path, tmp_path: Path
) -> None:
    slide, out = finished
    work = predict(slide, ensemble, tmp_path / "out", SPEC)
    for event in work:
        if isinstance(event, BatchDone):
            break
    work.close()
    list(predict(slide, ensemble, tmp_path / "out", replace(SPEC, existing="resume")))
    again, before = (Run.open(each / "one").tiles for each in (tmp_path / "out", out))
    np.testing.assert_array_equal(again.probabilities, before.probabilities)
    assert again.disagreement is not None
    assert before.disagreement is not None
    np.testing.assert_array_equal(again.disagreement, before.disagreement)
