"""The overview can be drawn for any slide, and says what it shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from slidecam.drawing.pen import Pen
from slidecam.drawing.style import round_length
from slidecam.foreground.mask import whole_slide
from slidecam.geometry import Size, Spacing
from slidecam.reports import picture as picture_module
from slidecam.reports.picture import (
    OverviewFacts,
    OverviewHeat,
    plan_panels,
    write_overview_png,
)
from slidecam.runs.legend import own_parts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.runs.tiles import TileTable
    from tile_tables import TableMaker

NAN = float("nan")


class _ListeningPen(Pen):
    """A pen that remembers what it wrote."""

    said: list[str]

    def __init__(self, width: float, height: float) -> None:
        super().__init__(width, height)
        type(self).said = []

    def text(self, left: float, top: float, words: str, *rest: Any) -> None:
        self.said.append(words)
        super().text(left, top, words, *rest)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> type[_ListeningPen]:
    monkeypatch.setattr(picture_module, "Pen", _ListeningPen)
    return _ListeningPen


def facts(size: Size, **changes: Any) -> OverviewFacts:
    plain: dict[str, Any] = {
        "slide": "CMU-1",
        "model": "pocket",
        "method": "Grad-CAM++",
        "date": "2026-11-21",
        "spacing": Spacing(0.5, 0.5),
        "details": (("Tile", "224 px"),),
    }
    return OverviewFacts(size=size, **(plain | changes))


def heat(names: tuple[str, ...], size: Size, pitch: int = 50) -> OverviewHeat:
    shape = (len(names), -(-size.height // pitch), -(-size.width // pitch))
    return OverviewHeat(
        np.random.default_rng(0).random(shape, np.float32), pitch, names, "Grad-CAM++ (share)"
    )


def thumbnail(size: Size, longest: int = 120) -> NDArray[np.uint8]:
    shrink = max(size.width, size.height) / longest
    shape = max(1, round(size.height / shrink)), max(1, round(size.width / shrink)), 3
    return np.random.default_rng(0).integers(150, 255, shape, np.uint8)


def drawn(
    path: Path, table: TileTable, size: Size, with_heat: OverviewHeat | None, **changes: Any
) -> Size:
    write_overview_png(
        path,
        thumbnail(size),
        table,
        own_parts(table.boxes, 1000, whole_slide(Size(10_000, 10_000)), None),
        [with_heat] if with_heat else [],
        facts(size, **changes),
    )
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        return Size(*image.size)


@pytest.mark.parametrize(
    "size", [Size(1000, 800), Size(40_000, 900), Size(900, 40_000), Size(3, 2)]
)
@pytest.mark.parametrize("classes", [1, 4])
def test_any_slide_makes_a_sheet_that_fits_a_screen(
    size: Size, classes: int, make_table: TableMaker, tmp_path: Path
) -> None:
    table = make_table([[0.9, 0.1, 0, 0][:classes], [0.2, 0.8, 0, 0][:classes]])
    sheet = drawn(tmp_path / "o.png", table, size, heat(table.class_names, size))
    assert 1000 <= sheet.width <= 2900
    assert 600 <= sheet.height <= 1700


def test_the_picture_tells_its_subject(
    make_table: TableMaker, tmp_path: Path, said: type[_ListeningPen]
) -> None:
    size = Size(1000, 800)
    table = make_table(
        [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [NAN, NAN]], status=np.array([1, 1, 1, 2], np.uint8)
    )
    drawn(tmp_path / "o.png", table, size, heat(("Tumor", "Stroma"), size))
    assert {
        "CMU-1",
        "pocket   ·   Grad-CAM++   ·   2026-11-21",
        "Research use only. Not for diagnosis.",
    } <= {*said.said}
    assert {
        "Slide",
        "Classes",
        "Heatmap: Tumor",
        "Heatmap: Stroma",
        "Grad-CAM++ (share)",
        "100 µm",
    } <= {*said.said}
    assert {"3 tiles classified", "67 %", "33 %", "Could not be read", "Tile", "224 px"} <= {
        *said.said
    }


def test_a_white_slide_says_that_no_tissue_was_found(
    make_table: TableMaker, tmp_path: Path, said: type[_ListeningPen]
) -> None:
    one = make_table([[0.9, 0.1]])
    empty = replace(
        one, boxes=one.boxes[:0], status=one.status[:0], probabilities=one.probabilities[:0]
    )
    drawn(tmp_path / "o.png", empty, Size(1000, 800), None, method="")
    assert "No tissue found" in said.said
    assert "pocket   ·   2026-11-21" in said.said
    assert "HEATMAPS" not in said.said


def test_a_slide_of_unreadable_tiles_says_so(
    make_table: TableMaker, tmp_path: Path, said: type[_ListeningPen]
) -> None:
    table = make_table([[NAN, NAN]], status=np.array([2], np.uint8))
    drawn(tmp_path / "o.png", table, Size(1000, 800), None)
    assert "No tile classified" in said.said


def test_of_many_classes_the_frequent_ones_are_shown(
    make_table: TableMaker, tmp_path: Path, said: type[_ListeningPen]
) -> None:
    names = tuple(f"c{index:02}" for index in range(40))
    probabilities = np.eye(40, dtype=np.float32)[[*range(30, 40)] * 2 + [33, 35, 36, 38]]
    table = make_table(
        probabilities.tolist(), class_names=names, class_colors=tuple((i, i, i) for i in range(40))
    )
    drawn(tmp_path / "o.png", table, Size(2400, 800), heat(names, Size(2400, 800)))
    titles = [words for words in said.said if words.startswith("Heatmap: ")]
    assert titles == ["Heatmap: c33", "Heatmap: c35", "Heatmap: c36", "Heatmap: c38"]
    assert "32 other classes" in said.said


@pytest.mark.parametrize("name", ["$5 {x}_^2\\", "腫瘍 🔬", "x" * 500, "%s\n%d", ""])
def test_any_name_can_be_drawn(name: str, make_table: TableMaker, tmp_path: Path) -> None:
    table = make_table([[0.9, 0.1]], class_names=(name, "b"))
    drawn(
        tmp_path / "o.png", table, Size(1000, 800), heat((name, "b"), Size(1000, 800)), slide=name
    )


def test_drawing_leaves_matplotlibs_settings_alone_and_does_not_ask_them(
    make_table: TableMaker, tmp_path: Path
) -> None:
    table = make_table([[0.9, 0.1]])
    drawn(tmp_path / "a.png", table, Size(1000, 800), None)
    with mpl.rc_context({"text.usetex": True, "font.size": 30, "figure.facecolor": "red"}):
        before = dict(mpl.rcParams)
        drawn(tmp_path / "b.png", table, Size(1000, 800), None)
        assert dict(mpl.rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("count", "size", "grid"),
    [
        (2, Size(1000, 800), (1, 2)),
        (5, Size(20_000, 1000), (5, 1)),
        (5, Size(1000, 20_000), (1, 5)),
        (6, Size(1000, 800), (2, 3)),
        (3, Size(1000, 750), (1, 3)),
    ],
)
def test_panels_stand_where_they_are_large(count: int, size: Size, grid: tuple[int, int]) -> None:
    layout = plan_panels(count, size)
    assert (layout.rows, layout.columns) == grid


@pytest.mark.parametrize(
    ("longest", "length"), [(1, 1), (1.99, 1), (2, 2), (4.9, 2), (730, 500), (0.3, 0.2)]
)
def test_scale_bars_have_round_lengths(longest: float, length: float) -> None:
    assert round_length(longest) == pytest.approx(length)
