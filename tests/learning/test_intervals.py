"""Intervals hold the true figure about as often as they say.

Patients are drawn whole, and nothing is certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.learning import resampling
from slidecam.learning.intervals import LOG, LOGIT, WILSON, IntervalSpec, bootstrap, wilson
from slidecam.learning.metrics import CLASS_DEFINITIONS, DEFINITIONS, measure
from slidecam.learning.resampling import Resampler, resamples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Data = tuple[NDArray[np.int64], NDArray[np.float64]]

NAMES = "abcdefgh"


def simulated(rng: np.random.Generator, count: int, classes: int, doubt: float = 1.0) -> Data:
    """Return labels and probabilities of a simulated classifier.

    Its logits are ``doubt`` times as noisy as its signal.
    """
    labels = rng.integers(classes, size=count)
    logits = rng.normal(size=(count, classes)) * doubt
    logits[np.arange(count), labels] += 1.5
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def coverage(
    draw: Callable[[int], Data], true: Mapping[str, float | None], groups: list[str] | None = None
) -> dict[str, float]:
    """Return the share of 120 simulated test sets whose interval of a figure holds the truth."""
    held = dict.fromkeys(true, 0)
    for seed in range(120):
        found = bootstrap(*draw(seed), "ab", groups, IntervalSpec(250, seed)).figures
        for name, value in true.items():
            assert value is not None
            held[name] += found[name].low <= value <= found[name].high
    return {name: count / 120 for name, count in held.items()}


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("tied", [False, True])
def test_figures_of_resamples_at_once_are_those_of_each_written_out(
    classes: int,
    tied: bool,  # noqa: FBT001
) -> None:
    labels, probabilities = simulated(np.random.default_rng(classes), 40, classes)
    if tied:
        probabilities = probabilities[np.random.default_rng(0).integers(8, size=40)]
    weights = next(resamples(np.arange(40), 6, 0, 40))
    found = Resampler(labels, probabilities).figures(weights)
    compared = 0
    for row, times in enumerate(weights.astype(int)):
        written = measure(
            np.repeat(labels, times), np.repeat(probabilities, times, axis=0), NAMES[:classes]
        )
        for name, values in found.figures.items():
            if min(written.support.values()):
                assert values[row] == pytest.approx(written.figures[name]), name
                compared += 1
        for index, name in enumerate(NAMES[:classes]):
            for figure, value in written.per_class[name].items():
                got = found.per_class[figure][row, index]
                assert (np.isnan(got) and value is None) or got == pytest.approx(value), (
                    figure,
                    name,
                )
    assert compared > 30


def test_a_resample_without_a_class_has_no_mean_over_classes_but_an_accuracy() -> None:
    labels, called = np.array([0, 0, 1]), np.array([0, 1, 1])
    found = Resampler(labels, np.eye(2)[called] * 0.8 + 0.1).figures(np.array([[1.0, 2.0, 0.0]]))
    assert found.figures["accuracy"] == pytest.approx(1 / 3)
    assert np.isnan(found.per_class["F1"][0, 1])
    for name in ("balanced accuracy", "macro F1", "macro AUC", "G-mean", "kappa", "IBA"):
        assert np.isnan(found.figures[name]), name


def test_intervals_hold_the_true_figures_about_as_often_as_they_say() -> None:
    true = measure(*simulated(np.random.default_rng(10**6), 200_000, 2), "ab").figures
    sought = {
        name: true[name]
        for name in ("accuracy", "macro F1", "kappa", "macro AUC", "IBA", "NLL", "Brier")
    }
    held = coverage(lambda seed: simulated(np.random.default_rng(seed), 80, 2), sought)
    assert min(held.values()) >= 0.9, held
    assert max(held.values()) <= 0.99, held


def test_pictures_of_one_patient_are_drawn_together_or_intervals_are_far_too_narrow() -> None:
    """Half of 30 patients are easy, half are hard, and each has ten pictures.

    There are 30 cases, not 300.
    """
    groups = [f"patient {number}" for number in np.repeat(np.arange(30), 10)]

    def draw(seed: int) -> Data:
        rng = np.random.default_rng(seed)
        right = rng.random(300) < np.repeat(rng.choice([0.3, 1.0], 30), 10)
        labels = rng.integers(2, size=300)
        called = np.where(right, labels, 1 - labels)
        return labels, np.where(called[:, None] == np.arange(2), 0.9, 0.1)

    assert coverage(draw, {"accuracy": 0.65}, groups)["accuracy"] >= 0.9
    assert coverage(draw, {"accuracy": 0.65})["accuracy"] < 0.75


def test_the_accuracys_interval_is_wilsons_and_one_by_its_spread_is_near_it() -> None:
    labels, probabilities = simulated(np.random.default_rng(3), 500, 3)
    found = bootstrap(labels, probabilities, "abc")
    right = int((probabilities.argmax(axis=1) == labels).sum())
    assert found.figures["accuracy"] == wilson(right, 500)
    one_each = bootstrap(
        np.r_[labels, 0],
        np.r_[probabilities, [[1.0, 0, 0]]],
        "abc",
        [*"a" * 2, *map(str, range(499))],
    )
    ends = one_each.figures["accuracy"]
    assert ends.method == LOGIT
    assert (ends.low, ends.high) == pytest.approx(
        (wilson(right + 1, 501).low, wilson(right + 1, 501).high), abs=0.004
    )


def test_the_spread_of_resamples_is_carried_over_as_the_formula_has_it() -> None:
    """Two of seven patients are always wrong: the spread of a mean of seven is known."""
    labels = np.arange(70) % 2
    wrong = np.repeat([1, 0, 0, 1, 0, 0, 0], 10).astype(bool)
    probabilities = np.eye(2)[np.where(wrong, 1 - labels, labels)] * 0.8 + 0.1
    groups = [f"p{number // 10}" for number in range(70)]
    spec = IntervalSpec(40_000)
    found = bootstrap(labels, probabilities, "ab", groups, spec).figures["accuracy"]
    share, t_of_six = 5 / 7, 2.446911851144969
    error = (share * (1 - share) / 7) ** 0.5 * (7 / 6) ** 0.5
    odds, reach = np.log(share / (1 - share)), t_of_six * error / (share * (1 - share))
    expected = [1 / (1 + np.exp(-odds + way * reach)) for way in (1, -1)]
    assert (found.low, found.high) == pytest.approx(expected, abs=0.003)


def test_wilsons_interval_is_the_formulas() -> None:
    z, n, p = 1.959963984540054, 50, 0.9
    middle, reach = (p + z * z / 2 / n), z * (p * (1 - p) / n + z * z / 4 / n / n) ** 0.5
    expected = (middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)
    assert (wilson(45, 50).low, wilson(45, 50).high) == pytest.approx(expected)


def test_no_error_among_sixty_is_no_certainty() -> None:
    labels = np.arange(60) % 3
    found = bootstrap(labels, np.eye(3)[labels] * 0.7 + 0.1, "abc")
    assert found.figures["accuracy"] == wilson(60, 60)
    assert found.per_class["a"]["sensitivity"] == wilson(20, 20)
    assert found.per_class["a"]["specificity"] == wilson(40, 40)
    assert 0.9 < found.figures["accuracy"].low < 0.95
    for name in ("balanced accuracy", "macro F1", "weighted F1", "macro AUC", "G-mean"):
        assert found.figures[name] == wilson(60, 60), name
    assert found.per_class["a"]["AUC"] == wilson(20, 20)
    assert "same figure" in found.notes["NLL"]


def test_no_error_among_few_patients_is_counted_on_the_patients() -> None:
    labels = np.arange(60) % 2
    groups = [f"p{number // 10}" for number in range(60)]
    found = bootstrap(labels, np.eye(2)[labels] * 0.8 + 0.1, "ab", groups)
    assert found.figures["accuracy"] == wilson(6, 6)
    assert "6 groups" in found.method
    assert "say little of others" not in found.method
    few = bootstrap(labels, np.eye(2)[labels] * 0.8 + 0.1, "ab", [name[:1] for name in groups])
    assert few.figures["accuracy"] == wilson(1, 1)
    assert "say little of others" in few.method


def test_the_calibration_error_has_no_interval_and_a_note_says_why() -> None:
    found = bootstrap(*simulated(np.random.default_rng(0), 100, 2), "ab")
    assert "ECE" not in found.figures
    assert "by chance" in found.notes["ECE"]
    assert set(found.figures) == set(DEFINITIONS) - {"ECE"}


def test_a_class_without_pictures_has_no_interval() -> None:
    labels, probabilities = simulated(np.random.default_rng(0), 50, 2)
    found = bootstrap(labels, np.concatenate([probabilities, np.zeros((50, 1))], axis=1), "abc")
    assert "sensitivity" not in found.per_class["c"]
    assert "most resamples" in found.notes["AUC of c"]
    assert set(found.per_class["a"]) == set(CLASS_DEFINITIONS)


def test_the_same_seed_gives_the_same_intervals_and_another_does_not() -> None:
    data = simulated(np.random.default_rng(0), 50, 2)
    one, same, other = (bootstrap(*data, "ab", None, IntervalSpec(200, seed)) for seed in (0, 0, 1))
    assert one.figures == same.figures
    assert one.figures["macro AUC"] != other.figures["macro AUC"]


def test_how_many_resamples_are_computed_at_once_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = simulated(np.random.default_rng(0), 51, 3)
    whole = bootstrap(*data, "abc", None, IntervalSpec(101)).figures
    monkeypatch.setattr(resampling, "CHUNK", 51 * 7)
    assert bootstrap(*data, "abc", None, IntervalSpec(101)).figures == pytest.approx(whole)


def test_a_resample_draws_as_many_groups_as_there_are_each_with_all_its_pictures() -> None:
    members = np.array([0, 1, 1, 2, 2, 2])
    (weights,) = resamples(members, 50, 0, 6)
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(weights, axis=0)) > 5


def test_a_share_of_none_or_all_has_wilsons_interval_on_what_it_is_a_share_of() -> None:
    labels = np.repeat([0, 1], [13, 11])
    called = np.array([0] * 5 + [1] * 19)
    probabilities = np.eye(2)[called] * 0.8 + 0.1
    spec = IntervalSpec(resamples=60)
    found = bootstrap(labels, probabilities, ("a", "b"), spec=spec)
    # All five that are called a are so, and all eleven that are b are called so.
    assert found.per_class["a"]["precision"] == wilson(5, 5)
    assert found.per_class["a"]["specificity"] == wilson(11, 11)
    assert found.per_class["b"]["sensitivity"] == wilson(11, 11)
    wrong = bootstrap(labels, 1 - np.eye(2)[labels], ("a", "b"), spec=spec)
    assert wrong.figures["accuracy"] == wilson(0, 24)
    assert wrong.per_class["a"]["sensitivity"] == wilson(0, 13)


def test_every_interval_says_how_it_was_made() -> None:
    labels, probabilities = simulated(np.random.default_rng(1), 90, 3)
    alone = bootstrap(labels, probabilities, "abc")
    assert {name: ends.method for name, ends in alone.figures.items() if ends.method != LOGIT} == {
        "accuracy": WILSON,
        "NLL": LOG,
    }
    assert {name: ends.method for name, ends in alone.per_class["a"].items()} == {
        "precision": WILSON, "sensitivity": WILSON, "specificity": WILSON,
        "F1": LOGIT, "AUC": LOGIT,
    }  # fmt: skip
    assert "Wilson" in alone.method
    together = bootstrap(labels, probabilities, "abc", [str(number % 9) for number in range(90)])
    assert WILSON not in {ends.method for ends in together.figures.values()}
    assert "Student's t of 8" in together.method


def test_one_picture_or_one_patient_has_no_interval_but_of_shares() -> None:
    shares = np.array([[0.6, 0.3, 0.1]])
    alone = bootstrap(np.array([0]), shares, "abc")
    assert alone.figures["accuracy"] == wilson(1, 1)
    assert "NLL" not in alone.figures
    labels, many = simulated(np.random.default_rng(2), 30, 2)
    of_one = bootstrap(labels, many, "ab", ["p"] * 30)
    assert of_one.figures == {}


def test_no_interval_leaves_what_its_figure_can_be() -> None:
    for seed in range(40):
        found = bootstrap(*simulated(np.random.default_rng(seed), 9, 2), "ab").figures
        for name, ends in found.items():
            least = -1 if name == "kappa" else 0
            assert least <= ends.low < ends.high, name
            if name != "NLL":
                assert ends.high <= (2 if name == "Brier" else 1), name


@dataclass(frozen=True)
class Study:
    """Test sets that are drawn again and again: of pictures, or of patients with 40 each.

    Logits are noise of deviation 1 with ``signal`` on the true class; patients differ in it.
    """

    count: int
    classes: int
    signal: float
    patients: bool = False

    def draw(self, seed: int, count: int) -> tuple[Data, list[str] | None]:
        rng = np.random.default_rng([seed, count])
        rows = count * 40 if self.patients else count
        labels = rng.integers(self.classes, size=rows)
        logits, signal = rng.normal(size=(rows, self.classes)), np.full(rows, self.signal)
        groups = None
        if self.patients:
            of = np.repeat(np.arange(count), 40)
            signal += 0.6 * rng.normal(size=count)[of]
            logits += 0.3 * rng.normal(size=(count, self.classes))[of]
            groups = list(map(str, of))
        logits[np.arange(rows), labels] += signal
        shares = np.exp(1.5 * logits)
        return (labels, shares / shares.sum(axis=1, keepdims=True)), groups


@pytest.mark.slow
@pytest.mark.parametrize(
    "study",
    [
        Study(60, 3, 2.05),
        Study(240, 4, 3.6),
        Study(8, 3, 2.2, patients=True),
        Study(20, 3, 2.2, patients=True),
    ],
    ids=lambda study: f"{study.count} {'patients' if study.patients else 'pictures'}",
)
def test_of_a_hundred_test_sets_ninety_five_intervals_hold_the_truth(study: Study) -> None:
    """0.93 to 0.97, and what 400 sets may be off by (three times 0.011)."""
    names = "abcd"[: study.classes]
    (labels, shares), _groups = study.draw(0, 5000 if study.patients else 200_000)
    true = measure(labels, shares, names).figures
    sought = ("accuracy", "balanced accuracy", "weighted F1", "macro AUC")
    held, sets = dict.fromkeys(sought, 0), 400
    for seed in range(sets):
        data, groups = study.draw(seed, study.count)
        found = bootstrap(*data, names, groups, IntervalSpec(300, seed)).figures
        for name in sought:
            value = true[name]
            assert value is not None
            held[name] += found[name].low <= value <= found[name].high
    covered = {name: count / sets for name, count in held.items()}
    assert min(covered.values()) >= 0.93 - 0.03, covered
    assert max(covered.values()) <= 0.97 + 0.02, covered
