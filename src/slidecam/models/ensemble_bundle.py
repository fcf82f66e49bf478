"""The card and the weights of an ensemble, of its members' bundles; see `models.ensemble`."""

from __future__ import annotations

from dataclasses import replace
from statistics import harmonic_mean
from typing import TYPE_CHECKING

import torch

from slidecam.errors import BundleError
from slidecam.models.architectures import ENSEMBLE
from slidecam.models.card_parts import MapEvidence
from slidecam.models.ensemble import BIASES, MEMBER, TEMPERATURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from slidecam.models.bundle import Bundle
    from slidecam.models.card import Card


def ensemble_of(bundles: Sequence[Bundle], name: str) -> tuple[Card, Iterator[tuple[str, Tensor]]]:
    """Return the card of bundles' ensemble, and its weights, member by member.

    Its provenance holds the members' and nothing of its own: whoever makes it knows more.

    Raises
    ------
    BundleError
        If there is none, or they differ in what they are given or in what they call.
    """
    first = bundles[0].card
    for bundle in bundles:
        if _kind(bundle.card) != _kind(first):
            raise BundleError(
                bundle.path,
                f"it is no network of the kind of {bundles[0].path}.",
                "Join folds of one training.",
            )
    temperatures = [each.card.temperature for each in bundles]
    arguments: dict[str, object] = {
        **first.architecture_args,
        MEMBER: first.architecture,
        TEMPERATURES: temperatures,
    }
    none = (0.0,) * len(first.class_names)
    biases: list[list[float]] = []
    for bundle in bundles:
        own = bundle.card.class_biases
        biases.append(list(own or none))
    mean_biases: tuple[float, ...] = ()
    if any(map(any, biases)):
        arguments[BIASES] = biases
        values = torch.tensor(biases).double()
        mean_biases = tuple(values.mean(0).tolist())
    card = replace(
        first,
        name=name,
        architecture=ENSEMBLE,
        architecture_args=arguments,
        temperature=harmonic_mean(temperatures),
        class_biases=mean_biases,
        calibrated_on=sum(each.card.calibrated_on for each in bundles),
        provenance={"members": [each.as_parent for each in bundles]},
        heatmap_evidence=_evidence([each.card for each in bundles]),
    )
    return card, _weights(bundles)


def _kind(card: Card) -> Card:
    """Return a card without what is each training's own."""
    return replace(
        card,
        name="",
        temperature=1.0,
        class_biases=(),
        calibrated_on=0,
        provenance={},
        heatmap_evidence=None,
        weights_sha256="",
    )


def _weights(bundles: Sequence[Bundle]) -> Iterator[tuple[str, Tensor]]:
    for number, bundle in enumerate(bundles):
        state = bundle.network().state_dict()
        for name, tensor in state.items():
            yield f"members.{number}.{name}", tensor


def _evidence(cards: Sequence[Card]) -> MapEvidence | None:
    """Return what was measured of the members' maps, added up; None where of one there is none."""
    first = cards[0].heatmap_evidence
    if first is None:
        return None
    judged = dict(first.methods)
    for card in cards[1:]:
        own = card.heatmap_evidence
        if own is None:
            return None
        for name in [*judged]:
            if name in own.methods:
                judged[name] = judged[name].and_that(own.methods[name])
            else:
                del judged[name]
    count = len(cards)
    on = f"each of {count} members by itself, {first.on} of the first"
    return MapEvidence(on, first.explained, judged)
