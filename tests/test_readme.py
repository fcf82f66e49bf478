"""Every command of the READMEs and of the site can be typed as it stands there."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer

import slidecam.cli  # noqa: F401  (its import registers the commands)
from slidecam.cli.app import app
from slidecam.learning.recipes.shipped import found_recipe
from slidecam.learning.training.sweep import read_with_axes
from slidecam.viewing import AS_THE_FILE_SAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
READMES = (
    "README.md",
    "cluster/README.md",
    "training/README.md",
    "sample_data/README.md",
    "qupath-scripts/README.md",
    "qupath-extension/README.md",
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


def of_slidecam(words: list[str]) -> None:
    """Check that a command of ours takes what it is given."""
    name, *rest = words
    every = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    every[name].make_context(name, rest)


def of_make(words: list[str]) -> None:
    """Check that the Makefile has each target."""
    assert words
    for target in words:
        assert "=" in target or re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def of_pip(words: list[str]) -> None:
    """Check that extras are the project's."""
    assert words[0] in {"install", "wheel"}
    for extras in re.findall(r"^(?:\.|slidecam)\[([a-z,]+)\]$", "\n".join(words), re.MULTILINE):
        assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()


def of_python(words: list[str]) -> None:
    """Check that a script is there and has the options that it is given."""
    if words[:2] == ["-m", "pip"]:
        of_pip(words[2:])
    elif words[0] == "-m":
        assert words[1] in {"venv", "build"}
    else:
        text = (ROOT / words[0]).read_text(encoding="utf-8")
        options = {word for word in words if word.startswith("--")}
        assert {option for option in options if f'"{option}"' not in text} == set()


def of_docker(words: list[str]) -> None:
    """Check that an image can be built of a file that is there, and runs a command of ours."""
    if words[0] == "build":
        assert words[-1] == "."
        file = words[words.index("-f") + 1] if "-f" in words else "Dockerfile"
        assert (ROOT / file).is_file()
    else:
        assert words[0] == "run"
        of_slidecam(words[words.index("slidecam") + 1 :])


def of_npm(words: list[str]) -> None:
    """Check that the folder whose packages are fetched has a lock."""
    assert words[:2] == ["ci", "--prefix"]
    assert (ROOT / words[2] / "package-lock.json").is_file()


def of_pre_commit(words: list[str]) -> None:
    """Check that there are hooks to install."""
    assert words == ["install"]
    assert (ROOT / ".pre-commit-config.yaml").is_file()


def of_others(words: list[str]) -> None:
    """Check nothing: napari is started, git clones from where one has it, a shell goes there."""
    assert words in ([], ["clone", "SLIDECAM", "slidecam"], ["slidecam"])


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "cd": of_others,
    "docker": of_docker,
    "git": of_others,
    "make": of_make,
    "napari": of_others,
    "npm": of_npm,
    "pip": of_pip,
    "pre-commit": of_pre_commit,
    "py": of_python,
    "python": of_python,
    "slidecam": of_slidecam,
}
"""What a reader is asked to type, each with what is checked of it."""


def typed(name: str) -> Iterator[str]:
    """Yield what a page gives to a shell: every line of its blocks, and what is set in."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    language: str | None = None
    for line in text.splitlines():
        if line.startswith("```"):
            language = line[3:] if language is None else None
        elif language in {"sh", "bat"} or (language is None and known(line)):
            yield from filter(None, re.split("(?:^|  )#", line)[0].strip().split(" && "))


def known(line: str) -> bool:
    """Whether a line is set in and begins with a program that is asked for."""
    return line.startswith("    ") and line.split()[:1] != [] and program(line) in PROGRAMS


def program(line: str) -> str:
    return re.split(r"[\\/]", line.split(maxsplit=1)[0])[-1]


@pytest.mark.parametrize("name", ["SECURITY.md", *READMES])
def test_whatever_a_page_asks_for_can_be_typed(name: str) -> None:
    for line in typed(name):
        assert program(line) in PROGRAMS, line
        PROGRAMS[program(line)](words_of(line.replace("\\", "/")))


@pytest.mark.parametrize("name", ["SECURITY.md", *READMES])
def test_a_target_or_an_extra_that_is_named_in_passing_is_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z-]+)", text):
        of_make([target])
    for extras in re.findall(r"\"(?:\.|slidecam)\[([a-z,]+)\]\"", text):
        assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()


def test_pages_ask_for_more_than_slidecam() -> None:
    asked = {program(line) for name in READMES for line in typed(name)}
    assert asked == PROGRAMS.keys()
