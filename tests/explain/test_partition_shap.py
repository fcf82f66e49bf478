"""Partition SHAP adds up exactly, equals Owen values by their definition, and shap's own."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from slidecam.errors import ExplanationError
from slidecam.explain.method_settings import PartitionShapSpec
from slidecam.explain.partition_shap import PartitionShap, Rectangle
from slidecam.models import Card, Classifier, classifier_for
from slidecam.models.classifier import normalised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

EDGE = 4


class Entangled(nn.Module):
    """Logits in which cells act together, so that their shares depend on the order of showing."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn((3, EDGE * EDGE), generator=draw))
        self.pairs = nn.Parameter(torch.randn((3, EDGE * EDGE, EDGE * EDGE), generator=draw))

    def forward(self, pixels: Tensor) -> Tensor:
        cells = pixels.mean(1).flatten(1)
        return cells @ self.weight.T + torch.einsum("bi,kij,bj->bk", cells, self.pairs, cells)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    card = Card(
        name="entangled",
        architecture="slidecam/test",
        class_names=("A", "B", "C"),
        activation="softmax",
        tile_px=EDGE,
        spacing=None,
        input_px=EDGE,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    return classifier_for(Entangled(), card, torch.device("cpu"))


@pytest.fixture
def tile() -> Tensor:
    return torch.randint(
        0, 256, (1, EDGE, EDGE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4)
    )


def orders(place: Rectangle) -> Iterator[list[tuple[int, int]]]:
    """Every order of uncovering cells in which a rectangle's halves follow each other whole."""
    if place.size == 1:
        yield [(place.top, place.left)]
        return
    one, other = (list(orders(half)) for half in place.halves())
    for first, second in product(one, other):
        yield first + second
        yield second + first


@pytest.mark.parametrize(
    ("place", "halves"),
    [
        ((0, 4, 4, 8), ((0, 4, 4, 6), (0, 4, 6, 8))),
        ((2, 5, 1, 8), ((2, 5, 1, 4), (2, 5, 4, 8))),
        ((2, 9, 1, 4), ((2, 5, 1, 4), (5, 9, 1, 4))),
        ((3, 4, 7, 9), ((3, 4, 7, 8), (3, 4, 8, 9))),
    ],
)
def test_the_longer_side_is_halved_and_a_square_into_left_and_right(
    place: tuple[int, int, int, int], halves: tuple[tuple[int, int, int, int], ...]
) -> None:
    assert Rectangle(*place).halves() == halves


def test_shares_are_owen_values_by_their_definition(classifier: Classifier, tile: Tensor) -> None:
    found = PartitionShap(
        classifier, PartitionShapSpec(cells=2, evaluations=1000, baseline="zero")
    ).explain(tile, [0, 2])
    picture = normalised(tile, classifier.card)[0]
    total, count = torch.zeros(3, 2, 2), 0
    for order in orders(Rectangle(0, 2, 0, 2)):
        shown, before = (
            torch.zeros_like(picture),
            classifier.logits_of(torch.zeros(1, 3, EDGE, EDGE))[0],
        )
        for row, column in order:
            cell = (slice(None), slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
            shown[cell] = picture[cell]
            after = classifier.logits_of(shown[None])[0]
            total[:, row, column] += after - before
            before = after
        count += 1
    assert count == 8
    torch.testing.assert_close(found.maps[0], (total / count)[[0, 2]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("evaluations", [2, 5, 40, 300])
def test_shares_add_up_to_the_gain_whatever_the_budget(
    classifier: Classifier, tile: Tensor, evaluations: int
) -> None:
    spec = PartitionShapSpec(cells=4, evaluations=evaluations, baseline="zero")
    found = PartitionShap(classifier, spec).explain(tile, [0, 1, 2])
    gain = found.logits[0] - classifier.logits_of(torch.zeros(1, 3, EDGE, EDGE))[0]
    torch.testing.assert_close(found.maps[0].sum((1, 2)), gain, rtol=1e-4, atol=1e-4)
    assert found.facts["completeness gap"] < 1e-4


def test_the_budget_is_kept(classifier: Classifier, tile: Tensor) -> None:
    steps = list(
        PartitionShap(classifier, PartitionShapSpec(cells=4, evaluations=41)).steps(tile, [0])
    )
    assert steps[-1].done <= 41
    assert steps[-1].done >= 40
    assert steps[-1].total == 41


def test_a_class_has_one_answer_whatever_other_classes_are_asked_for(
    classifier: Classifier, tile: Tensor
) -> None:
    explainer = PartitionShap(classifier, PartitionShapSpec(cells=4, evaluations=30))
    torch.testing.assert_close(
        explainer.explain(tile, [1]).maps, explainer.explain(tile, [0, 1]).maps[:, 1:]
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_shares_equal_those_of_shap(classifier: Classifier, tile: Tensor) -> None:
    shap = pytest.importorskip("shap")
    picture = normalised(tile, classifier.card)[0]

    def of_grey(
        pictures: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        grey = torch.from_numpy(np.asarray(pictures, np.float32)).permute(0, 3, 1, 2)
        return classifier.logits_of(grey.expand(-1, 3, -1, -1)).numpy().astype(np.float64)

    grey = picture.mean(0, keepdim=True).permute(1, 2, 0).numpy()
    masker = shap.maskers.Image(np.zeros_like(grey), grey.shape)
    theirs = shap.PartitionExplainer(of_grey, masker)(
        grey[None], max_evals=4000, fixed_context=None, silent=True
    )
    ours = PartitionShap(
        classifier, PartitionShapSpec(cells=4, evaluations=100_000, baseline="zero")
    ).explain(tile, [0, 1, 2])
    expected = torch.from_numpy(theirs.values[0, :, :, 0]).permute(2, 0, 1).float()
    torch.testing.assert_close(ours.maps[0], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spec", [PartitionShapSpec(cells=0), PartitionShapSpec(evaluations=1)])
def test_impossible_settings_are_refused(classifier: Classifier, spec: PartitionShapSpec) -> None:
    with pytest.raises(ExplanationError):
        PartitionShap(classifier, spec)
