"""Every command of the READMEs and of the site can be typed as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

import slidecam.cli  # noqa: F401  (its import registers the commands)
from slidecam.cli.app import app
from slidecam.learning.recipes.shipped import found_recipe
from slidecam.learning.training.sweep import read_with_axes
from slidecam.viewing import AS_THE_FILE_SAYS

ROOT = Path(__file__).parents[1]
READMES = (
    "README.md",
    "cluster/README.md",
    "training/README.md",
    "sample_data/README.md",
    "qupath-scripts/README.md",
    "CONTRIBUTING.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
)


def commands() -> list[str]:
    """Return the lines of code that call slidecam, each with what follows its backslashes."""
    found: dict[str, None] = {}
    for name in READMES:
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        fenced = False
        for line in text.splitlines():
            fenced ^= line.startswith("```")
            if line.startswith("    slidecam ") or (fenced and line.startswith("slidecam ")):
                found[line.partition("  #")[0].strip()] = None
    return list(found)


def words_of(command: str) -> list[str]:
    """Return the words of one command, without what a shell would do after it."""
    words = shlex.split(re.split(r"&&|\||;", command)[0])
    return words[1:]


@pytest.mark.parametrize("command", commands())
def test_a_command_of_a_readme_has_the_options_that_it_is_given(command: str) -> None:
    name, *words = words_of(command)
    group = typer.main.get_command(app)
    commands_by_name = group.commands  # type: ignore[attr-defined]
    assert name in commands_by_name
    commands_by_name[name].make_context(name, words)


@pytest.mark.parametrize(
    "command", [each for each in commands() if each.startswith("slidecam train")]
)
def test_a_recipe_of_a_readme_takes_the_weights_that_it_is_given(command: str) -> None:
    words = words_of(command)
    changes = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    path = found_recipe(ROOT / words[1] if words[1].endswith(".toml") else Path(words[1]))
    recipe, _axes, _notes = read_with_axes(path, changes, AS_THE_FILE_SAYS)
    assert ("--weights" in words) == (recipe.model.weights == "file")


def test_the_readmes_have_commands() -> None:
    assert len(commands()) > 90


def test_the_readme_is_read_at_a_sitting() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("name", ["SECURITY.md", "CHANGELOG.md", *READMES])
def test_a_link_of_a_readme_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"(?<!`)\]\(([^)\s]+)\)", text):
        path = target.partition("#")[0]
        offered = name.startswith("docs/") and path.endswith((".ipynb", ".schema.json"))
        if path and not path.startswith(("http", "mailto:")) and not offered:
            assert (ROOT / name).parent.joinpath(path).exists(), target


def test_the_recipe_that_a_readme_explains_is_one(tmp_path: Path) -> None:
    text = (ROOT / "training/README.md").read_text(encoding="utf-8")
    example = re.search(r"## What a recipe says\n\n```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    path = tmp_path / "example.toml"
    path.write_text(example[1], encoding="utf-8")
    recipe, _axes, _notes = read_with_axes(path, [], AS_THE_FILE_SAYS)
    assert recipe.idle == ()
    assert [phase.trainable for phase in recipe.phases] == ["head"]
