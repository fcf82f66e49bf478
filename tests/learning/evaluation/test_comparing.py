"""Bundles side by side: a row for each, and one for what others reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slidecam.learning.evaluation.comparing import Comparison, write_comparison
from slidecam.learning.evaluation.differences import differences_of
from slidecam.learning.evaluation.evaluation import EvaluationSpec, evaluate_predictions
from slidecam.learning.intervals import IntervalSpec
from slidecam.learning.predictions import Predictions
from slidecam.learning.published import Published

if TYPE_CHECKING:
    from pathlib import Path


def test_a_published_row_follows_the_bundle_whose_card_has_it(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    evaluations = {}
    for name in ("ours", "plain"):
        labels, logits = draw.integers(0, 2, 41), draw.normal(size=(41, 2))
        names = tuple(map(str, range(41)))
        each = Predictions(labels, logits, ("a", "b"), names)
        spec = EvaluationSpec(intervals=IntervalSpec(50))
        evaluations[name] = evaluate_predictions(each, spec)
    published = {"ours": Published("table 3", "Not by patient.", {"accuracy": 0.8137})}
    compared = Comparison(evaluations, differences_of(evaluations), (), published)
    rows = compared.rows()
    assert [row["bundle"] for row in rows] == ["ours", "published: table 3", "plain"]
    assert (rows[1]["accuracy"], rows[1]["macro F1"]) == ("0.814", "")
    assert compared.record()["published"] == {"ours": published["ours"].record()}
    write_comparison(compared, tmp_path, "cells", None)
    page = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert page.index(">ours<") < page.index("published: table 3") < page.index(">plain<")
