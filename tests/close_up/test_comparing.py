"""Several models look at the same tiles, and each one's maps are those that it shows alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.close_up import CloseUpSpec, TileChoice, compare_models, explain_tiles
from slidecam.errors import UsageError
from slidecam.models import open_bundle, save_bundle
from slidecam.steps import result_of

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.models import Card

SPEC = CloseUpSpec(methods=("gradcam++", "cam"), tiles=TileChoice(at=((3000, 2000), (1500, 1500))))


def copied(sample_data: Path, folder: Path, **changes: object) -> Path:
    """Save the toy bundle anew with another card."""
    bundle = open_bundle(sample_data / "bundle")
    card: Card = replace(bundle.card, **changes)  # type: ignore[arg-type]
    return save_bundle(folder, card, bundle.network()).path


def test_each_model_shows_what_it_shows_alone(sample_data: Path, tmp_path: Path) -> None:
    slide, first = sample_data / "slide.tif", sample_data / "bundle"
    other = copied(sample_data, tmp_path / "coarse", name="coarse", spacing=1.0)
    found = result_of(compare_models(slide, [first, other], tmp_path / "both", SPEC))
    name = open_bundle(first).card.name
    assert list(found) == [name, "coarse"]
    wanted = [found[name].classes[number] for number in range(2)]
    with np.load(tmp_path / "both" / "maps.npz") as both:
        for model, path in ((name, first), ("coarse", other)):
            classes = tuple(
                dict.fromkeys(
                    open_bundle(path).card.class_names[index] for row in wanted for index in row
                )
            )
            spec = replace(SPEC, classes=classes, curves=None)
            alone = result_of(explain_tiles(slide, path, tmp_path / model.replace(" ", "_"), spec))
            for number, (index,) in enumerate(wanted):
                place = alone.classes[number].index(index)
                expected = alone.maps["cam"][number][place]
                np.testing.assert_allclose(
                    both[f"{model}/cam/{number}"][0], expected, rtol=1e-4, atol=1e-4
                )
    record = json.loads((tmp_path / "both" / "explanation.json").read_text(encoding="utf-8"))
    assert list(record["models"]) == [name, "coarse"]
    assert {curve["method"].partition("/")[0] for curve in record["curves"]} == {name, "coarse"}
    one, other_boxes = (
        np.array([tile["box"] for tile in record["models"][model]["tiles"]])
        for model in (name, "coarse")
    )
    np.testing.assert_allclose(
        one[:, :2] + one[:, 2:] / 2, other_boxes[:, :2] + other_boxes[:, 2:] / 2, atol=1
    )


def test_a_class_that_one_model_does_not_know_is_refused_before_anything_is_written(
    sample_data: Path, tmp_path: Path
) -> None:
    names = tuple(
        f"other {number}"
        for number in range(len(open_bundle(sample_data / "bundle").card.class_names))
    )
    other = copied(sample_data, tmp_path / "other", name="other", class_names=names)
    with pytest.raises(UsageError, match="other has no class"):
        result_of(
            compare_models(
                sample_data / "slide.tif", [sample_data / "bundle", other], tmp_path / "out", SPEC
            )
        )
    assert not (tmp_path / "out").exists()


def test_one_bundle_named_twice_is_refused(sample_data: Path, tmp_path: Path) -> None:
    bundle = sample_data / "bundle"
    with pytest.raises(UsageError, match="named twice"):
        result_of(
            compare_models(sample_data / "slide.tif", [bundle, bundle], tmp_path / "out", SPEC)
        )
