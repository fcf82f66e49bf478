"""Predictions on slides against annotations.

Every figure by a slower way, and what is left out is told.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

from slidecam.errors import DataSetError, MaskError, UsageError
from slidecam.evaluation.slides import (
    SlideEvaluationSpec,
    evaluate_runs,
    evaluate_slides,
    write_slide_evaluation,
)
from slidecam.evaluation.slides.measuring import ClassifiedSlide, measure_slide
from slidecam.foreground import LabelRule
from slidecam.geometry import Size, Spacing
from slidecam.learning.data.dataset import group_digests
from slidecam.learning.intervals import IntervalSpec
from slidecam.models import Card, open_bundle, save_bundle
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.sources import open_source
from slidecam.sources.names import FoundSlide
from slidecam.steps import result_of
from tile_tables import read_tiles_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Rectangle = tuple[int, int, int, int]

QUICK = SlideEvaluationSpec(intervals=IntervalSpec(resamples=20))
CARD = Card(
    name="three",
    architecture="timm/resnet18",
    class_names=("A", "B", "C"),
    activation="softmax",
    tile_px=32,
    spacing=0.5,
    input_px=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def drawn(path: Path, areas: Mapping[str, Rectangle]) -> Path:
    """Write rectangles (left, top, right, bottom) of classes as QuPath would."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [corners(*sides)]},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": name, "color": [1, 2, 3]},
            },
        }
        for name, sides in areas.items()
    ]
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8"
    )
    return path


def corners(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def slide_of(
    logits: NDArray[np.float32], boxes: NDArray[np.int64], step: int, size: Size
) -> ClassifiedSlide:
    return ClassifiedSlide(
        slide=FoundSlide("s", "s.tif"),
        boxes=boxes,
        logits=logits,
        steps=(step, step),
        size=size,
        spacing=Spacing(0.5, 0.25),
        offset=(0.0, 0.0),
        failed=0,
        notes=(),
    )


def grid(size: Size, edge: int, step: int) -> NDArray[np.int64]:
    places = [
        (x, y)
        for y in range(0, size.height - edge + 1, step)
        for x in range(0, size.width - edge + 1, step)
    ]
    return np.array([(x, y, edge, edge) for x, y in places], np.int64)


def random_logits(count: int, classes: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).normal(size=(count, classes)).astype(np.float32)


@pytest.mark.parametrize("step", [32, 16])
def test_areas_are_those_of_counting_pixels(tmp_path: Path, step: int) -> None:
    size, areas = Size(200, 160), {"A": (5, 9, 71, 143), "C": (80, 3, 190, 77)}
    boxes = grid(size, 32, step)
    classified = slide_of(random_logits(len(boxes), 3), boxes, step, size)
    result, _tiles = measure_slide(
        classified, drawn(tmp_path / "s.geojson", areas), CARD, SlideEvaluationSpec()
    )
    predicted = np.full((size.height, size.width), -1)
    shift = (32 - step) // 2
    for (x, y, _width, _height), winner in zip(
        boxes.tolist(), classified.logits.argmax(axis=1), strict=True
    ):
        predicted[y + shift : y + shift + step, x + shift : x + shift + step] = winner
    assert result.areas is not None
    for row, name in enumerate("ABC"):
        truth = Image.new("1", (size.width, size.height))
        if name in areas:
            left, top, right, bottom = areas[name]
            ImageDraw.Draw(truth).rectangle((left, top, right - 1, bottom - 1), fill=1)
        mask = np.asarray(truth)
        counted = [int((mask & (predicted == column)).sum()) * 0.125 for column in range(3)]
        np.testing.assert_allclose(result.areas.areas[row], counted, atol=1e-6)
        np.testing.assert_allclose(
            result.areas.missed[row], (mask & (predicted < 0)).sum() * 0.125, atol=1e-6
        )


def test_tiles_are_labelled_by_the_rule(tmp_path: Path) -> None:
    size = Size(128, 64)
    boxes = grid(size, 32, 32)
    logits = np.zeros((8, 3), np.float32)
    logits[:, 1] = 1
    areas = {"A": (0, 0, 48, 32), "B": (64, 0, 128, 32), "Necrosis": (64, 32, 128, 64)}
    path = drawn(tmp_path / "s.geojson", areas)
    result, tiles = measure_slide(
        slide_of(logits, boxes, 32, size), path, CARD, SlideEvaluationSpec()
    )
    # Of the first row, one tile is A, one is half A, two are B; of the second, two are of a class
    # that is not known.
    assert result.tiles == {"A": 2, "B": 2, "C": 0}
    assert result.right == 2
    assert result.unannotated == 4
    assert tiles.labels.tolist() == [0, 0, 1, 1]
    assert tiles.names == ("s x=0 y=0", "s x=32 y=0", "s x=64 y=0", "s x=96 y=0")
    assert result.notes == ("s.geojson: not known to the classifier, and left out: Necrosis.",)
    strict = replace(SlideEvaluationSpec(), rule=LabelRule(min_share=0.9))
    assert measure_slide(slide_of(logits, boxes, 32, size), path, CARD, strict)[0].tiles == {
        "A": 1,
        "B": 2,
        "C": 0,
    }


def test_a_tile_that_an_unknown_class_shares_is_ambiguous(tmp_path: Path) -> None:
    boxes = np.array([[0, 0, 100, 100]], np.int64)
    classified = slide_of(np.zeros((1, 3), np.float32), boxes, 100, Size(100, 100))
    path = drawn(tmp_path / "s.geojson", {"A": (0, 0, 60, 100), "Necrosis": (60, 0, 100, 100)})
    assert measure_slide(classified, path, CARD, SlideEvaluationSpec())[0].ambiguous == 1


def test_overlapping_classes_are_told(tmp_path: Path) -> None:
    boxes = grid(Size(100, 100), 50, 50)
    classified = slide_of(np.zeros((4, 3), np.float32), boxes, 50, Size(100, 100))
    for right, told in ((100, True), (50, False)):
        path = drawn(tmp_path / "s.geojson", {"A": (0, 0, right, 100), "B": (50, 0, 100, 100)})
        notes = measure_slide(classified, path, CARD, SlideEvaluationSpec())[0].notes
        assert any("overlap" in note for note in notes) is told


def test_classes_are_renamed_to_the_classifiers(tmp_path: Path) -> None:
    classified = slide_of(
        np.zeros((1, 3), np.float32), np.array([[0, 0, 9, 9]], np.int64), 9, Size(9, 9)
    )
    path = drawn(tmp_path / "s.geojson", {"Tumor": (0, 0, 9, 9)})
    with pytest.raises(
        DataSetError, match=r"The areas' classes are Tumor, and three knows A, B, C.*--map Tumor=A"
    ):
        measure_slide(classified, path, CARD, SlideEvaluationSpec())
    renamed = SlideEvaluationSpec(renamed={"Tumor": "C"})
    assert measure_slide(classified, path, CARD, renamed)[0].tiles == {"A": 0, "B": 0, "C": 1}


def test_with_one_logit_every_other_class_is_its_absence(tmp_path: Path) -> None:
    card = replace(CARD, class_names=("Tumor",), class_colors=(), activation="sigmoid")
    assert card.classes.label_names() == ("not Tumor", "Tumor")
    boxes = grid(Size(96, 32), 32, 32)
    logits = np.array([[-1.0], [2.0], [0.0]], np.float32)
    chances = card.classes.probabilities(logits)
    assert card.classes.labels(chances).tolist() == [0, 1, 1]
    areas = {"Stroma": (0, 0, 16, 32), "Fat": (16, 0, 64, 32), "Tumor": (64, 0, 96, 32)}
    path = drawn(tmp_path / "s.geojson", areas)
    result, tiles = measure_slide(
        slide_of(logits, boxes, 32, Size(96, 32)), path, card, SlideEvaluationSpec()
    )
    assert tiles.labels.tolist() == [0, 0, 1]
    assert result.right == 2
    assert result.areas is not None
    assert result.areas.areas.tolist() == [[128, 128], [0, 128]]


def test_in_memory_and_from_disk_are_the_same_and_predicts(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slides, areas = tmp_path / "slides", tmp_path / "areas"
    slides.mkdir()
    areas.mkdir()
    for seed, name in enumerate("ab"):
        write_slide(slides / f"{name}.tif", seed=seed)
        drawn(areas / f"{name}.geojson", {"A": (0, 0, 320, 500), "B": (320, 0, 700, 256)})
    list(predict(slides, tiny_bundle, tmp_path / "out", PredictSpec(heatmap="none")))
    memory = result_of(evaluate_slides(tiny_bundle, [slides], areas, QUICK))
    disk = result_of(evaluate_runs(tiny_bundle, tmp_path / "out", areas, QUICK))
    for mine, theirs in zip(memory.slides, disk.slides, strict=True):
        assert (mine.tiles, mine.right) == (theirs.tiles, theirs.right)
        assert mine.areas is not None
        assert theirs.areas is not None
        np.testing.assert_array_equal(mine.areas.areas, theirs.areas.areas)
    assert memory.tiles.record() == disk.tiles.record()
    assert memory.is_whole
    assert memory.tiles.predictions.groups is not None
    assert set(memory.tiles.predictions.groups) == {"a", "b"}
    right = total = 0
    for name in "ab":
        table = read_tiles_csv(tmp_path / "out" / name / "tiles.csv")
        for (x, y, _width, _height), row in zip(
            table.boxes.tolist(), table.probabilities, strict=True
        ):
            if x + 64 <= 320 or y < 256:
                total += 1
                right += int(row.argmax()) == int(x >= 320)
    assert memory.tiles.confusion.sum() == total
    assert np.trace(memory.tiles.confusion) == right
    one = result_of(evaluate_runs(tiny_bundle, tmp_path / "out" / "a", areas, QUICK))
    assert [slide.slide for slide in one.slides] == ["a"]


def test_a_slide_that_the_classifier_has_learnt_from_is_told(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    bundle = open_bundle(tiny_bundle)
    card = replace(bundle.card, provenance={"data": {"learnt_from": group_digests(["old"])}})
    save_bundle(tmp_path / "taught", card, bundle.network())
    for name in ("old", "new"):
        slide = write_slide(tmp_path / f"{name}.tif", 300, 260)
        areas = drawn(tmp_path / f"{name}.geojson", {"A": (0, 0, 300, 260)})
        found = result_of(evaluate_slides(tmp_path / "taught", [slide], areas, QUICK)).slides[0]
        assert [note for note in found.notes if "has learnt from this slide" in note] == (
            [
                (
                    "old: the classifier has learnt from this slide or patient, so that these"
                    " figures flatter it."
                )
            ]
            if name == "old"
            else []
        )


def test_a_slide_that_was_learnt_from_is_known_under_another_name_and_left_out(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slides, areas = tmp_path / "slides", tmp_path / "areas"
    slides.mkdir()
    areas.mkdir()
    old = write_slide(tmp_path / "old.tif", 300, 260)
    (slides / "anew.tif").write_bytes(old.read_bytes())
    write_slide(slides / "other.tif", 340, 280)
    for name, width, height in (("anew", 300, 260), ("other", 340, 280)):
        drawn(areas / f"{name}.geojson", {"A": (0, 0, width, height)})
    bundle = open_bundle(tiny_bundle)
    with open_source(old) as source:
        fingerprint = source.facts.fingerprint
    ways: tuple[dict[str, object], ...] = (
        {"slide": "old", "slide_fingerprint": fingerprint},
        {"data": {"learnt_slides": [fingerprint]}},
        {"parent": {"provenance": {"data": {"learnt_slides": [fingerprint]}}}},
    )
    alone = result_of(evaluate_slides(tiny_bundle, [slides / "other.tif"], areas, QUICK))
    for number, provenance in enumerate(ways):
        taught = tmp_path / f"taught{number}"
        save_bundle(taught, replace(bundle.card, provenance=provenance), bundle.network())
        found = result_of(evaluate_slides(taught, [slides], areas, QUICK))
        assert [slide.is_left_out for slide in found.slides] == [True, False]
        assert found.slides[0].notes[-1] == (
            "anew: the classifier has learnt from this slide or patient, which is left out of the"
            " figures of all slides."
        )
        assert found.tiles.left_out == {"slides": 1}
        assert found.tiles.predictions.names == alone.tiles.predictions.names
        np.testing.assert_array_equal(found.areas.areas, alone.areas.areas)
        only = result_of(evaluate_slides(taught, [slides / "anew.tif"], areas, QUICK))
        assert only.slides[0].notes[-1].endswith("so that these figures flatter it.")
        assert only.slides[0].summary.endswith("tiles right; learnt from")


def test_the_toy_classifier_is_as_good_as_was_measured(sample_data: Path) -> None:
    work = evaluate_slides(
        sample_data / "bundle",
        [sample_data / "slide.tif"],
        sample_data / "annotations.geojson",
        QUICK,
    )
    found = result_of(work)
    assert found.tiles.figures["accuracy"].value is not None
    assert found.tiles.figures["accuracy"].value > 0.99
    assert found.areas.accuracy is not None
    assert 0.95 < found.areas.accuracy < 0.99  # tiles are coarser than the outlines
    assert found.slides[0].notes == ()


def test_a_slide_that_cannot_be_used_spoils_none_and_is_told(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slides, areas = tmp_path / "slides", tmp_path / "areas"
    slides.mkdir()
    areas.mkdir()
    write_slide(slides / "a.tif", 300, 260)
    write_slide(slides / "none.tif", 300, 260)
    (slides / "broken.tif").write_bytes(b"no slide")
    for name in ("a", "broken"):
        drawn(areas / f"{name}.geojson", {"A": (0, 0, 300, 260)})
    steps = []
    work = evaluate_slides(tiny_bundle, [slides], areas, QUICK)
    while True:
        try:
            steps.append(next(work))
        except StopIteration as end:
            found = end.value
            break
    assert "none has no annotations and was passed over." in [step.message for step in steps]
    assert [bool(slide.problem) for slide in found.slides] == [False, True]
    assert not found.is_whole
    write_slide_evaluation(found, tmp_path / "out", "tiny")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "evaluation.json",
        "evaluation.html",
        "predictions.csv",
        "slides.json",
        "slides.html",
    } <= names
    record = json.loads((tmp_path / "out" / "slides.json").read_text(encoding="utf-8"))
    assert record["accuracy"]["value"] == found.tiles.figures["accuracy"].value
    assert record["slides"][1]["problem"]
    page = (tmp_path / "out" / "slides.html").read_text(encoding="utf-8")
    assert "called A" in page
    assert "not used" in page


def test_what_cannot_be_evaluated_is_refused(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif", 300, 260)
    path = drawn(tmp_path / "a.geojson", {"A": (100, 100, 110, 110)})
    with pytest.raises(DataSetError, match="No tile of any slide has a class"):
        result_of(evaluate_slides(tiny_bundle, [slide], path, QUICK))
    with pytest.raises(UsageError, match="There is no run of slidecam predict here"):
        result_of(evaluate_runs(tiny_bundle, tmp_path, path, QUICK))
    outside = drawn(tmp_path / "b.geojson", {"A": (9000, 100, 9010, 110)})
    with pytest.raises((DataSetError, MaskError), match="none lies on the slide"):
        result_of(evaluate_slides(tiny_bundle, [slide], outside, QUICK))


def test_a_run_of_another_bundle_is_refused(
    tmp_path: Path, tiny_bundle: Path, sample_data: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif", 300, 260)
    list(predict(slide, tiny_bundle, tmp_path / "out", PredictSpec(heatmap="none")))
    path = drawn(tmp_path / "a.geojson", {"A": (0, 0, 300, 260)})
    with pytest.raises(DataSetError, match="made by another bundle"):
        result_of(evaluate_runs(sample_data / "bundle", tmp_path / "out", path, QUICK))


def test_a_classifier_of_whole_pictures_is_refused(tmp_path: Path, tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    whole = save_bundle(
        tmp_path / "whole", replace(bundle.card, spacing=None), bundle.network()
    ).path
    (tmp_path / "a.tif").touch()
    path = drawn(tmp_path / "a.geojson", {"A": (0, 0, 9, 9)})
    with pytest.raises(UsageError, match="sees whole pictures"):
        result_of(evaluate_slides(whole, [tmp_path / "a.tif"], path, QUICK))


def test_a_replaced_slide_of_a_run_is_told_with_what_evaluate_can_do_about_it(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif", 300, 260)
    list(predict(slide, tiny_bundle, tmp_path / "out", PredictSpec(heatmap="none")))
    write_slide(slide, 300, 260, seed=9)
    path = drawn(tmp_path / "a.geojson", {"A": (0, 0, 300, 260)})
    with pytest.raises(DataSetError, match="is not the slide that was classified") as told:
        result_of(evaluate_runs(tiny_bundle, tmp_path / "out", path, QUICK))
    assert "--slide" not in str(told.value)
    assert "Put that slide back" in told.value.problem
    assert told.value.remedy
