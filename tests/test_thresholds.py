"""Thresholds against what the rules give on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.errors import UsageError
from slidecam.thresholds import Threshold, parse_threshold, threshold_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

TWO_GROUPS = np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])


def most_even_cut(values: list[float]) -> float:
    """Return Otsu's cut by its definition.

    Of all cuts, the one with the largest variance between both groups.
    """

    def between(cut: float) -> float:
        low, high = (
            [value for value in values if (value <= cut) == side] for side in (True, False)
        )
        return len(low) * len(high) * (float(np.mean(low)) - float(np.mean(high))) ** 2

    return max(sorted(set(values))[:-1], key=between)


def test_otsu_parts_two_groups_where_its_definition_does() -> None:
    rng = np.random.default_rng(0)
    values = np.round(np.concatenate([rng.normal(1, 0.4, 300), rng.normal(4, 0.7, 120)]), 2)
    found, cut = threshold_of(values, Threshold("otsu")), most_even_cut(values.tolist())
    assert found == pytest.approx(cut, abs=2 * np.ptp(values) / 256)
    assert cut < 2.6


@pytest.mark.parametrize(
    "values", [TWO_GROUPS, np.array([0, 0, 0, 0, 7.0]), np.array([-3, -3, 5, 5.0])]
)
def test_otsu_keeps_the_upper_of_two_groups(values: NDArray[np.float64]) -> None:
    cut = threshold_of(values, Threshold("otsu"))
    assert (values >= cut).tolist() == (values > (values.min() + values.max()) / 2).tolist()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Threshold("mean", 0.0), 6.0),
        (Threshold("mean", 2.0), 6.0 + 2 * np.sqrt(77 / 3)),
        (Threshold("mean", -1.0), 6.0 - np.sqrt(77 / 3)),
        (Threshold("quantile", 0.0), 0.0),
        (Threshold("quantile", 0.6), 10.0),
        (Threshold("quantile", 1.0), 12.0),
        (Threshold("fraction", 0.25), 3.0),
    ],
)
def test_a_rule_gives_what_its_formula_gives(rule: Threshold, expected: float) -> None:
    assert threshold_of(TWO_GROUPS, rule) == pytest.approx(expected)


@pytest.mark.parametrize(
    "rule", [Threshold("otsu"), Threshold("mean", 1), Threshold("quantile", 0.5)]
)
def test_what_is_not_finite_and_the_shape_do_not_matter(rule: Threshold) -> None:
    holed = np.concatenate([TWO_GROUPS, [np.nan, np.inf]]).reshape(2, 4)
    assert threshold_of(holed, rule) == threshold_of(TWO_GROUPS, rule)


@pytest.mark.parametrize(
    "rule", [Threshold("otsu"), Threshold("mean", 1), Threshold("quantile", 0.5)]
)
def test_equal_values_all_count_and_no_values_have_a_threshold(rule: Threshold) -> None:
    assert threshold_of(np.full(5, 0.3), rule) == pytest.approx(0.3)
    assert threshold_of(np.full(3, np.nan), rule) == 0.0
    assert threshold_of(np.zeros(0), rule) == 0.0


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("otsu", Threshold("otsu")),
        (" Otsu ", Threshold("otsu")),
        ("mean", Threshold("mean", 0.0)),
        ("mean+1.5", Threshold("mean", 1.5)),
        ("mean-0.5", Threshold("mean", -0.5)),
        ("quantile:0.9", Threshold("quantile", 0.9)),
        ("fraction:1", Threshold("fraction", 1.0)),
    ],
)
def test_rules_are_read_and_written_back(text: str, rule: Threshold) -> None:
    assert parse_threshold(text) == rule
    assert parse_threshold(str(rule)) == rule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "otsu:1",
        "mean:1",
        "mean+",
        "mean+nan",
        "quantile",
        "quantile:",
        "quantile:90",
        "fraction:-1",
        "median:0.5",
    ],
)
def test_what_is_no_rule_is_refused_with_the_rules(text: str) -> None:
    with pytest.raises(UsageError, match="Write"):
        parse_threshold(text)


def test_a_rule_of_another_name_or_with_wrong_number_is_refused() -> None:
    with pytest.raises(UsageError, match="median"):
        Threshold("median", 0.5)  # type: ignore[arg-type]  # what is tried
    for rule in (Threshold("otsu"), Threshold("mean", 1)):
        with pytest.raises(UsageError, match="out of range"):
            Threshold(rule.rule, float("nan"))


@pytest.mark.parametrize("seed", range(6))
def test_otsus_cut_is_the_upper_edge_of_the_last_low_bin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(-3.1, 0.7, 300), rng.normal(2.3, 1.9, 170)])
    edges = np.linspace(values.min(), values.max(), 257)
    middles = (edges[1:] + edges[:-1]) / 2
    counts, _edges = np.histogram(values, edges)
    spread = []
    for last in range(255):
        low, high = counts[: last + 1], counts[last + 1 :]
        means = (low @ middles[: last + 1]) / low.sum(), (high @ middles[last + 1 :]) / high.sum()
        spread.append(low.sum() * high.sum() * (means[0] - means[1]) ** 2)
    cut = edges[int(np.argmax(spread)) + 1]
    assert threshold_of(values, Threshold()) == pytest.approx(cut, abs=1e-9)


def test_a_fraction_is_of_the_largest_value_whatever_its_sign() -> None:
    values = np.array([-9.3, 0.4, 4.7])
    assert threshold_of(values, Threshold("fraction", 0.3)) == pytest.approx(0.3 * 4.7)
    assert threshold_of(-np.abs(values), Threshold("fraction", 0.3)) == pytest.approx(-0.3 * 0.4)
