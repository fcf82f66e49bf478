"""What a card says of volumes: read, written back, refused where it is impossible; and pooling."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slidecam.errors import CardError
from slidecam.models.card import card_text, read_card
from slidecam.models.card_parts import Pooling, VolumeCard
from slidecam.viewing import Window

if TYPE_CHECKING:
    from pathlib import Path


def card_with(volume: Any, slice_bundle: Path, folder: Path, **others: Any) -> Path:
    card = json.loads((slice_bundle / "card.json").read_text()) | {"volume": volume} | others
    path = folder / "card.json"
    path.write_text(json.dumps(card))
    return path


def test_a_card_that_says_nothing_of_volumes_has_none(slice_bundle: Path) -> None:
    card = read_card(slice_bundle / "card.json")
    assert card.volume is None
    assert "volume" not in json.loads(card_text(card))


def test_what_a_card_says_of_volumes_comes_back(slice_bundle: Path, tmp_path: Path) -> None:
    said = {
        "axis": "coronal",
        "slices": 3,
        "window": {"kind": "fixed", "low": -50.0, "high": 350.0},
        "pooling": {"kind": "top-k", "k": 7, "negative": "plain"},
        "caveat": "Measured on one volume.",
    }
    card = read_card(card_with(said, slice_bundle, tmp_path))
    pooling = Pooling("top-k", 7, "plain")
    assert card.volume == VolumeCard(
        "coronal", 3, Window("fixed", -50, 350), pooling, "Measured on one volume."
    )
    assert json.loads(card_text(card))["volume"] == said
    assert "volume" not in card.extra


def test_what_is_left_out_has_its_defaults(slice_bundle: Path, tmp_path: Path) -> None:
    assert read_card(card_with({}, slice_bundle, tmp_path)).volume == VolumeCard()
    zscore = read_card(card_with({"window": {"kind": "zscore"}}, slice_bundle, tmp_path)).volume
    assert zscore is not None
    assert zscore.window == Window("zscore", -2, 2)


@pytest.mark.parametrize(
    ("volume", "says"),
    [
        ("axial", r'"volume" is "axial" .* Write {"axis": …, "slices": …, "window": …, '),
        ({"axis": "oblique"}, r'volume.axis" is "oblique".*"axial", "coronal", "sagittal"'),
        ({"slices": 2}, r'"volume.slices" is 2 .* an odd number of slices'),
        ({"slices": -1}, r'"volume.slices" is -1 .* an odd number of slices'),
        ({"slice": 3}, r'"volume.slice" is not known .* Did you mean slices'),
        ({"slices": 1.5}, r'"volume.slices" is 1.5 .* an odd number of slices'),
        ({"window": {"kind": "loud"}}, r'window.kind.* is "loud".*"percentile", "zscore", "fixed"'),
        ({"window": {"low": 2}}, r'"volume.window.kind" is missing'),
        ({"window": {"kind": "fixed", "low": 5, "high": 5}}, r": a window .*5.0 shows nothing \("),
        ({"window": {"kind": "fixed", "low": 3}}, r'"volume.window.high" is missing'),
        ({"window": None}, r'"volume.window" is null .* Write {"kind": …, "low": …, "high": …}'),
        ({"pooling": {}}, r'"volume.pooling.kind" is missing'),
        ({"pooling": {"kind": "median"}}, r'"median".*"mean", "top-k", "max"'),
        ({"pooling": {"kind": "top-k", "k": 0}}, r"pooling.k.* is 0"),
        (
            {"pooling": {"kind": "max", "negative": "c"}},
            r'negative" is "c", .* none of its classes',
        ),
    ],
)
def test_an_impossible_card_is_refused_with_a_remedy(
    slice_bundle: Path, tmp_path: Path, volume: Any, says: str
) -> None:
    with pytest.raises(CardError, match=says):
        read_card(card_with(volume, slice_bundle, tmp_path))


def test_millimetres_are_believed_of_volumes_alone(slice_bundle: Path, tmp_path: Path) -> None:
    assert read_card(card_with({}, slice_bundle, tmp_path, spacing_um_px=1000)).spacing == 1000
    with pytest.raises(CardError, match=r"outside 0\.05 to 20"):
        read_card(card_with(None, slice_bundle, tmp_path, spacing_um_px=1000))


NAMES = ("a", "b")


def test_pooling_is_what_it_is_called() -> None:
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan], [0.4, 0.6]], np.float32)

    def pooled(pooling: Pooling, *, exclusive: bool) -> Any:
        return pytest.approx(pooling.pool(chances, NAMES, exclusive=exclusive).tolist(), abs=1e-6)

    assert pooled(Pooling(), exclusive=True) == [0.5, 0.5]
    assert pooled(Pooling("max"), exclusive=False) == [0.9, 0.8]
    assert pooled(Pooling("max"), exclusive=True) == [0.9 / 1.7, 0.8 / 1.7]
    assert pooled(Pooling("top-k", 2), exclusive=False) == [0.65, 0.7]
    assert pooled(Pooling("top-k", 99), exclusive=False) == [0.5, 0.5]
    either = [1 - 0.1 * 0.8 * 0.6, 1 - 0.9 * 0.2 * 0.4]
    assert pooled(Pooling("noisy-or"), exclusive=False) == either
    assert pooled(Pooling("noisy-or"), exclusive=True) == [each / sum(either) for each in either]
    assert np.isnan(Pooling().pool(chances[2:3], NAMES, exclusive=True)).all()


def test_a_finding_on_few_slices_is_not_outvoted_by_the_slices_without_one() -> None:
    names = ("cyst", "nothing", "mass")
    chances = np.array([[0.03, 0.93, 0.04]] * 37 + [[0.1, 0.2, 0.7], [0.3, 0.1, 0.6]], np.float32)
    mean = Pooling("mean", negative="nothing").pool(chances, names, exclusive=True)
    np.testing.assert_allclose(mean, chances.mean(axis=0), atol=1e-6)
    top = Pooling("top-k", 2, "nothing").pool(chances, names, exclusive=True)
    np.testing.assert_allclose(top, [0.2, 0.15, 0.65], atol=1e-6)
    most = Pooling("max", negative="nothing").pool(chances, names, exclusive=True)
    np.testing.assert_allclose(most, [0.3, 0.1, 0.6], atol=1e-6)
    either = Pooling("noisy-or", negative="nothing").pool(chances[-2:], names, exclusive=True)
    cyst, mass = 1 - 0.9 * 0.7, 1 - 0.3 * 0.4
    left = 1 - 0.2 * 0.1
    expected = [left * cyst / (cyst + mass), 0.2 * 0.1, left * mass / (cyst + mass)]
    np.testing.assert_allclose(either, expected, atol=1e-6)


def test_slices_that_are_sure_leave_numbers_and_no_warnings() -> None:
    sure = np.array([[1.0, 0.0]] * 700, np.float32)
    for negative in ("", "a", "b"):
        pooled = Pooling("noisy-or", negative=negative).pool(sure, NAMES, exclusive=True)
        assert pooled.tolist() == [1.0, 0.0]


def test_pooling_says_which_class_is_no_finding() -> None:
    assert str(Pooling("top-k", 3, "no tumour")) == (
        "mean of the 3 slices that are least no tumour"
    )
    assert str(Pooling("max", negative="no tumour")) == "the slice that is least no tumour"
    assert str(Pooling("noisy-or")) == "noisy-or over the classified slices"
