"""The panel's colours compare from tile to tile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from slidecam.reports.panel import EDGE, curve_picture, draw_panel, lines_of, write_panel
from slidecam.reports.panel_rows import (
    PanelCurves,
    PanelMap,
    PanelRow,
    method_scales,
    overlaid,
    scale_ends,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TILE = np.full((32, 32, 3), 180, np.uint8)


def row(*maps: PanelMap) -> PanelRow:
    fractions = np.linspace(0, 1, 3)
    curves = tuple(
        PanelCurves(
            each.name,
            "blur",
            fractions,
            np.array([1, 0.4, 0.0]),
            np.array([0, 0.6, 1.0]),
            0.45,
            0.55,
        )
        for each in maps
    )
    return PanelRow("tile <1>", "tumour", ("97 %",), TILE, maps, curves)


def grid(value: float) -> NDArray[np.float32]:
    return np.full((4, 4), value, np.float32)


def test_one_method_has_one_scale_for_all_tiles() -> None:
    scales = method_scales([row(PanelMap("a", "A", grid(8.0))), row(PanelMap("a", "A", grid(0.1)))])
    assert scales["a"] == pytest.approx(8)
    strong, faint = (
        overlaid(TILE, PanelMap("a", "A", grid(value)), scales["a"]) for value in (8.0, 0.1)
    )
    assert int(strong[16, 16, 2]) < int(faint[16, 16, 2]) - 100


def test_what_is_almost_nothing_is_painted_faint_and_has_its_unit_and_note(tmp_path: Path) -> None:
    small = PanelMap(
        "lime", "LIME", grid(5.2e-5), signed=True, unit="probability", least=0.01,
        notes=("almost nothing: at most 0.005 % of probability",),
    )  # fmt: skip
    shown = row(small)
    scales = method_scales([shown])
    assert scales == {"lime": 0.01}
    bare = overlaid(TILE, replace(small, values=grid(0.0)), scales["lime"]).astype(int)
    assert np.abs(overlaid(TILE, small, scales["lime"]) - bare).max() <= 4
    full = overlaid(TILE, replace(small, values=grid(0.01)), scales["lime"])
    assert np.abs(full - bare).max() > 60
    write_panel([shown], tmp_path, title="t")
    page = (tmp_path / "panel.html").read_text()
    assert "-0.01 … 0.01 probability" in page
    assert "almost nothing: at most 0.005 % of probability" in page
    with Image.open(tmp_path / "panel.png") as picture:
        said = str(picture.info["Description"])
    assert "LIME of tumour, tile <1>: almost nothing: at most 0.005 % of probability." in said


def test_a_map_without_evidence_divides_by_nothing() -> None:
    assert method_scales([row(PanelMap("a", "A", grid(0.0)))]) == {"a": 1.0}


def test_signed_maps_are_red_for_and_blue_against() -> None:
    red, blue = (
        overlaid(TILE, PanelMap("a", "A", grid(v), signed=True), 1.0)[16, 16].astype(int)
        for v in (1, -1)
    )
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50


def test_maps_that_do_not_fit_beside_a_tile_are_wrapped_a_models_own_together() -> None:
    assert lines_of([""] * 6) == [range(6)]
    assert lines_of([""] * 7) == [range(4), range(4, 7)]
    assert lines_of(["a", "a", "a", "b", "b", "b", "b"]) == [range(3), range(3, 7)]


def test_a_sheet_grows_down_with_the_lines_of_maps_and_never_beyond_seven_columns() -> None:
    few, many = (
        [row(*(PanelMap(f"m{n}", f"M{n}", grid(1)) for n in range(count)))] for count in (6, 24)
    )
    wide, high = (draw_panel(rows, method_scales(rows), "t") for rows in (few, many))
    assert high.width == wide.width
    assert high.height > wide.height + 3 * EDGE


@pytest.mark.parametrize(
    ("top", "signed", "ends"),
    [
        (982.4, False, ("0", "982")),
        (1234.5, True, ("-1,234", "1,234")),
        (0.09512, False, ("0", "0.0951")),
    ],
)
def test_a_scale_is_told_in_plain_figures(
    top: float, ends: tuple[str, str], *, signed: bool
) -> None:
    assert scale_ends(PanelMap("a", "A", grid(1), signed=signed), top) == ends


def test_a_model_stands_above_its_methods(tmp_path: Path) -> None:
    maps = [PanelMap(f"{model}/cam", "CAM", grid(1), model=model) for model in ("one $5", "two")]
    write_panel(
        [replace(row(*maps), captions=("one $5: 97 %", "two: 12 %"))], tmp_path, title="both"
    )
    page = (tmp_path / "panel.html").read_text(encoding="utf-8")
    assert "two: CAM" in page
    assert "one $5: 97 %<br>two: 12 %" in page


def test_curves_are_drawn_in_the_size_asked_for() -> None:
    picture = curve_picture(row(PanelMap("a", "A", grid(1))), 2.0, 1.5)
    assert picture.shape == (225, 300, 3)
    assert picture.min() < 100


def test_the_page_escapes_names_and_tells_every_method(tmp_path: Path) -> None:
    facts = {"passes": 33, "approximate": "32 clusters"}
    only = row(PanelMap("a", "Score-CAM", grid(1), facts=facts))
    write_panel([only], tmp_path, title="<b>", left_out=2, notes=("Image 2 <of 3> is read.",))
    page = (tmp_path / "panel.html").read_text(encoding="utf-8")
    assert "tile &lt;1&gt;" in page
    assert "<b>" not in page
    assert "approximate: 32 clusters" in page
    assert "Image 2 &lt;of 3&gt; is read." in page
    assert "2 more are in" in page
    assert (tmp_path / "panel.png").stat().st_size > 1000
