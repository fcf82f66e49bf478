"""What somebody types first: the name alone, a recipe's name, and what opens a result."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

import slidecam.cli  # noqa: F401  (its import registers the commands)
from slidecam.cli.app import NEXT_STEPS, app
from slidecam.cli.predicting import PANELS
from slidecam.errors import UsageError
from slidecam.learning.recipes.shipped import found_recipe, shipped_recipes, summary_of
from slidecam.options import options_of

if TYPE_CHECKING:
    from typer.testing import Result


def slidecam_(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the files that a browser was started with; none is."""
    files: list[str] = []

    def launch(url: str) -> int:
        files.append(url)
        return 0

    monkeypatch.setattr(typer, "launch", launch)
    return files


def test_the_name_alone_shows_three_next_steps_that_can_be_typed() -> None:
    done = slidecam_()
    assert done.exit_code == 0
    assert done.stdout == NEXT_STEPS.lstrip()
    steps = [line.split()[1] for line in NEXT_STEPS.splitlines() if line.startswith("  slidecam ")]
    assert len(steps) == 3
    assert set(steps) <= set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_help_offers_completion() -> None:
    assert "--install-completion" in slidecam_("--help").stdout


def test_the_options_of_predict_stand_in_groups_and_what_is_said_most_comes_first() -> None:
    groups = re.findall(r"^╭─ ([\w ]+?) ─", slidecam_("predict", "--help").stdout, re.MULTILINE)
    assert groups[:2] == ["Arguments", "Options"]
    assert set(groups[2:]) == {*PANELS.values()}
    assert set(PANELS) <= {each.name for each in options_of("cli")}


def test_recipes_are_listed_with_what_they_are_for() -> None:
    rows = json.loads(slidecam_("recipes", "--json").stdout)["recipes"]
    assert {row["recipe"] for row in rows} == set(shipped_recipes())
    assert all(row["for"] for row in rows)
    assert not any(row["for"].startswith("slidecam ") for row in rows)
    assert summary_of(shipped_recipes()["idc-mobilenetv2"]).startswith("Invasive ductal carcinoma")


def test_a_recipe_is_called_by_its_name_or_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = found_recipe(Path("any-timm"))
    assert shipped.read_text("utf-8").startswith("# Any network of timm")
    assert found_recipe(shipped) == shipped
    Path("any-timm").write_text("[model]\n", encoding="utf-8")
    assert found_recipe(Path("any-timm")) == Path("any-timm")


def test_a_recipe_that_there_is_not_is_answered_with_those_that_were_meant(tmp_path: Path) -> None:
    done = slidecam_("train", "any-tim", "--data", tmp_path, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "There is no recipe 'any-tim'." in done.stderr
    assert "Did you mean any-timm?" in done.stderr
    with pytest.raises(UsageError, match="no such file"):
        found_recipe(tmp_path / "any-timm")


@pytest.mark.parametrize(
    ("files", "page"),
    [
        (["report.html", "slide/overview.png"], "report.html"),
        (["overview.png", "tiles.csv"], "overview.png"),
        (["panel.html", "panel.png"], "panel.html"),
        (["bundle/card.json", "evaluation/evaluation.html"], "evaluation/evaluation.html"),
        (
            ["evaluation/test/evaluation.html", "evaluation/val/evaluation.html"],
            "evaluation/test/evaluation.html",
        ),
    ],
)
def test_open_opens_the_page_of_a_folder(
    files: list[str], page: str, tmp_path: Path, opened: list[str]
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    done = slidecam_("open", tmp_path)
    assert done.exit_code == 0
    assert opened == [str(tmp_path / page)]
    said = json.loads(slidecam_("open", tmp_path, "--json").stdout)
    assert (said["event"], said["file"]) == ("Opened", str(tmp_path / page))


def test_open_says_which_file_where_there_is_no_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("")
    monkeypatch.setattr(typer, "launch", lambda _url: 1)
    said = slidecam_("open", tmp_path).stdout
    assert "report.html" in said
    assert "No browser could be started" in said


def test_open_refuses_what_holds_nothing_to_look_at(tmp_path: Path, opened: list[str]) -> None:
    for folder, words in ((tmp_path, "report.html"), (tmp_path / "gone", "no such file")):
        done = slidecam_("open", folder)
        assert done.exit_code == 2
        assert words in done.stderr
    assert opened == []
