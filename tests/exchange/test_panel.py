"""The panel's colours compare from tile to tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.exchange.panel import PanelCurves, PanelMap, PanelRow, curve_picture, method_scales, overlaid, write_panel

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TILE = np.full((32, 32, 3), 180, np.uint8)


def row(*maps: PanelMap) -> PanelRow:
    fractions = np.linspace(0, 1, 3)
    curves = tuple(
        PanelCurves(each.name, "blur", fractions, np.array([1, 0.4, 0.0]), np.array([0, 0.6, 1.0]), 0.45, 0.55)
        for each in maps
    )
    return PanelRow("tile <1>", "tumour", "97 %", TILE, maps, curves)


def grid(value: float) -> NDArray[np.float32]:
    return np.full((4, 4), value, np.float32)


def test_one_method_has_one_scale_for_all_tiles() -> None:
    scales = method_scales([row(PanelMap("a", "A", grid(8.0))), row(PanelMap("a", "A", grid(0.1)))])
    assert scales["a"] == pytest.approx(8)
    strong, faint = (overlaid(TILE, PanelMap("a", "A", grid(value)), scales["a"]) for value in (8.0, 0.1))
    assert int(strong[16, 16, 2]) < int(faint[16, 16, 2]) - 100


def test_a_map_without_evidence_divides_by_nothing() -> None:
    assert method_scales([row(PanelMap("a", "A", grid(0.0)))]) == {"a": 1.0}


def test_signed_maps_are_red_for_and_blue_against() -> None:
    red, blue = (overlaid(TILE, PanelMap("a", "A", grid(v), signed=True), 1.0)[16, 16].astype(int) for v in (1, -1))
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50


def test_curves_are_drawn_in_the_size_asked_for() -> None:
    picture = curve_picture(row(PanelMap("a", "A", grid(1))), 2.0, 1.5)
    assert picture.shape == (225, 300, 3)
    assert picture.min() < 100


def test_the_page_escapes_names_and_tells_every_method(tmp_path: Path) -> None:
    facts = {"passes": 33, "approximate": "32 clusters"}
    write_panel([row(PanelMap("a", "Score-CAM", grid(1), facts=facts))], tmp_path, title="<b>", left_out=2)
    page = (tmp_path / "panel.html").read_text(encoding="utf-8")
    assert "tile &lt;1&gt;" in page
    assert "<b>" not in page
    assert "approximate: 32 clusters" in page
    assert "2 more are in" in page
    assert (tmp_path / "panel.png").stat().st_size > 1000
