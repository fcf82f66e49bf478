"""A classifier is known to have learnt from a slide, though no slide's name is in its bundle."""

from __future__ import annotations

import json

from slidecam.learning.data.dataset import LEARNT_FROM, group_digests, has_learnt_from


def provenance(*groups: str) -> dict[str, object]:
    return {"data": {LEARNT_FROM: group_digests(groups)}}


def test_a_slide_that_was_learnt_from_is_known_and_named_nowhere() -> None:
    told = provenance("Müller 7", "b")
    assert has_learnt_from(told, "Müller 7")
    assert not has_learnt_from(told, "Müller 8")
    assert "ller" not in json.dumps(told)


def test_a_patients_slides_are_known_by_how_their_names_begin() -> None:
    assert has_learnt_from(provenance("P1"), "P1_block-2")
    assert not has_learnt_from(provenance("P1"), "P12_block-2")
    assert not has_learnt_from(provenance("block"), "P1_block-2")


def test_what_the_bundle_was_made_from_counts_too() -> None:
    tuned = {"slide": "new", "parent": {"name": "a", "provenance": provenance("old")}}
    assert has_learnt_from(tuned, "new")
    assert has_learnt_from(tuned, "old")
    assert not has_learnt_from(tuned, "other")


def test_a_bundle_that_tells_nothing_is_taken_at_its_word() -> None:
    assert not has_learnt_from({}, "a")
    assert not has_learnt_from({"data": {LEARNT_FROM: None}, "parent": "b"}, "a")
