"""Slides together: how much of each class a cohort has, and two cohorts beside each other."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.exchange.cohort import (
    APART,
    TOGETHER,
    cohort_shares,
    compare_cohorts,
    mixed_words,
)
from slidecam.exchange.manifest import RunFacts, SlideReport, TileCounts, add_to_manifest
from slidecam.runs.legend import SHARE_MEANS, ClassifiedTissue, ClassSummary

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
RUN = RunFacts("0.1.0", "pocket", "ab" * 32, {}, NOW, NOW, 0)


def a_slide(name: str, unit: str = "µm²", /, model: str = "pocket", **areas: float) -> SlideReport:
    """Return a slide with areas by its classes, of a model whose digest is its name."""
    whole = sum(areas.values())
    rows = tuple(
        ClassSummary(label, (1, 2, 3), 5, area / whole, 0.31, area=area)
        for label, area in areas.items()
    )
    return SlideReport(
        name,
        f"/data/{name}.svs",
        "done",
        TileCounts(10),
        rows,
        bundle=model,
        bundle_digest=model,
        tissue=ClassifiedTissue(unit, None, whole, undecided=0.0),
        facts={"input": {"fingerprint": "f"}},
    )


def shares_of(*reports: SlideReport) -> list[dict[str, float]]:
    return [{one.name: one.share for one in each.classes} for each in cohort_shares(reports)]


def test_the_shares_of_a_cohort_are_those_of_its_tissue() -> None:
    large, small = a_slide("large", a=700.0, b=310.0), a_slide("small", a=1.5, b=2.5)
    failed = SlideReport("x", "x.svs", "failed")
    (shares,) = cohort_shares([large, failed, small])
    assert [(one.name, one.count) for one in shares.classes] == [("a", 10), ("b", 10)]
    assert [one.share for one in shares.classes] == pytest.approx([701.5 / 1014, 312.5 / 1014])
    assert shares.means == (SHARE_MEANS, TOGETHER)


def test_slides_whose_areas_do_not_add_up_with_the_others_are_left_out_in_words() -> None:
    older = SlideReport(
        "older", "o.svs", "done", classes=a_slide("older", a=1.0, b=1.0).classes, bundle="pocket"
    )
    (shares,) = cohort_shares(
        [a_slide("a", a=7.0, b=6.0), a_slide("no spacing", "px²", a=1.0, b=99.0), older]
    )
    assert shares.classes[0].share == pytest.approx(7 / 13)
    assert "1 slide without areas in µm²: not in the total." in shares.means
    assert any("1 slide written by an older slidecam" in sentence for sentence in shares.means)


def test_classes_of_several_models_add_up_only_where_they_are_the_same() -> None:
    first, again = a_slide("1", a=3.0, b=1.0), a_slide("2", model="B2", b=4.0, a=0.0)
    other = a_slide("3", model="C", a=1.0, gland=1.0)
    assert shares_of(first, again) == [{"a": 0.375, "b": 0.625}]
    assert shares_of(first, other) == [{"a": 0.75, "b": 0.25}, {"a": 0.5, "gland": 0.5}]
    assert mixed_words([first]) == ""
    assert mixed_words([first, again]) == (
        "This folder holds results of 2 models: pocket (pocket) of 1 slide, B2 (B2) of 1 slide."
    )


def test_two_cohorts_are_compared_slide_by_slide() -> None:
    before = [a_slide("a", t=30.0, s=70.0), a_slide("small", t=9.0, s=1.0)]
    after = [a_slide("a", t=55.0, s=45.0), a_slide("small", t=8.0, s=2.0)]
    found = compare_cohorts([*before, a_slide("gone", t=1.0)], after)
    assert dict(found.rows[0]) == {
        "slide": "a",
        "t before": 0.3,
        "t after": 0.55,
        "s before": 0.7,
        "s after": 0.45,
    }
    assert dict(found.classes[0]) == {
        "class": "t",
        "slides": 2,
        "together before": 0.354545,
        "together after": 0.572727,
        "mean before": 0.6,
        "mean after": 0.675,
        "largest change": 0.25,
        "of": "a",
    }
    assert found.left_out == ("Only before: gone.",)
    assert found.notes == ()


def test_another_slide_of_the_same_name_is_not_compared() -> None:
    other = SlideReport(**{**vars(a_slide("a", t=1.0)), "facts": {"input": {"fingerprint": "g"}}})
    found = compare_cohorts([a_slide("a", t=1.0)], [other])
    assert found.left_out == ("a: another slide of the same name.",)


def test_a_class_that_one_model_does_not_know_has_no_share_there() -> None:
    before = [a_slide("1", t=1.0, s=3.0), a_slide("2", t=1.0, s=1.0)]
    after = [a_slide("1", model="B2", t=1.0, g=1.0), a_slide("2", model="C", g=1.0)]
    found = compare_cohorts(before, after)
    assert [dict(row) for row in found.rows] == [
        {"slide": "1", "t before": 0.25, "t after": 0.5},
    ]
    assert [row["class"] for row in found.classes] == ["t"]
    assert found.left_out == (
        "2: pocket (pocket) and C (C) have no class in common.",
        "The class g of B2 (B2): pocket (pocket) does not know it (1 slide), not compared.",
        "The class s of pocket (pocket): B2 (B2) does not know it (1 slide), not compared.",
    )
    assert found.notes == ("1 slide: pocket (pocket) before, B2 (B2) after, two models.",)


def cohort(folder: Path, *reports: SlideReport) -> str:
    add_to_manifest(folder / "manifest.json", reports, RUN, lambda _name: True)
    return str(folder)


def shown(*words: str) -> str:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return result.output


def test_summary_and_compare_give_a_cohort_the_same_share(tmp_path: Path) -> None:
    out = cohort(tmp_path / "a", a_slide("large", t=30.0, s=70.0), a_slide("small", t=9.0, s=1.0))
    compared: Any = json.loads(shown("compare", out, out, "--json"))
    summed: Any = json.loads(shown("summary", out, "--json"))
    assert summed["together"][0]["shares"]["t"] == compared["classes"][0]["together after"]
    assert compared["classes"][0]["mean after"] == 0.6
    assert "t 35.5%, s 64.5%" in shown("summary", out)
    assert "35.5%" in shown("compare", out, out)


HOSTILE = "a\x1b[2J\x9bm\nb"


def test_names_with_control_characters_are_escaped_wherever_they_are_shown(tmp_path: Path) -> None:
    out = cohort(tmp_path / "a", a_slide(HOSTILE, t=1.0))
    table = tmp_path / "slides.csv"
    plain = r"a\x1b[2J\x9bm\nb"
    assert plain in shown("summary", out, "--csv", str(table))
    assert plain in table.read_text(encoding="utf-8")
    text = shown("summary", out, "--json")
    assert not {"\x1b", "\x9b"} & set(text)
    assert json.loads(text)["slides"][0]["slide"] == HOSTILE


def test_what_no_terminal_shows_is_broken_nowhere(tmp_path: Path) -> None:
    name = "TCGA-" + "long" * 60
    assert name in shown("summary", cohort(tmp_path / "a", a_slide(name, t=1.0)))


def test_a_class_that_is_called_as_a_column_has_one_of_its_own(tmp_path: Path) -> None:
    out = cohort(tmp_path / "a", a_slide("1", s=1.0, failed=3.0))
    header, row = shown("summary", out).splitlines()[:2]
    assert "share s" in header
    assert "share failed" in header
    assert "25.0%" in row
    assert "75.0%" in row


def test_summary_says_of_which_models_a_folder_is(tmp_path: Path) -> None:
    out = cohort(tmp_path / "a", a_slide("1", t=1.0), a_slide("2", model="B2", g=1.0))
    words = " ".join(shown("summary", out).split())
    assert "results of 2 models" in words
    assert APART in words
