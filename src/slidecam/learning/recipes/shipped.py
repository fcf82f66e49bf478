"""The recipes that come with slidecam, by name."""

from __future__ import annotations

from pathlib import Path

from slidecam.errors import UsageError
from slidecam.files import refuse_missing
from slidecam.settings import nearest

SUFFIX = ".toml"


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come along, in the package or beside the source tree, by name."""
    package = Path(__file__).parents[2]
    for folder in (package / "recipes", package.parents[1] / "training"):
        found = {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}
        if found:
            return found
    return {}


def summary_of(path: Path) -> str:
    """Return what a recipe says that it is for: its first comment that is no command."""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.removeprefix("#").strip()
        if not line.startswith("#"):
            break
        if words and not words.startswith("slidecam "):
            return words
    return ""


def found_recipe(given: Path) -> Path:
    """Return the file of a recipe that is given by its path, or by its name where it comes along.

    A file goes before a name.

    Raises
    ------
    UsageError
        If there is neither, naming the recipes that may have been meant.
    """
    known = shipped_recipes()
    if given.is_file():
        return given
    if given.name in known and given == Path(given.name):
        return known[given.name]
    if given.suffix or given != Path(given.name):
        refuse_missing(given)
        return given
    raise UsageError(f"There is no recipe {given.name!r}.", nearest(given.name, list(known)))
