"""What is shown and said on the overview of a finished run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from slidecam.models import open_bundle, save_bundle
from slidecam.prediction import pictures
from slidecam.prediction.pipeline import predict
from slidecam.reports.picture import OverviewFacts, OverviewHeat
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.runs.legend import OwnParts
    from slidecam.runs.tiles import TileTable

SMALL = PredictSpec(batch=8, workers=1)
Drawn = tuple[list[OverviewHeat], OverviewFacts]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Drawn]:
    """Return what would have been drawn, overview by overview."""
    told: list[Drawn] = []

    def listen(
        path: Path,
        _thumbnail: NDArray[np.uint8],
        _table: TileTable,
        _parts: OwnParts,
        heats: Sequence[OverviewHeat],
        facts: OverviewFacts,
    ) -> None:
        told.append((list(heats), facts))
        Image.new("RGB", (1, 1)).save(path)

    monkeypatch.setattr(pictures, "write_overview_png", listen)
    return told


@pytest.fixture
def slide(tmp_path: Path, write_slide: Callable[..., Path]) -> Path:
    return write_slide(tmp_path / "one.tif", 400, 300)


def run(slide: Path, bundle: Path, drawn: list[Drawn], spec: PredictSpec) -> Drawn:
    list(predict(slide, bundle, slide.parent / "out", spec))
    (only,) = drawn
    return only


def test_few_heatmaps_are_all_shown_each_with_colours_of_its_own(
    slide: Path, tiny_bundle: Path, drawn: list[Drawn]
) -> None:
    heats, facts = run(slide, tiny_bundle, drawn, replace(SMALL, heatmap="gradcam++,cam"))
    assert [(heat.title, heat.signed, heat.ticks) for heat in heats] == [
        ("Grad-CAM++", False, ("0", "0.5", "1")),
        ("CAM", True, ("-1", "0", "1")),
    ]
    assert facts.method == "Grad-CAM++, CAM"
    assert all(heat.label.endswith("share of the slide's scale") for heat in heats)
    assert {"Grad-CAM++", "CAM", "Probabilities"} <= {label for label, _value in facts.details}


def test_of_many_heatmaps_the_first_methods_are_shown(
    slide: Path, tiny_bundle: Path, drawn: list[Drawn]
) -> None:
    heats, facts = run(
        slide, tiny_bundle, drawn, replace(SMALL, heatmap="layercam,gradcam,hirescam,eigencam")
    )
    assert [heat.title for heat in heats] == ["Heatmap"]
    assert heats[0].label.startswith("LayerCAM")
    assert facts.method == "LayerCAM, Grad-CAM, HiResCAM, EigenCAM"


def test_a_fixed_scale_stands_at_the_colours(
    slide: Path, tiny_bundle: Path, drawn: list[Drawn]
) -> None:
    scales = {"gradcam": (0.5, 2.5), "cam": (-4.0, 4.0)}
    heats, _facts = run(
        slide, tiny_bundle, drawn, replace(SMALL, heatmap="gradcam,cam", heatmap_scale=scales)
    )
    assert [heat.ticks for heat in heats] == [("0.5", "1.5", "2.5"), ("-4", "0", "4")]
    assert all("fixed scale" in heat.label for heat in heats)


def test_a_class_that_no_tile_is_called_is_marked(
    slide: Path, tiny_bundle: Path, drawn: list[Drawn]
) -> None:
    heats, _facts = run(slide, tiny_bundle, drawn, replace(SMALL, heatmap="gradcam"))
    (heat,) = heats
    marked = [note == "not called" for note in heat.notes]
    assert len(marked) == 3
    assert not all(marked)
    faint = [float(np.nanmax(values)) < 1 for values in heat.values]
    assert all(is_faint for is_faint, is_marked in zip(faint, marked, strict=True) if is_marked)


def test_a_threshold_and_a_rival_are_told(
    slide: Path, tiny_bundle: Path, drawn: list[Drawn]
) -> None:
    spec = replace(
        SMALL, heatmap="dt-gradcam,finer-cam", heatmap_against="C", heatmap_threshold="quantile:0.9"
    )
    heats, facts = run(slide, tiny_bundle, drawn, spec)
    assert ("Threshold", "quantile:0.9 of the slide") in facts.details
    assert "against C" in heats[1].label


@pytest.mark.parametrize(
    ("temperature", "words"), [(1.0, "not calibrated"), (1.5, "calibrated (T = 1.5)")]
)
def test_calibration_is_told(
    slide: Path, tiny_bundle: Path, drawn: list[Drawn], temperature: float, words: str
) -> None:
    bundle = open_bundle(tiny_bundle)
    calibrated = save_bundle(
        slide.parent / "b", replace(bundle.card, temperature=temperature), bundle.network()
    )
    _heats, facts = run(slide, calibrated.path, drawn, SMALL)
    assert ("Probabilities", words) in facts.details


def test_a_picture_has_no_scale_bar_and_no_tissue(
    tmp_path: Path,
    tiny_bundle: Path,
    drawn: list[Drawn],
    noise: Callable[[int, int], NDArray[np.uint8]],
) -> None:
    bundle = open_bundle(tiny_bundle)
    whole = save_bundle(tmp_path / "b", replace(bundle.card, spacing=None), bundle.network())
    Image.fromarray(noise(200, 90)).save(tmp_path / "scan.png")
    heats, facts = run(tmp_path / "scan.png", whole.path, drawn, SMALL)
    assert (facts.spacing, facts.whole_picture) == (None, True)
    assert [label for label, _value in facts.details] == [
        "Tile", "Probabilities", "CAM", "Grad-CAM++"
    ]  # fmt: skip
    assert [heat.label for heat in heats] == ["CAM, share of the picture's scale"]
    assert facts.said[0].startswith("CAM shows what each place adds to the class's logit")
    assert "mostly activation" in facts.said[1]


@pytest.mark.parametrize("whole", [False, True])
def test_it_is_drawn_for_slides_and_pictures(
    slide: Path, tiny_bundle: Path, noise: Callable[[int, int], NDArray[np.uint8]], *, whole: bool
) -> None:
    bundle, source = open_bundle(tiny_bundle), slide
    if whole:
        bundle = save_bundle(
            slide.parent / "b", replace(bundle.card, spacing=None), bundle.network()
        )
        source = slide.with_name("scan.png")
        Image.fromarray(noise(200, 90)).save(source)
    list(
        predict(source, bundle.path, slide.parent / "out", replace(SMALL, heatmap="gradcam++,cam"))
    )
    with Image.open(slide.parent / "out" / source.stem / "overview.png") as picture:
        assert picture.width > 1000
