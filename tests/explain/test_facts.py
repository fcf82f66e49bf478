"""Facts of several tiles hide none of them."""

from __future__ import annotations

import pytest

from slidecam.explain.catalogue import CATALOGUE
from slidecam.explain.facts import (
    Spread,
    facts_in_words,
    facts_of_tiles,
    facts_record,
    least_scale,
    map_note,
    shown_by,
    tile_notes,
    unit_of,
)

TILES = (
    {"seed": 3, "explained variance": 0.71, "completeness gap": 0.02, "thresholds": [[0.4]]},
    {"seed": 3, "explained variance": 0.13, "completeness gap": 0.31, "thresholds": [[0.9]]},
    {"seed": 3, "explained variance": 0.55, "completeness gap": 0.07, "thresholds": [[0.2]]},
)


def test_the_worst_stands_beside_the_typical_and_lists_keep_every_tile() -> None:
    assert facts_of_tiles(TILES) == {
        "seed": 3,
        "explained variance": Spread(0.13, 0.55),
        "completeness gap": Spread(0.31, 0.07),
        "thresholds": [[[0.4]], [[0.9]], [[0.2]]],
    }


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_which_tile_comes_last_changes_nothing(order: tuple[int, ...]) -> None:
    record = facts_record(facts_of_tiles([TILES[place] for place in order]))
    assert (record["explained variance"], record["typical explained variance"]) == (0.13, 0.55)
    assert (record["completeness gap"], record["typical completeness gap"]) == (0.31, 0.07)


def test_facts_of_one_tile_are_its_own() -> None:
    assert facts_record(facts_of_tiles(TILES[:1])) == TILES[0]


def test_a_tile_that_could_not_be_measured_leaves_the_others() -> None:
    facts = facts_of_tiles([{"lowest": None}, {"lowest": 0.8}, {"lowest": 0.6}])
    assert facts == {"lowest": Spread(0.6, 0.7)}


def test_people_read_which_is_which() -> None:
    assert facts_in_words({"seed": 3, "explained variance": Spread(0.131313, 0.55)}) == (
        "seed: 3, explained variance: 0.1313 at worst, 0.55 typically"
    )


def test_every_method_says_what_its_maps_show_and_their_unit_in_one_sentence() -> None:
    for name, method in CATALOGUE.items():
        words = shown_by(name, {"target": "probability"})
        assert words.startswith(f"{method.title} shows ")
        assert words.endswith(f"({unit_of(name, {'target': 'probability'})}).")
        assert words.count(".") == 1 or name == "finer-cam"
    assert shown_by("somebody-elses") == ""
    assert unit_of("lime", {"target": "logit"}) == "logits"
    assert unit_of("lime", {"target": "probability"}) == "probability"


@pytest.mark.parametrize(
    ("unit", "peak", "places", "little"),
    [
        ("probability", 0.0099, 1, True),
        ("probability", 0.0101, 49, False),
        # A logit moves a probability by a quarter at most: p (1 - p) at one half.
        ("logits", 0.0399, 49, True),
        ("logits", 0.0401, 49, False),
        # Shares of a sum: all places together may hold so much.
        ("logits per place", 0.0399 / 49, 49, True),
        ("logits per place", 0.0401 / 49, 49, False),
        ("no unit", 1e-9, 49, False),
    ],
)
def test_less_than_a_hundredth_of_probability_is_almost_nothing(
    unit: str, peak: float, places: int, *, little: bool
) -> None:
    note = map_note("lime", unit, peak, places)
    assert note.startswith("almost nothing") is little
    assert bool(note) is little


def test_a_surrogate_that_explains_little_says_so_beside_the_range() -> None:
    facts = {"target": "probability", "explained variance": 0.4683}
    assert tile_notes("lime", facts, 5.2e-5, 38) == (
        "almost nothing: at most 0.005 % of probability",
        "explains 47 % only: its linear model fits badly",
    )
    assert tile_notes("lime", {"target": "logit", "explained variance": 0.93}, 3.8, 38) == ()


@pytest.mark.parametrize(
    ("unit", "places", "least"),
    [
        ("probability", 9, 0.01),
        ("logits", 9, 0.04),
        ("logits per pixel", 8, 0.005),
        ("no unit", 9, 0),
    ],
)
def test_colours_begin_where_something_is_to_be_seen(unit: str, places: int, least: float) -> None:
    assert least_scale(unit, places) == pytest.approx(least)


def test_an_empty_map_says_why() -> None:
    assert "what speaks against it is not shown" in map_note("gradcam++", "no unit", 0.0, 49)
    assert map_note("cam", "logits", 0.0, 49) == "empty: no place has a say"
