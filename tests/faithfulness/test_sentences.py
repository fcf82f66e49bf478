"""What is said of a measurement."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slidecam.faithfulness.report import (
    CENTRE,
    Difference,
    FaithfulnessReport,
    Finding,
    MeanCurve,
    MethodFacts,
)
from slidecam.faithfulness.sentences import cautions, figure, sentences
from slidecam.faithfulness.stability import Likeness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidecam.faithfulness.report import Verdict

RANDOM = "random map, 7 x 7"


def found(measure: str, random: Verdict, centre: Verdict = "no better") -> list[Finding]:
    """Return a method's finding of 0.53 ± 0.02 beside the random map's of 0.54 ± 0.02."""
    differences = (Difference(RANDOM, -0.01, 0.03, random), Difference(CENTRE, 0.0, 0.03, centre))
    values = np.zeros(40)
    return [
        Finding("Score-CAM", measure, values, 0.53, 0.02, math.nan, differences),
        Finding(RANDOM, measure, values, 0.54, 0.02, 0.01),
    ]


def report(findings: Sequence[list[Finding]], **changes: Any) -> FaithfulnessReport:
    methods = (
        MethodFacts("Score-CAM", reference=False, grid=(7, 7)),
        MethodFacts(RANDOM, reference=True),
    )
    values: dict[str, Any] = {
        "classifier": "tumour", "output": "softmax probability", "explained": "class B",
        "tiles": 40,
        "mask_share": math.nan, "methods": methods,
        "findings": tuple(one for pair in findings for one in pair),
        "curves": (),
    }  # fmt: skip
    return FaithfulnessReport(**(values | changes))


def test_a_method_that_is_no_better_than_chance_is_called_so() -> None:
    (said,) = sentences(report([found("deletion:blur", "no better")]))
    assert said.startswith(
        "On these 40 tiles Score-CAM for class B is no better than a random map "
        "(deletion AUC, blur 0.53 ± 0.02 against 0.54 ± 0.02)."
    )


def test_better_and_worse_are_counted_and_two_of_each_quoted() -> None:
    names = ("deletion:zero", "deletion:blur", "insertion:zero", "road")
    verdicts: tuple[Verdict, ...] = ("better", "better", "better", "worse")
    (said,) = sentences(report([found(*pair) for pair in zip(names, verdicts, strict=True)]))
    assert (
        "better by 3 of 4 measures (deletion AUC, zero 0.53 ± 0.02 against 0.54 ± 0.02, deletion"
        " AUC, blur" in said
    )
    assert "…); worse by 1 of 4 measures (ROAD 0.53 ± 0.02 against 0.54 ± 0.02)." in said
    assert "insertion" not in said


def test_what_does_not_judge_is_not_counted() -> None:
    (said,) = sentences(
        report(
            [
                found("road", "better"),
                found("max-sensitivity", "worse"),
                found("sensitivity-n:5", "worse"),
            ]
        )
    )
    assert "better by the one measure (ROAD" in said
    assert "worse" not in said


@pytest.mark.parametrize(
    ("centre", "words"),
    [
        (
            ("no better", "worse"),
            "By no measure is it better than a blob in the middle of the tile.",
        ),
        (
            ("better", "no better"),
            "It is better than a blob in the middle of the tile by 1 of 2 measures.",
        ),
    ],
)
def test_a_blob_in_the_middle_is_named_where_it_is_as_good(
    centre: tuple[Verdict, Verdict], words: str
) -> None:
    pairs = zip(("deletion:zero", "road"), centre, strict=True)
    assert (
        words in sentences(report([found(name, "better", verdict) for name, verdict in pairs]))[0]
    )


def test_a_blob_that_is_always_worse_is_not_named() -> None:
    assert "blob" not in sentences(report([found("road", "better", "better")]))[0]


def test_one_tile_cannot_tell() -> None:
    (said,) = sentences(report([found("road", "unknown", "unknown")], tiles=1))
    assert said.startswith("On this tile Score-CAM for class B cannot be told from a random map")


def test_energy_is_told_beside_the_masks_share() -> None:
    (said,) = sentences(report([found("energy", "better")], mask_share=0.12))
    assert "53 % of the map lies inside the masks, which take 12 % of their tiles." in said


@pytest.mark.parametrize(
    ("correlation", "words"),
    [
        (
            0.9,
            (
                "hardly another (rank correlation 0.900 ± 0.002): it shows the picture more than"
                " the classifier."
            ),
        ),
        (
            -0.7,
            (
                "the same turned round (rank correlation -0.700 ± 0.002): it shows the picture more"
                " than the classifier."
            ),
        ),
        (0.3, "in part another (rank correlation 0.300"),
        (-0.05, "is another (rank correlation -0.050"),
        (math.nan, "its maps are flat."),
    ],
)
def test_the_randomisation_check_is_put_in_words(correlation: float, words: str) -> None:
    spread = np.array([correlation - 0.003, correlation + 0.003, correlation])
    likenesses = (
        Likeness("Score-CAM", "head", spread * 0, spread * 0),
        Likeness("Score-CAM", "all", spread, spread),
    )
    (said,) = sentences(report([found("road", "better")], likenesses=likenesses))
    assert words in said


def test_a_map_that_stays_without_its_head_is_said_to_know_no_classes() -> None:
    def said(correlation: float) -> str:
        likeness = Likeness(
            "Score-CAM", "head", np.array([correlation, correlation + 0.02]), np.zeros(2)
        )
        return sentences(report([found("road", "better")], likenesses=(likeness,)))[0]

    assert "With its head alone made random its map stays (rank correlation 0.98 ± 0.01)" in said(
        0.97
    )
    assert "random its map" not in said(0.8)


def test_approximate_maps_are_called_so() -> None:
    facts = MethodFacts(
        "Score-CAM",
        reference=False,
        grid=(7, 7),
        facts={"approximate": "32 clusters of 512 channels"},
    )
    (said,) = sentences(report([found("road", "better")], methods=(facts,)))
    assert said.endswith("Its maps are approximate: 32 clusters of 512 channels.")


def test_cautions_name_few_tiles_and_baselines_that_change_nothing() -> None:
    falls = [np.array([0.9, 0.5, 0.2]), np.array([0.9, 0.89, 0.88])]
    curves = tuple(
        MeanCurve("Score-CAM", f"deletion:{name}", np.linspace(0, 1, 3), values, values)
        for name, values in zip(("zero", "blur"), falls, strict=True)
    )
    said = cautions(report([found("max-sensitivity", "better")], tiles=8, curves=curves))
    assert said[0] == "8 tiles are few: figures may change with others."
    (replaced,) = [line for line in said if "whole tile replaced" in line]
    assert replaced.startswith(
        "With the whole tile replaced (blur), the probability falls by 0.020 only"
    )
    assert "centre prior never moves" in said[-1]
    assert not any("few" in line for line in cautions(report([])))


@pytest.mark.parametrize(
    ("mean", "error", "words"),
    [
        (0.5312, 0.021, "0.53 ± 0.02"),
        (0.5312, 0.0021, "0.531 ± 0.002"),
        (-0.001, 0.02, "0.00 ± 0.02"),
        (0.5312, math.nan, "0.531"),
        (0.5312, 0.0, "0.531 ± 0.000"),
        (math.nan, math.nan, "\N{EN DASH}"),
        (12.3, 2.4, "12.30 ± 2.40"),
    ],
)
def test_figures_have_the_digits_that_their_error_allows(
    mean: float, error: float, words: str
) -> None:
    assert figure(mean, error) == words
