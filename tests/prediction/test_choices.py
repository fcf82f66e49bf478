"""A choice that a file leaves no room for is refused, or said, wherever it was made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.errors import MaskError, NothingToChooseError, RefusedSourceError, UsageError
from slidecam.models import open_bundle
from slidecam.prediction.choices import NO_VOLUME, open_seen, refuse_unfit
from slidecam.prediction.pipeline import predict
from slidecam.runs.record import RunRecord
from slidecam.runs.spec import PredictSpec
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def refuse(path: Path, bundle: Path, **options: Any) -> None:
    (found,) = find_slides((path,)).slides
    refuse_unfit(found, open_bundle(bundle).card, PredictSpec(**options))


def test_a_slide_has_no_volume_to_choose(
    tmp_path: Path, write_slide: Callable[..., Path], tiny_bundle: Path
) -> None:
    path = write_slide(tmp_path / "a.tif")
    with pytest.raises(NothingToChooseError, match=r"nothing to choose by --volume .*Leave"):
        open_seen(str(path), open_bundle(tiny_bundle).card, PredictSpec(volume="0"))


def test_the_axis_of_a_slide_is_said_to_be_without_effect_and_recorded(
    tmp_path: Path, write_slide: Callable[..., Path], tiny_bundle: Path
) -> None:
    path = write_slide(tmp_path / "a.tif")
    list(predict(path, tiny_bundle, tmp_path / "out", PredictSpec(axis="coronal", heatmap="none")))
    assert NO_VOLUME in RunRecord.read(tmp_path / "out" / "a").input.readings


def test_the_axis_of_a_volume_is_no_cause_for_a_word(
    tmp_path: Path, write_volume: Any, head: Any, slice_bundle: Path
) -> None:
    path = write_volume.nifti(tmp_path / "brain.nii.gz", head)
    card = open_bundle(slice_bundle).card
    with open_seen(str(path), card, PredictSpec(axis="coronal", volume="0")) as source:
        assert NO_VOLUME not in source.facts.readings
        assert source.facts.stack is not None
        assert source.facts.stack.axis == "coronal"


@pytest.mark.parametrize(
    ("options", "words"),
    [({"volume": "x"}, "--volume"), ({"plane": 2}, "--plane"), ({"image": "7"}, "no image '7'")],
)
def test_what_does_not_fit_a_slide_is_refused_before_it_runs(
    tmp_path: Path,
    write_slide: Callable[..., Path],
    tiny_bundle: Path,
    options: dict[str, Any],
    words: str,
) -> None:
    with pytest.raises(UsageError, match=words):
        refuse(write_slide(tmp_path / "a.tif"), tiny_bundle, **options)


def test_what_does_not_fit_a_volume_is_refused_before_it_runs(
    tmp_path: Path, write_volume: Any, head: Any, slice_bundle: Path
) -> None:
    path = write_volume.nifti(tmp_path / "brain.nii.gz", head)
    with pytest.raises(RefusedSourceError, match="no volume '3' among its 1"):
        refuse(path, slice_bundle, volume="3")
    with pytest.raises(NothingToChooseError, match="--plane"):
        refuse(path, slice_bundle, plane=2)
    drawn = tmp_path / "drawn.geojson"
    drawn.write_text("{}")
    with pytest.raises(MaskError):
        refuse(path, slice_bundle, mask=drawn)
    refuse(path, slice_bundle, volume="0", mask=path)


def area(edge: int) -> str:
    ring = [[edge, edge], [edge + 90, edge], [edge + 90, edge + 90], [edge, edge]]
    return json.dumps({"type": "Polygon", "coordinates": [ring]})


def test_a_mask_that_is_none_or_of_another_slide_is_refused_before_it_runs(
    tmp_path: Path, write_slide: Callable[..., Path], tiny_bundle: Path, slice_bundle: Path
) -> None:
    path, mask = write_slide(tmp_path / "a.tif"), tmp_path / "a.geojson"
    mask.write_text("[1, 2")
    with pytest.raises(MaskError):
        refuse(path, tiny_bundle, mask=mask)
    mask.write_text(area(9000))
    with pytest.raises(MaskError, match="none lies on the slide"):
        refuse(path, tiny_bundle, mask=mask)
    refuse(path, slice_bundle, mask=mask)  # which sees the whole slide: its run says so
    mask.write_text(area(100))
    refuse(path, tiny_bundle, mask=mask)
