"""Which classes an output calls, whatever made it, and how classes are named."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, softmax

from slidecam.class_names import doubled_name, listed_names, normal_name
from slidecam.classes import NO_CLASS, ClassSet
from slidecam.errors import UsageError

if TYPE_CHECKING:
    from slidecam.classes import Activation

NAN = float("nan")
COMPOSED, DECOMPOSED = "Caf\u00e9", "Cafe\u0301"

ONE = ClassSet(("lesion",), "sigmoid")
SCORE = ClassSet(("lesion",), "none")
SEVERAL = ClassSet(("a", "b", "c"), "sigmoid", thresholds=(0.5, 0.31, 0.87))
OF_ALL = ClassSet(("a", "b", "c"))
SCORES = ClassSet(("a", "b", "c"), "none")


@pytest.mark.parametrize("classes", [ONE, SCORE], ids=["sigmoid", "score"])
@pytest.mark.parametrize(
    ("value", "winner"),
    [(0.03, NO_CLASS), (0.4999, NO_CLASS), (0.5, 0), (0.97, 0), (NAN, NO_CLASS)],
)
def test_one_output_is_called_from_its_threshold(
    classes: ClassSet, value: float, winner: int
) -> None:
    assert classes.winners(np.array([[value]])).tolist() == [winner]
    assert classes.called(np.array([[value]])).tolist() == [[winner == 0]]


def test_of_sigmoids_none_one_or_several_are_called() -> None:
    values = np.array([[0.49, 0.3, 0.86], [0.1, 0.31, 0.2], [0.6, 0.4, 0.9], [0.6, NAN, 0.9]])
    assert SEVERAL.called(values).tolist() == [
        [False, False, False],
        [False, True, False],
        [True, True, True],
        [False, False, False],
    ]
    assert SEVERAL.winners(values).tolist() == [NO_CLASS, 1, 2, NO_CLASS]
    assert SEVERAL.called_names(values[2].tolist()) == ("c", "a", "b")
    assert SEVERAL.called_names(values[0].tolist()) == ()


@pytest.mark.parametrize("classes", [OF_ALL, SCORES], ids=["softmax", "scores"])
def test_the_largest_of_several_is_called_however_small(classes: ClassSet) -> None:
    values = np.array([[0.3, 0.36, 0.34], [-7.5, -3.1, -4.2], [0.4, NAN, 0.6]])
    assert classes.winners(values).tolist() == [1, 1, NO_CLASS]
    assert classes.called(values).sum(axis=1).tolist() == [1, 1, 0]


@pytest.mark.parametrize("classes", [OF_ALL, SCORES, ClassSet(("a", "b", "c"), "sigmoid")])
def test_of_equal_outputs_the_first_is_the_largest(classes: ClassSet) -> None:
    values = np.array([[0.1, 0.6, 0.6], [0.7, 0.7, 0.7]])
    assert classes.winners(values).tolist() == [1, 0]
    assert classes.foremost([0.1, 0.6, 0.6]) == 1


def test_where_none_is_called_the_likeliest_is_looked_at_first() -> None:
    assert SEVERAL.foremost([0.2, 0.3, 0.1]) == 1
    assert SEVERAL.foremost([NAN, 0.3, 0.4]) == 2
    assert SEVERAL.foremost([0.55, 0.3, 0.8]) == 0


def test_what_a_run_keeps_in_float32_calls_what_was_called_before() -> None:
    exact = np.array([[expit(-1e-9)], [np.nextafter(0.5, 0)], [0.4999999]])
    kept = exact.astype(np.float32)
    assert ONE.winners(exact).tolist() == ONE.winners(kept).tolist() == [0, 0, NO_CLASS]
    sharp = ClassSet(("a",), "sigmoid", thresholds=(0.7,))
    assert sharp.winners(np.array([[0.7]], np.float32)).tolist() == [0]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_probabilities_are_those_of_the_activation_at_the_temperature(
    activation: Activation,
) -> None:
    logits = np.random.default_rng(3).normal(size=(17, 3)) * 4
    found = ClassSet(("a", "b", "c"), activation, temperature=1.7).probabilities(logits)
    oracle = {
        "softmax": softmax(logits / 1.7, axis=1),
        "sigmoid": expit(logits / 1.7),
        "none": logits,  # a score is divided by nothing
    }
    np.testing.assert_array_equal(found, oracle[activation])


@given(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), st.floats(0.2, 5))
def test_a_temperature_moves_no_call_at_one_half(logits: list[float], temperature: float) -> None:
    """Guo et al.: dividing logits changes no prediction, but of those made equal by rounding."""
    row = np.array([logits])
    for activation in ("softmax", "sigmoid"):
        hot = ClassSet(("a", "b", "c"), activation, temperature=temperature)
        (winner,) = hot.winners(hot.probabilities(row)).tolist()
        if winner != NO_CLASS:
            values = hot.probabilities(row).astype(np.float32)[0]
            assert values[winner] == values[int(np.argmax(logits))]


def test_a_record_calls_as_the_classes_that_it_was_made_of() -> None:
    for classes in (ONE, SCORE, SEVERAL, OF_ALL, SCORES):
        read = ClassSet.from_record(json.loads(json.dumps(classes.record)))
        assert read == classes
    assert "thresholds" not in OF_ALL.record


def test_a_record_of_before_thresholds_calls_from_one_half() -> None:
    old = {"class_names": ["lesion"], "class_colors": [[1, 2, 3]], "activation": "sigmoid"}
    assert ClassSet.from_record(old).thresholds == (0.5,)


def test_two_spellings_of_a_name_are_one_name() -> None:
    classes = ClassSet((DECOMPOSED, "a, b", "a/b"))
    assert classes.names == (COMPOSED, "a, b", "a/b")
    assert classes.index(DECOMPOSED) == classes.index(COMPOSED) == 0
    assert normal_name(DECOMPOSED) == COMPOSED
    assert doubled_name(["a", "b", COMPOSED, DECOMPOSED]) == COMPOSED
    with pytest.raises(UsageError, match="a name of its own"):
        ClassSet((COMPOSED, DECOMPOSED))


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": ()},
        {"names": ("a", "a")},
        {"names": ("a",), "colors": ((1, 2, 256),)},
        {"names": ("a",), "colors": ((1, 2, 3), (4, 5, 6))},
        {"names": ("a",), "thresholds": (0.5, 0.5)},
        {"names": ("a",), "thresholds": (NAN,)},
        {"names": ("a",), "activation": "relu"},
    ],
    ids=str,
)
def test_classes_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ClassSet(**wrong)  # type: ignore[arg-type]


def test_a_list_of_names_may_hold_names_with_commas() -> None:
    assert listed_names('stroma, "a, b",c/d') == ("stroma", "a, b", "c/d")
    assert listed_names('"he said ""no"""') == ('he said "no"',)
    assert listed_names(f"{DECOMPOSED},b") == (COMPOSED, "b")
    assert listed_names("") == ()


def test_labels_of_one_output_are_its_absence_and_itself_of_several_the_winner_or_none() -> None:
    one = ClassSet(("a",), "sigmoid", thresholds=(0.3,))
    assert one.labels(np.array([[0.29], [0.31]])).tolist() == [0, 1]
    two = ClassSet(("a", "b"), "sigmoid", thresholds=(0.3, 0.6))
    assert two.labels(np.array([[0.29, 0.59], [0.31, 0.61], [0.4, 0.1]])).tolist() == [-1, 1, 0]


def test_biases_make_probabilities_and_change_no_call() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(4000, 3)) * 3
    plain = ClassSet(("normal", "benign", "malignant"))
    biased = replace(plain, temperature=1.4, biases=(1.2, -0.3, -0.9), calibrated_on=371)
    found = biased.probabilities(logits)
    raised = np.exp(logits / 1.4) * np.exp([1.2, -0.3, -0.9])
    np.testing.assert_allclose(found, raised / raised.sum(1, keepdims=True), rtol=1e-12)
    for values in (found, found.astype(np.float32)):
        assert (biased.winners(values) == logits.argmax(axis=1)).all()
    assert (found.argmax(axis=1) != logits.argmax(axis=1)).mean() > 0.1
    assert "0.3 (normal), 1.3 (benign), 2.5 (malignant)" in biased.rule
    assert (
        biased.calibration
        == "calibrated (T = 1.4, a bias for each class, which changes no call, on 371 pictures)"
    )
    again = ClassSet.from_record(biased.record)
    assert (again.biases, again.calibrated_on) == (biased.biases, 371)
    assert biased.grown_biases(1) == (1.2, -0.3, -0.9, 0.0)
