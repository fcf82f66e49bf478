"""Classes are matched by name, every picture is counted or told, and the record says all of it."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from slidecam.errors import DataSetError
from slidecam.learning.data.pictures import PictureSet, read_picture_set
from slidecam.learning.evaluation.classifying import evaluate, match_classes
from slidecam.learning.evaluation.evaluation import EvaluationSpec, evaluate_predictions, pool_folds
from slidecam.learning.evaluation.figures import FIGURES, Figure
from slidecam.learning.intervals import IntervalSpec
from slidecam.learning.predictions import Predictions, UnreadPicture
from slidecam.models import Card
from slidecam.models.classifier import classifier_for
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.models import Classifier

QUICK = EvaluationSpec(batch=3, workers=2, intervals=IntervalSpec(50))
COLORS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}


class MeanColor(nn.Module):
    """One logit for each weight row: how red, green and blue a picture is."""

    def __init__(self, weight: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, len(weight), bias=False)
        self.linear.weight.data = torch.tensor(weight)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(pixels.mean((2, 3)))
        return logits


def color_classifier(
    names: tuple[str, ...] = ("red", "green", "blue"), **changes: Any
) -> Classifier:
    """Return a classifier of whole pictures by their colour.

    The logits are in the order of ``names``.
    """
    rows = {"red": [4.0, 0, 0], "green": [0, 4.0, 0], "blue": [0, 0, 4.0]}
    card = Card(
        name="colours",
        architecture="mean-colour",
        class_names=names,
        activation="softmax" if len(names) > 1 else "sigmoid",
        tile_px=8,
        spacing=None,
        input_px=8,
        mean=(0, 0, 0) if len(names) > 1 else (0.5, 0, 0),
        std=(1, 1, 1),
        **changes,
    )
    return classifier_for(MeanColor([rows[name] for name in names]), card, torch.device("cpu"))


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    """Return class folders of four red, green and blue pictures each."""
    rng = np.random.default_rng(0)
    for name, color in COLORS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.clip(rng.normal(color, 20, (6, 9, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


def measured(classifier: Classifier, folder: Path, spec: EvaluationSpec = QUICK) -> Evaluation:
    return result_of(evaluate(classifier, read_picture_set(folder), spec))


def predictions(seed: int = 0, count: int = 40, **changes: Any) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    logits = rng.normal(size=(count, 2))
    logits[np.arange(count), labels] += 1
    names = tuple(f"{seed}/{number}.png" for number in range(count))
    return replace(Predictions(labels, logits, ("a", "b"), names), **changes)


def test_classes_are_matched_by_name_whatever_their_order(colors: Path) -> None:
    found = measured(color_classifier(), colors)
    assert found.figures["accuracy"].value == 1
    assert found.predictions.class_names == ("red", "green", "blue")
    assert found.confusion.tolist() == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert (
        measured(color_classifier(("blue", "red", "green")), colors).figures["accuracy"].value == 1
    )


def test_a_folder_with_the_wrong_pictures_is_wrong(colors: Path) -> None:
    (colors / "red").rename(colors / "aside")
    (colors / "green").rename(colors / "red")
    (colors / "aside").rename(colors / "green")
    assert measured(color_classifier(), colors).confusion.tolist() == [
        [0, 4, 0],
        [4, 0, 0],
        [0, 0, 4],
    ]


def test_logits_are_those_of_the_pictures_one_by_one(colors: Path) -> None:
    classifier = color_classifier()
    found = measured(classifier, colors)
    for name, logits in zip(found.predictions.names, found.predictions.logits, strict=True):
        pixels = np.asarray(Image.open(colors / name).resize((8, 8), Image.Resampling.BILINEAR))
        expected = classifier.run(torch.from_numpy(pixels.copy())[None], gradients=False).logits[0]
        assert logits == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_the_batch_changes_nothing(colors: Path, batch: int) -> None:
    one, other = (
        measured(color_classifier(), colors, replace(QUICK, batch=size)) for size in (batch, 3)
    )
    assert one.predictions.logits == pytest.approx(other.predictions.logits, abs=1e-6)
    assert one.data_digest == other.data_digest


def test_a_corrupt_picture_is_named_and_in_no_figure(colors: Path) -> None:
    (colors / "green" / "1.png").write_bytes(b"no picture at all")
    sound = (colors / "red" / "2.png").read_bytes()
    (colors / "red" / "2.png").write_bytes(sound[: len(sound) // 2])
    found = measured(color_classifier(), colors)
    assert [failure.name for failure in found.failures] == ["green/1.png", "red/2.png"]
    assert all(failure.reason and str(colors) not in failure.reason for failure in found.failures)
    assert found.support == {"red": 3, "green": 3, "blue": 4}
    assert found.figures["accuracy"].value == 1
    assert "green/1.png" not in found.predictions.names


def test_a_picture_that_vanishes_is_named(colors: Path) -> None:
    pictures = read_picture_set(colors)
    (colors / "blue" / "0.png").unlink()
    found = result_of(evaluate(color_classifier(), pictures, QUICK))
    assert [failure.name for failure in found.failures] == ["blue/0.png"]
    assert "cannot be opened" in found.failures[0].reason


class UnforeseenError(Exception):
    """Derives from nothing that any list of errors could name."""


def test_a_picture_that_throws_whatever_is_named_and_in_no_figure(
    colors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hashlib.file_digest

    def throwing(file: Any, digest: Any) -> Any:
        if file.name.endswith("red/0.png"):
            raise UnforeseenError("nobody expected this")
        return real(file, digest)

    monkeypatch.setattr(hashlib, "file_digest", throwing)
    evaluation = measured(color_classifier(), colors)
    (failure,) = evaluation.failures
    assert failure.name.endswith("red/0.png")
    assert failure.reason == "this file cannot be read: nobody expected this"


def test_logits_that_are_no_numbers_are_failures(colors: Path) -> None:
    classifier = color_classifier()
    black = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    black.save(colors / "red" / "black.png")

    class Broken(type(classifier)):  # type: ignore[misc]  # any classifier
        def run(self, pixels: torch.Tensor, **how: Any) -> Any:
            passed = classifier.run(pixels, **how)
            dark = pixels.flatten(1).sum(1) == 0
            return replace(passed, logits=passed.logits.masked_fill(dark[:, None], float("nan")))

    broken = Broken(**{name: getattr(classifier, name) for name in classifier.__dataclass_fields__})
    found = measured(broken, colors)
    assert [failure.name for failure in found.failures] == ["red/black.png"]
    assert "finite" in found.failures[0].reason


def test_nothing_but_corrupt_pictures_is_an_error_that_names_one(colors: Path) -> None:
    for path in colors.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataSetError, match=r"None of 12 pictures .*blue/0\.png"):
        measured(color_classifier(), colors)


def test_no_picture_is_an_error(colors: Path) -> None:
    nothing = read_picture_set(colors).rows([])
    with pytest.raises(DataSetError, match="no picture to measure on"):
        result_of(evaluate(color_classifier(), nothing, QUICK))


def test_a_class_that_the_classifier_does_not_know_is_an_error_that_names_both(
    colors: Path,
) -> None:
    (colors / "red").rename(colors / "crimson")
    with pytest.raises(
        DataSetError, match=r"'crimson' .*red, green, blue.*--map crimson="
    ) as error:
        measured(color_classifier(), colors)
    assert str(colors) in str(error.value)
    found = measured(color_classifier(), colors, replace(QUICK, mapping={"crimson": "red"}))
    assert found.figures["accuracy"].value == 1


def test_several_classes_of_the_data_may_be_one_of_the_classifiers(colors: Path) -> None:
    found = measured(
        color_classifier(("red", "green")), colors, replace(QUICK, mapping={"blue": "green"})
    )
    assert found.support == {"red": 4, "green": 8}


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [({"pink": "red"}, "no class 'pink' in the data"), ({"red": "pink"}, "no class 'pink'")],
)
def test_a_mapping_of_classes_that_are_not_there_is_refused(
    colors: Path, mapping: dict[str, str], problem: str
) -> None:
    with pytest.raises(DataSetError, match=problem):
        measured(color_classifier(), colors, replace(QUICK, mapping=mapping))


def test_a_class_that_the_data_lack_has_no_figures(colors: Path) -> None:
    for path in (colors / "blue").iterdir():
        path.unlink()
    (colors / "blue").rmdir()
    found = measured(color_classifier(), colors)
    assert found.support["blue"] == 0
    assert found.per_class["blue"]["sensitivity"].value is None
    assert "blue" in found.figures["macro AUC"].note


def test_a_classifier_of_one_logit_is_measured_as_yes_and_no(colors: Path) -> None:
    classifier = color_classifier(("red",))
    found = measured(classifier, colors)
    assert found.predictions.class_names == ("not red", "red")
    assert found.support == {"not red": 8, "red": 4}
    assert found.figures["accuracy"].value == 1
    logits = torch.from_numpy(found.predictions.logits)
    assert found.predictions.probabilities[:, 1] == pytest.approx(
        classifier.probabilities(logits)[:, 0].numpy()
    )


def test_one_other_class_keeps_its_name(colors: Path) -> None:
    pictures = read_picture_set(colors)
    two = pictures.rows(np.flatnonzero(pictures.labels != 1))
    assert match_classes(two, color_classifier(("red",)).card).names == ("blue", "red")


def test_a_cohort_without_the_class_gets_its_specificity_and_the_reason_of_the_rest(
    colors: Path,
) -> None:
    pictures = read_picture_set(colors)
    blue = pictures.rows(np.flatnonzero(pictures.labels == 0))
    found = result_of(evaluate(color_classifier(("red",)), blue, QUICK))
    assert found.per_class["red"]["specificity"].value == 1
    assert found.per_class["red"]["sensitivity"].value is None
    assert found.figures["macro AUC"].value is None
    assert found.support == {"blue": 4, "red": 0}
    (note,) = found.notes
    assert note.startswith("Nothing here is of 'red': all 4 pictures (blue) count as without it")
    assert "--map" not in note


def test_classes_none_of_which_is_looked_for_may_be_named_otherwise(colors: Path) -> None:
    (colors / "red").rename(colors / "1")
    found = measured(color_classifier(("red",)), colors)
    assert found.support == {"not red": 12, "red": 0}
    assert "--map THEIRS=OURS" in found.notes[0]
    assert (
        measured(color_classifier(("red",)), colors, replace(QUICK, mapping={"1": "red"})).support[
            "red"
        ]
        == 4
    )


def test_the_cards_temperature_softens_probabilities_and_keeps_predictions(colors: Path) -> None:
    hot, plain = (
        measured(color_classifier(temperature=3.0), colors),
        measured(color_classifier(), colors),
    )
    assert hot.predictions.probabilities.max() < plain.predictions.probabilities.max()
    assert hot.predictions.uncalibrated == pytest.approx(plain.predictions.probabilities)
    assert plain.predictions.uncalibrated is None
    assert (hot.predictions.predicted == plain.predictions.predicted).all()
    assert hot.record()["temperature"] == 3


def test_the_datas_digest_is_of_contents_and_labels_not_of_names(
    colors: Path, tmp_path: Path
) -> None:
    before = measured(color_classifier(), colors).data_digest
    (colors / "red" / "0.png").rename(colors / "red" / "renamed.png")
    moved = colors.rename(tmp_path / "elsewhere")
    assert measured(color_classifier(), moved).data_digest == before
    (moved / "red" / "renamed.png").rename(moved / "blue" / "renamed.png")
    assert measured(color_classifier(), moved).data_digest != before


def test_groups_of_the_data_are_drawn_together(colors: Path) -> None:
    pictures = read_picture_set(colors)
    grouped = pictures.with_groups([path.stem for path in pictures.paths])
    found = result_of(evaluate(color_classifier(), grouped, QUICK))
    assert found.record()["data"]["groups"] == 4  # type: ignore[index]
    assert "4 groups" in found.method


def test_progress_is_told_and_closing_leaves_no_thread(colors: Path) -> None:
    work = evaluate(color_classifier(), read_picture_set(colors), QUICK)
    step = next(work)
    assert (step.phase, step.done, step.total) == ("classifying", 3, 12)
    work.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("slidecam-pictures")]


def test_the_record_is_json_with_a_value_and_an_interval_for_each_figure(colors: Path) -> None:
    (colors / "red" / "0.png").write_bytes(b"")
    found = measured(color_classifier(), colors, replace(QUICK, bundle="ab" * 32))
    record: Any = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record["accuracy"]["value"] == 1
    low, high = record["accuracy"]["ci95"]
    assert 0.6 < low < high == 1
    assert record["accuracy"]["by"] == "Wilson"
    assert set(FIGURES) < set(record)
    assert record["ECE"]["ci95"] is None
    assert record["ECE by chance"]["ci95"][0] <= record["ECE by chance"]["value"]
    assert record["per class"]["red"]["support"] == 3
    assert record["confusion"]["counts"][1] == [0, 4, 0]
    assert record["data"]["failures"] == [
        {
            "path": "red/0.png",
            "reason": found.failures[0].reason,
            "remedy": "Copy it again, or take it out of the data.",
        }
    ]
    assert record["data"]["counts"] == {"red": 3, "green": 4, "blue": 4}
    assert record["bundle"] == "ab" * 32
    assert len(record["data"]["digest"]) == 64


def test_predictions_made_elsewhere_are_measured_alike(colors: Path) -> None:
    found = measured(color_classifier(), colors)
    again = evaluate_predictions(found.predictions, QUICK, data_digest=found.data_digest)
    assert again.record() == found.record()


def test_predictions_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(DataSetError, match="40 labels and 39 names"):
        predictions(names=tuple("x" * 39))
    with pytest.raises(DataSetError, match="40 labels and 0 logits"):
        predictions(logits=np.zeros((0, 2)))
    with pytest.raises(DataSetError, match="40 labels and 1 groups"):
        predictions(groups=("one",))


def test_scores_have_no_calibration_error_and_none_by_chance() -> None:
    found = evaluate_predictions(predictions(activation="none"), QUICK)
    assert found.figures["ECE"].value is None
    assert found.figures["ECE by chance"].value is None
    assert found.figures["macro AUC"].interval is not None
    json.dumps(found.record(), allow_nan=False)


def test_folds_are_pooled_picture_by_picture_and_their_spread_is_told() -> None:
    parts = [predictions(seed) for seed in range(5)]
    folds = [evaluate_predictions(part, QUICK) for part in parts]
    pooled = pool_folds(folds, QUICK)
    values = [fold.figures["accuracy"].value or 0 for fold in folds]
    assert pooled.figures["accuracy"].value == pytest.approx(np.mean(values))
    assert pooled.folds["accuracy"].mean == pytest.approx(np.mean(values))
    assert pooled.folds["accuracy"].sd == pytest.approx(np.std(values, ddof=1))
    assert pooled.record()["folds"]["accuracy"]["values"] == values  # type: ignore[index]
    assert pooled.pictures == 200
    assert pooled.predictions.groups is None
    assert pooled.predictions.names == tuple(name for part in parts for name in part.names)


def test_each_folds_temperature_is_its_own() -> None:
    one, other = predictions(0, temperature=2.0), predictions(1)
    pooled = pool_folds([evaluate_predictions(part, QUICK) for part in (one, other)], QUICK)
    assert pooled.predictions.probabilities[:40] == pytest.approx(one.probabilities)
    assert pooled.predictions.probabilities[40:] == pytest.approx(other.probabilities)


def test_a_picture_that_repeated_folds_test_again_is_one_case() -> None:
    part = predictions(0)
    fold = evaluate_predictions(part, replace(QUICK, intervals=IntervalSpec(1000)))
    pooled = pool_folds([fold] * 6, replace(QUICK, intervals=IntervalSpec(1000)))
    assert pooled.pictures == 40
    one, many = fold.figures["accuracy"].interval, pooled.figures["accuracy"].interval
    assert one is not None
    assert many is not None
    assert many.high - many.low == pytest.approx(one.high - one.low, abs=0.03)


def test_folds_without_names_are_not_taken_for_repeats() -> None:
    folds = [evaluate_predictions(predictions(seed, names=()), QUICK) for seed in range(2)]
    pooled = pool_folds(folds, QUICK)
    assert pooled.predictions.groups is None
    assert pooled.pictures == 80


def test_folds_keep_their_groups_and_failures() -> None:
    groups = tuple(f"patient {number // 4}" for number in range(40))
    failure = UnreadPicture("x.png", "broken")
    fold = evaluate_predictions(predictions(0, groups=groups), QUICK, failures=[failure])
    pooled = pool_folds([fold, fold], QUICK)
    assert pooled.predictions.groups == groups * 2
    assert pooled.failures == (failure,)


def test_folds_of_different_classes_are_not_pooled() -> None:
    folds = [
        evaluate_predictions(predictions(0, class_names=names), QUICK)
        for names in (("a", "b"), ("a", "c"))
    ]
    with pytest.raises(DataSetError, match="different classes"):
        pool_folds(folds)
    with pytest.raises(DataSetError):
        pool_folds([])


def test_one_class_only_is_measured_as_far_as_it_can_be(colors: Path) -> None:
    pictures = read_picture_set(colors)
    red: PictureSet = pictures.rows(np.flatnonzero(pictures.labels == 2))
    found = result_of(evaluate(color_classifier(), red, QUICK))
    assert found.per_class["red"]["sensitivity"].value == 1
    assert found.figures["kappa"].value is None
    json.dumps(found.record(), allow_nan=False)


def test_one_score_ranks_its_absence_by_its_negative() -> None:
    scores = np.array([[0.13], [0.71], [0.5]])
    made = Predictions(np.array([0, 1, 1]), scores, ("not a", "a"), activation="none")
    np.testing.assert_allclose(made.probabilities, [[-0.13, 0.13], [-0.71, 0.71], [-0.5, 0.5]])
    assert made.predicted.tolist() == [0, 1, 1]


def scored(*scores: float, labels: tuple[int, ...], **changes: Any) -> Predictions:
    logits = np.array(scores, np.float32)[:, None]
    return Predictions(
        np.array(labels), logits, ("not lesion", "lesion"), activation="none", **changes
    )


@pytest.mark.parametrize("scale", [0.83, 7.1], ids=["as-if-probabilities", "beyond-one"])
def test_one_raw_score_is_no_probability_wherever_its_numbers_lie(scale: float) -> None:
    made = scored(0.31 * scale, 0.93 * scale, 0.62 * scale, 0.77 * scale, labels=(0, 1, 1, 0))
    found = evaluate_predictions(made, QUICK)
    for name in ("ECE", "NLL", "Brier", "ECE by chance"):
        assert found.figures[name].value is None
        assert found.figures[name].interval is None
        assert "no probabilities" in found.figures[name].note
    # Three of four pairs of a lesion and none are ranked right, seen from either side.
    assert found.figures["macro AUC"].value == 0.75
    assert found.per_class["not lesion"]["AUC"].value == 0.75


def test_raw_scores_that_happen_to_sum_to_one_are_no_probabilities() -> None:
    shares = np.array([[0.17, 0.83], [0.71, 0.29], [0.44, 0.56]])
    made = Predictions(np.array([1, 0, 0]), shares, ("a", "b"), activation="none")
    found = evaluate_predictions(made, QUICK)
    assert [found.figures[name].value for name in ("ECE", "NLL", "Brier")] == [None] * 3
    assert list(made.columns) == ["score_a", "score_b"]


def test_the_most_wrong_of_one_score_is_the_farthest_beyond_its_threshold() -> None:
    made = scored(3.1, 0.4, 1.2, 2.6, labels=(0, 1, 0, 1), thresholds=(1.7,))
    assert made.true_outputs == pytest.approx([-1.4, -1.3, 0.5, 0.9])
    assert made.predicted.tolist() == [1, 0, 0, 1]


def test_a_figure_without_an_interval_says_why() -> None:
    same = "no interval: all resamples have the same figure"
    assert str(Figure(1.0, None, same)) == f"1.000 ({same})"
    assert str(Figure(None, None, "one class only")) == "none (one class only)"
    assert str(Figure(0.87654)) == "0.877"
