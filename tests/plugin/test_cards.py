"""The cards of bundles and tiles, and the legend."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.models import open_bundle
from slidecam.plugin.cards import bundle_card, class_rows, tile_card

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.plugin.open_run import ShownRun


def test_a_bundles_card_says_what_one_must_know(sample_data: Path) -> None:
    card = bundle_card(open_bundle(sample_data / "bundle").card)
    for words in (
        "tumour",
        "128 px tiles at 0.5 µm/px",
        "BSD-3-Clause",
        "validation_accuracy 0.978",
        "synthetic",
    ):
        assert words in card


def test_a_tiles_card_tells_how_far_an_ensembles_members_disagree(small_run: ShownRun) -> None:
    assert "disagreement" not in tile_card(small_run, 1)
    values = np.linspace(0.23, 0.41, len(small_run.table), dtype=np.float32)
    values[1] = 0.374
    tiles = replace(small_run.table, disagreement=values)
    shown = replace(small_run, stored=replace(small_run.stored, tiles=tiles))
    assert "members' disagreement 0.37 (0 to 1)" in tile_card(shown, 1)


def test_a_tiles_card_and_the_legend_tell_the_runs_own_figures(small_run: ShownRun) -> None:
    card = tile_card(small_run, 0)
    best = float(small_run.table.probabilities[0].max())
    assert f"{100 * best:.1f} %" in card
    assert "not calibrated" in card
    rows = class_rows(small_run)
    assert [row[0] for row in rows] == ["A", "B", "C"]
    assert sum(int(row[2][1]) for row in rows) == len(small_run.table)
    assert sum(float(row[2][0].rstrip(" %")) for row in rows) == pytest.approx(100, abs=0.3)
