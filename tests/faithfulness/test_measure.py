"""A whole measurement on a classifier whose evidence is known.

Who knows it is told from who does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
import torch
from torch import nn

from slidecam.errors import ExplanationError, UsageError
from slidecam.explain.explainer import Explainer, Explanation
from slidecam.faithfulness import FaithfulnessSpec, measure, sentences
from slidecam.faithfulness.correlation import CorrelationSpec
from slidecam.faithfulness.mapping import explained_classes
from slidecam.faithfulness.measure import centre_prior, random_map
from slidecam.faithfulness.removal import ClassScorer, CurveSpec, RoadSpec
from slidecam.faithfulness.report import CENTRE
from slidecam.faithfulness.stability import StabilitySpec
from slidecam.faithfulness.tile_measure import CHANGES, MAPS, NOISE, PIXELS, SUBSETS, MeasuredTile
from slidecam.models.classifier import normalised
from slidecam.steps import Step, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from slidecam.models import Classifier

RANDOM = "random map, 28 x 28"
FEW = FaithfulnessSpec(
    seeds=(0, 1),
    batch=4,
    curves=CurveSpec(steps=7),
    correlation=CorrelationSpec(runs=40, sizes=(5, 157), sensitivity_runs=15),
    stability=StabilitySpec(repeats=2, tiles=3),
    road=RoadSpec(shares=(0.3, 0.6)),
)


class Mapped(Explainer):
    """Gives what a function makes of the normalised tiles and the class.

    Counts tiles and open blocks.
    """

    def __init__(
        self, classifier: Classifier, give: Callable[[torch.Tensor, int], torch.Tensor]
    ) -> None:
        super().__init__(classifier)
        self.give, self.explained, self.open = give, 0, 0

    def __enter__(self) -> Self:
        self.open += 1
        return self

    def __exit__(self, *_exception: object) -> None:
        self.open -= 1

    def steps(
        self, pixels: torch.Tensor, classes: Sequence[int]
    ) -> Generator[Step, None, Explanation]:
        assert self.open == 1
        self.explained += len(pixels)
        yield Step("mapping", len(pixels), len(pixels))
        pictures = normalised(pixels, self.classifier.card)
        maps = torch.stack([self.give(pictures, index) for index in classes], 1)
        logits = self.classifier.run(pixels, gradients=False).logits
        return Explanation("mapped", logits, maps, 3, {"approximate": "it is a test"})


@dataclass(frozen=True)
class Case:
    classifier: Classifier
    tiles: torch.Tensor
    weight: torch.Tensor
    methods: dict[str, Mapped] = field(default_factory=dict)


@pytest.fixture
def case(
    make_classifier: Callable[..., Classifier],
    linear: Callable[..., nn.Module],
    tiles: Callable[..., torch.Tensor],
) -> Case:
    classifier = make_classifier(linear(classes=2), "softmax", classes=2)
    weight = next(classifier.network.parameters()).detach()

    def exact(pictures: torch.Tensor, index: int) -> torch.Tensor:
        return (pictures * (weight[index] - weight[1 - index])).sum(1)

    def chance(pictures: torch.Tensor, _index: int) -> torch.Tensor:
        seeds = [int(picture.abs().sum() * 1000) for picture in pictures]
        return torch.stack(
            [torch.rand(28, 28, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        )

    methods = {
        "Exact": Mapped(classifier, exact),
        "Contrary": Mapped(classifier, lambda pictures, index: -exact(pictures, index)),
        "Chance": Mapped(classifier, chance),
    }
    return Case(classifier, tiles(6), weight, methods)


def test_who_knows_the_evidence_is_told_from_who_does_not(case: Case) -> None:
    report = result_of(measure(case.classifier, case.methods, case.tiles, "B", FEW))
    judged = [
        name
        for name in report.measures
        if name.startswith(("deletion", "insertion", "correlation", "road"))
    ]
    assert judged == [
        "deletion:zero",
        "deletion:blur",
        "insertion:zero",
        "insertion:blur",
        "correlation",
        "road",
    ]
    for name in judged:
        verdicts = {
            method: finding(report, method, name).differences[0].verdict for method in case.methods
        }
        if (
            name == "correlation"
        ):  # its logit is one class's alone, and its baseline is blur: the map is near enough
            assert verdicts["Exact"] == "better"
        else:
            assert verdicts == {"Exact": "better", "Contrary": "worse", "Chance": "no better"}, name
    said = dict(zip(case.methods, sentences(report), strict=True))
    assert "no better" in said["Chance"]
    assert "better by every measure" in said["Exact"]
    assert "worse by every measure" in said["Contrary"]


def finding(report: Any, method: str, name: str) -> Any:
    found = report.finding(method, name)
    assert found is not None, (method, name)
    return found


def test_a_linear_models_exact_map_scores_one_in_the_report(
    make_classifier: Callable[..., Classifier],
    linear: Callable[..., nn.Module],
    tiles: Callable[..., torch.Tensor],
) -> None:
    classifier = make_classifier(linear())
    weight = next(classifier.network.parameters()).detach()
    exact = {"Exact": Mapped(classifier, lambda pictures, index: (pictures * weight[index]).sum(1))}
    zero = replace(FEW.correlation, baseline="zero")
    spec = replace(FEW, measures=("correlation", "sensitivity-n"), correlation=zero)
    report = result_of(measure(classifier, exact, tiles(3), "A", spec))
    assert report.output == "logit"
    assert finding(report, "Exact", "correlation").mean == pytest.approx(1, abs=1e-4)
    assert finding(report, "Exact", "correlation").se_seeds == pytest.approx(0, abs=1e-4)
    for name in ("sensitivity-n:5", "sensitivity-n:157", "sensitivity-n"):
        assert finding(report, "Exact", name).mean == pytest.approx(1, abs=1e-4)
    assert abs(finding(report, RANDOM, "correlation").mean) < 0.3


def test_each_tile_is_explained_once_and_first_ones_again_for_stability(case: Case) -> None:
    steps = list(measure(case.classifier, case.methods, case.tiles, "A", FEW))
    assert {name: one.explained for name, one in case.methods.items()} == dict.fromkeys(
        case.methods, 6 + 2 * 3
    )
    assert [step.done for step in steps if step.phase == "tiles"] == [1, 2, 3, 4, 5, 6]
    assert all(one.open == 0 for one in case.methods.values())
    without = replace(FEW, measures=("road",))
    for method in case.methods.values():
        method.explained = 0
    result_of(measure(case.classifier, case.methods, case.tiles, "A", without))
    assert {one.explained for one in case.methods.values()} == {6}


def test_what_is_lost_with_subsets_is_asked_once_for_all_methods(case: Case) -> None:
    def passes(methods: dict[str, Mapped]) -> int:
        count: list[int] = []
        hook = case.classifier.network.register_forward_hook(
            lambda _n, given, _l: count.append(len(given[0]))
        )
        spec = replace(FEW, measures=("correlation",))
        result_of(measure(case.classifier, methods, case.tiles, [0] * 6, spec))
        hook.remove()
        assert max(count) <= FEW.batch
        return sum(count)

    one = passes({"Exact": case.methods["Exact"]})
    # Six tiles, two seeds, forty subsets and the tile itself, and each tile's own logits for its
    # map.
    assert one == 6 * 2 * 41 + 6
    assert passes(case.methods) == one + 2 * 6


def test_a_report_is_the_same_each_time_and_leaves_chance_alone(case: Case) -> None:
    before = torch.random.get_rng_state()
    one, other = (
        result_of(measure(case.classifier, case.methods, case.tiles, "A", FEW)) for _ in range(2)
    )
    for a, b in zip(one.findings, other.findings, strict=True):
        np.testing.assert_array_equal(a.values, b.values)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_chance_has_a_stream_for_each_purpose(case: Case) -> None:
    tile = MeasuredTile(torch.zeros(3, 28, 28), ClassScorer(case.classifier, 0), 4, None, FEW)
    streams = [tile.rng(2, purpose) for purpose in (SUBSETS, PIXELS, NOISE, MAPS, CHANGES)]
    others = [
        np.random.default_rng((2, 4)),
        tile.rng(3, SUBSETS),
        replace(tile, number=5).rng(2, SUBSETS),
    ]
    assert len({float(rng.random()) for rng in (*streams, *others)}) == 8


def test_figures_do_not_hang_on_how_tiles_are_batched(case: Case) -> None:
    one, other = (
        result_of(
            measure(case.classifier, case.methods, case.tiles, "A", replace(FEW, batch=batch))
        )
        for batch in (2, 16)
    )
    # All but max-sensitivity of the random map, whose maps are drawn by batch.
    pairs = [
        pair
        for pair in zip(one.findings, other.findings, strict=True)
        if pair[0].measure != "max-sensitivity"
    ]
    assert len(pairs) > 30
    for a, b in pairs:
        np.testing.assert_allclose(a.values, b.values, atol=1e-5)


def test_stability_of_the_references_is_what_everyone_should_know(case: Case) -> None:
    report = result_of(measure(case.classifier, case.methods, case.tiles, "A", FEW))
    assert finding(report, CENTRE, "max-sensitivity").mean == 0
    assert finding(report, RANDOM, "max-sensitivity").mean > 0.5
    assert 0 < finding(report, "Exact", "max-sensitivity").mean < 0.2
    assert len(finding(report, "Exact", "max-sensitivity").values) == 3


def test_masks_bring_their_measures_and_empty_ones_are_left_out(case: Case) -> None:
    masks = np.zeros((6, 28, 28), bool)
    masks[:4, 10:18, 10:18] = True
    report = result_of(measure(case.classifier, case.methods, case.tiles, "A", FEW, masks=masks))
    assert report.mask_share == pytest.approx(64 / 784)
    assert finding(report, CENTRE, "pointing").mean == 1
    energy = finding(report, "Chance", "energy")
    assert np.isnan(energy.values[4:]).all()
    assert energy.mean == pytest.approx(64 / 784, abs=0.02)
    assert "8 % of their tiles" in sentences(report)[0]
    assert (
        "pointing"
        not in result_of(measure(case.classifier, case.methods, case.tiles, "A", FEW)).measures
    )


def test_each_method_is_compared_on_its_own_grid_unless_one_is_named(case: Case) -> None:
    coarse = Mapped(case.classifier, lambda pictures, _index: pictures.mean(1)[:, ::7, ::7])
    methods: dict[str, Explainer] = {"Exact": case.methods["Exact"], "Coarse": coarse}
    spec = replace(FEW, measures=("deletion",))
    report = result_of(measure(case.classifier, methods, case.tiles, "A", spec))
    assert [one.name for one in report.methods] == [
        "Exact",
        "Coarse",
        RANDOM,
        "random map, 4 x 4",
        CENTRE,
    ]
    assert (
        finding(report, "Coarse", "deletion:zero").differences[0].reference == "random map, 4 x 4"
    )
    named = result_of(
        measure(case.classifier, methods, case.tiles, "A", replace(spec, random_grid=(7, 7)))
    )
    assert [one.name for one in named.methods[2:]] == ["random map, 7 x 7", CENTRE]
    assert named.methods[0].passes == 3


def test_tiles_are_explained_for_the_class_that_was_asked_for(case: Case) -> None:
    predicted = case.classifier.run(case.tiles, gradients=False).logits.argmax(1).tolist()
    assert len(set(predicted)) == 2
    assert explained_classes(case.classifier, case.tiles, "predicted", batch=4) == (
        tuple(predicted),
        "the predicted class",
    )
    assert explained_classes(case.classifier, case.tiles, "B", batch=4) == ((1,) * 6, "class B")
    assert explained_classes(case.classifier, case.tiles, [1] * 6, batch=4) == ((1,) * 6, "class B")
    own = explained_classes(case.classifier, case.tiles, [0, 1, 0, 1, 1, 0], batch=4)
    assert own == ((0, 1, 0, 1, 1, 0), "each tile's own class")
    # A tile's figure is that of its class, whatever the others are explained for.
    spec = replace(FEW, measures=("correlation", "deletion"))
    alone = result_of(measure(case.classifier, case.methods, case.tiles, "B", spec))
    mixed = result_of(measure(case.classifier, case.methods, case.tiles, own[0], spec))
    for name in ("correlation", "deletion:blur"):
        same = np.isclose(
            finding(mixed, "Exact", name).values, finding(alone, "Exact", name).values
        )
        np.testing.assert_array_equal(same, np.asarray(own[0]) == 1)


def test_quantus_pixels_are_measured_where_asked_for(case: Case) -> None:
    compatible = replace(FEW.correlation, quantus_compat=True, runs=20)
    spec = replace(FEW, measures=("correlation", "correlation-pixel"), correlation=compatible)
    assert result_of(measure(case.classifier, case.methods, case.tiles, "A", spec)).measures == (
        "correlation",
        "correlation-pixel",
    )


def test_to_name_quantus_pixels_among_the_measures_is_to_ask_for_them(case: Case) -> None:
    few = replace(FEW.correlation, runs=20)
    named = replace(FEW, measures=("correlation-pixel",), correlation=few)
    found = result_of(measure(case.classifier, case.methods, case.tiles, "A", named)).measures
    assert found == ("correlation-pixel",)
    assert FaithfulnessSpec().named == (), "nobody chose: what applies is measured"


def test_a_map_that_is_no_number_is_refused_with_its_tile(case: Case) -> None:
    def broken(pictures: torch.Tensor, _index: int) -> torch.Tensor:
        maps = pictures.mean(1).clone()
        maps[-1, 3, 3] = math.nan
        return maps

    with pytest.raises(ExplanationError, match=r"mapped.*tile 3"):
        result_of(
            measure(
                case.classifier, {"Broken": Mapped(case.classifier, broken)}, case.tiles, "A", FEW
            )
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": "C"}, r"no class 'C'.*'predicted'.*A, B"),
        ({"classes": [0, 1]}, "2 classes were given for 6 tiles"),
        ({"classes": [0, 1, 0, 1, 0, 2]}, "no class 2"),
        ({"masks": np.zeros((6, 7, 7), bool)}, r"\(6, 7, 7\).*\(6, 28, 28\)"),
        ({"methods": {}}, "nothing to measure"),
        ({"methods": {"centre prior": None}}, "'centre prior'"),
    ],
)
def test_what_cannot_be_measured_is_refused(case: Case, change: dict[str, Any], words: str) -> None:
    values: dict[str, Any] = {"methods": case.methods, "classes": "A", "masks": None} | change
    with pytest.raises(UsageError, match=words):
        result_of(
            measure(
                case.classifier,
                values["methods"],
                case.tiles,
                values["classes"],
                FEW,
                masks=values["masks"],
            )
        )


@pytest.mark.parametrize(
    "change", [{"measures": ("delusion",)}, {"seeds": ()}, {"seeds": (-1,)}, {"batch": 0}]
)
def test_specs_that_mean_nothing_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(FEW, **change)


def test_random_maps_are_even_and_hang_on_their_seed() -> None:
    values = random_map(3, (100, 100))
    assert values.dtype == np.float32
    assert np.histogram(values, 4, (0, 1))[0].min() > 2300
    np.testing.assert_array_equal(values, random_map(3, (100, 100)))
    assert (values != random_map((3, 1), (100, 100))).all()


def test_the_prior_falls_from_the_middle_alike_on_all_sides() -> None:
    values = centre_prior((7, 9))
    assert values[3, 4] == 1 == values.max()
    np.testing.assert_allclose(values, values[::-1, ::-1])
    assert (np.diff(values[3, 4:]) < 0).all()
    assert values[0, 4] == pytest.approx(np.exp(-((3 / 7 / 0.25) ** 2) / 2))
