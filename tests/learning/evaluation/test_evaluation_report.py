"""An evaluation's files say the same, and hold every picture.

No name of a class or a file can break them.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from slidecam.learning.evaluation.evaluation import EvaluationSpec, evaluate_predictions, pool_folds
from slidecam.learning.evaluation.report import (
    DOUBTFUL,
    LISTED,
    Background,
    write_doubtful_labels,
    write_evaluation,
)
from slidecam.learning.intervals import IntervalSpec
from slidecam.learning.predictions import Predictions, UnreadPicture, doubtful_labels
from slidecam.learning.published import Published

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.learning.data.picture_files import Part
    from slidecam.learning.evaluation.evaluation import Evaluation

QUICK = EvaluationSpec(intervals=IntervalSpec(50), bundle="ab" * 32)
HOSTILE = "</title><script>alert(1)</script>\"'>"


class _Page(HTMLParser):
    """What a browser would make of the page: its tags, links, sources and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.links += [values["href"] or ""] if "href" in values else []
        self.sources += [values["src"] or ""] if "src" in values else []

    def handle_data(self, data: str) -> None:
        self.words += " ".join(data.split()) + " "


def evaluation(
    names: tuple[str, ...] = ("a", "b"), count: int = 40, seed: int = 0, **changes: Any
) -> Evaluation:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(names)
    logits = rng.normal(size=(count, len(names)))
    logits[np.arange(count), labels] += 1.5
    titles = tuple(f"{names[label]}/{number}.png" for number, label in enumerate(labels))
    made = Predictions(labels, logits, names, titles, **changes)
    return evaluate_predictions(made, QUICK, failures=changes.get("failures", ()))


def page_of(folder: Path) -> _Page:
    return _Page((folder / "evaluation.html").read_text(encoding="utf-8"))


def table_of(folder: Path) -> list[list[str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_record_on_disk_is_the_evaluations(tmp_path: Path) -> None:
    found = evaluation()
    write_evaluation(found, tmp_path / "out")
    on_disk = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert on_disk == json.loads(json.dumps(found.record()))
    assert (
        on_disk["accuracy"]["ci95"][0]
        < on_disk["accuracy"]["value"]
        < on_disk["accuracy"]["ci95"][1]
    )


def test_the_table_has_a_row_for_each_picture_with_its_probabilities(tmp_path: Path) -> None:
    found = evaluation(("a", "b, c"), groups=tuple(f"p{number // 2}" for number in range(40)))
    write_evaluation(found, tmp_path)
    heading, *rows = table_of(tmp_path)
    assert heading == ["path", "true", "predicted", "group", "prob_a", "prob_b, c"]
    assert len(rows) == 40
    assert [row[0] for row in rows] == list(found.predictions.names)
    assert np.array([row[4:] for row in rows], float) == pytest.approx(
        found.predictions.probabilities, rel=1e-5
    )
    assert all((row[2] == "a") == (float(row[4]) > float(row[5])) for row in rows)
    assert np.mean([row[1] == row[2] for row in rows]) == found.figures["accuracy"].value


def test_pictures_without_names_have_numbers(tmp_path: Path) -> None:
    made = Predictions(np.array([0, 1]), np.eye(2), ("a", "b"))
    write_evaluation(evaluate_predictions(made, QUICK), tmp_path)
    assert [row[0] for row in table_of(tmp_path)[1:]] == ["1", "2"]


def test_the_page_tells_figures_with_intervals_and_that_it_is_no_diagnosis(tmp_path: Path) -> None:
    found = evaluation()
    background = Background(
        "Breast", "the test part", {"Split": "70 / 15 / 15"}, ["The public split leaks."]
    )
    write_evaluation(found, tmp_path, background)
    page = page_of(tmp_path)
    accuracy = found.figures["accuracy"]
    assert accuracy.interval is not None
    told = (f"{accuracy.value:.3f}", f"{accuracy.interval.low:.3f} to {accuracy.interval.high:.3f}")
    expected = (
        *told,
        "Breast",
        "the test part",
        "70 / 15 / 15",
        "The public split leaks.",
        "Research use only",
    )
    assert [words for words in expected if words not in page.words] == []
    assert "not for diagnosis" in page.words.lower()
    assert "50 resamples of 40 pictures" in page.words


def test_the_page_needs_nothing_but_itself_and_its_links_are_there(tmp_path: Path) -> None:
    write_evaluation(evaluation(), tmp_path)
    page = page_of(tmp_path)
    assert len(page.sources) == 4
    assert all(source.startswith("data:image/") for source in page.sources)
    assert {
        "figures/roc.png",
        "figures/confusion.png",
        "evaluation.json",
        "predictions.csv",
    } <= set(page.links)
    assert [link for link in page.links if not (tmp_path / link).is_file()] == []
    assert "script" not in page.tags


def test_a_history_and_wrong_pictures_are_shown_where_there_are_any(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "one.png")
    history = [{"epoch": 1, "train_loss": 1.0, "val_loss": 1.1, "val_accuracy": 0.5}]
    found = evaluation(paths=(tmp_path / "one.png",) * 40)
    write_evaluation(found, tmp_path / "out", Background(history=history))
    assert {"figures/learning.png", "figures/worst.png"} <= set(page_of(tmp_path / "out").links)
    with Image.open(tmp_path / "out" / "figures" / "worst.png") as sheet:
        assert sheet.width > 1000


def test_no_name_can_break_the_files(tmp_path: Path) -> None:
    names = (HOSTILE, "$5 and $x^2$", "白血病", "a/b\\c:d", "x" * 300)
    write_evaluation(
        evaluation(names), tmp_path, Background(HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, [HOSTILE])
    )
    page = page_of(tmp_path)
    assert "script" not in page.tags
    assert page.words.count(HOSTILE) >= 5
    assert [name for name in names if name not in page.words] == []
    assert table_of(tmp_path)[0][3:] == [f"prob_{name}" for name in names]
    assert set(
        json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["per class"]
    ) == set(names)


def test_pictures_that_could_not_be_classified_are_named_and_many_are_counted(
    tmp_path: Path,
) -> None:
    failures = [UnreadPicture(f"red/{number}.png", "broken off") for number in range(LISTED + 7)]
    found = evaluate_predictions(evaluation().predictions, QUICK, failures=failures)
    write_evaluation(found, tmp_path)
    words = page_of(tmp_path).words
    assert "red/0.png" in words
    assert "57 pictures are in no figure" in words
    assert "and 7 more" in words
    record = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert len(record["data"]["failures"]) == LISTED + 7


def test_one_class_only_has_a_page_without_curves(tmp_path: Path) -> None:
    made = Predictions(np.zeros(5, np.int64), np.tile([2.0, 0.0], (5, 1)), ("a", "b"))
    write_evaluation(evaluate_predictions(made, QUICK), tmp_path)
    page = page_of(tmp_path)
    assert "figures/roc.png" not in page.links
    assert not (tmp_path / "figures" / "roc.png").exists()
    assert "all pictures are of one class" in page.words


def test_cross_validation_says_so_and_tells_the_spread_over_folds(tmp_path: Path) -> None:
    pooled = pool_folds([evaluation(seed=seed) for seed in range(3)], QUICK)
    write_evaluation(pooled, tmp_path)
    words = page_of(tmp_path).words
    spread = pooled.folds["accuracy"]
    assert "Cross-validation over 3 folds" in words
    assert f"{spread.mean:.3f} ± {spread.sd:.3f}" in words


def test_writing_again_replaces_what_was_there_and_leaves_nothing_half_written(
    tmp_path: Path,
) -> None:
    for name in ("evaluation.json", "predictions.csv", "evaluation.html"):
        (tmp_path / name).write_text("old")
    write_evaluation(evaluation(count=10), tmp_path)
    assert len(table_of(tmp_path)) == 11
    assert "old" not in {path.read_text(encoding="utf-8") for path in tmp_path.glob("evaluation.*")}
    assert not list(tmp_path.rglob("*.partial"))


def test_a_raw_score_stands_in_the_table_as_it_is_and_nothing_of_its_absence(
    tmp_path: Path,
) -> None:
    logits = np.array([[3.25], [-1.75]])
    made = Predictions(np.array([1, 0]), logits, ("not lesion", "lesion"), activation="none")
    write_evaluation(evaluate_predictions(made, QUICK), tmp_path)
    assert table_of(tmp_path) == [
        ["path", "true", "predicted", "score_lesion"],
        ["1", "lesion", "lesion", "3.25"],
        ["2", "not lesion", "not lesion", "-1.75"],
    ]


def test_labels_that_are_likely_wrong_are_those_of_a_slow_count(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    true = random.integers(0, 3, 90)
    labels = true.copy()
    labels[[4, 41, 77]] = (true[[4, 41, 77]] + 1) % 3
    logits = 5.3 * np.eye(3)[true] + random.normal(size=(90, 3))
    names = tuple(f"{row:02d}.png" for row in range(90))
    predictions = Predictions(labels, logits, ("a", "b", "c"), names)
    found = doubtful_labels(predictions)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    means = [shares[labels == label, label].mean() for label in range(3)]
    expected = set()
    for row in range(90):
        sure = [label for label in range(3) if shares[row, label] >= means[label]]
        if sure and max(sure, key=lambda label: shares[row, label]) != labels[row]:
            expected.add(names[row])
    assert {each.name for each in found} == expected
    assert len(expected & {names[row] for row in (4, 41, 77)}) >= 2
    margins = [each.own - each.other for each in found]
    assert margins == sorted(margins)
    (said,) = write_doubtful_labels(predictions, tmp_path / DOUBTFUL)
    assert said.startswith("Labels that are likely wrong, by predictions of networks without the")
    assert f"({len(expected)}): {found[0].name} ({found[0].label}, likelier" in said
    lines = (tmp_path / DOUBTFUL).read_text().splitlines()
    assert lines[0] == "path,label,likelier,prob_label,prob_likelier"
    assert len(lines) == 1 + len(expected)
    right = replace(predictions, labels=true, logits=9.0 * np.eye(3)[true])
    assert write_doubtful_labels(right, tmp_path / "none.csv") == ()
    assert not (tmp_path / "none.csv").exists()


def test_published_figures_and_the_data_stand_beside_ours(tmp_path: Path) -> None:
    published = Published("table 3", "Not by patient.", {"accuracy": 0.8137})
    counts: Mapping[Part, Mapping[str, int]] = {"train": {"a": 31, "b": 7}, "": {"a": 1, "b": 0}}
    background = Background(published=published, counts=counts)
    write_evaluation(evaluation(), tmp_path, background)
    page = page_of(tmp_path)
    assert "0.814" in page.words
    assert "Published: table 3. Not by patient." in page.words
    assert "figures/data.png" in page.links
    write_evaluation(evaluation(), tmp_path / "bare", Background())
    bare = page_of(tmp_path / "bare")
    assert "Published" not in bare.words
    assert "figures/data.png" not in bare.links
