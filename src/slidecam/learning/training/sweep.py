"""Several values of a recipe's keys, tried on the validation part alone.

What was chosen by a figure is flattered by it: only pictures that had no say in the choice can
measure it.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from slidecam.errors import DataSetError, RecipeError, UsageError
from slidecam.files import write_csv, write_json
from slidecam.learning.data.dataset import dataset_for
from slidecam.learning.recipes.recipe import read_recipe, toml_value, with_settings
from slidecam.learning.training.folder import SWEEP, TrainingFolder, refuse_others
from slidecam.learning.training.setup import (
    TrainingCall,
    with_tile_size,
)
from slidecam.learning.training.training import (
    Trained,
    check_beginning,
    check_call,
    train_on,
)
from slidecam.models.bundle import write_card
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from slidecam.learning.data.dataset import Dataset
    from slidecam.learning.evaluation.figures import Figure
    from slidecam.learning.recipes.tables import Recipe
    from slidecam.viewing import PictureView

SWEEP_JSON, SWEEP_CSV = "sweep.json", "sweep.csv"

JUDGES = {
    "loss": "NLL",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "last": "balanced accuracy",
}
"""The figure of the validation part that a recipe's ``train.monitor`` chooses by."""

SHOWN = ("accuracy", "balanced accuracy", "weighted F1", "NLL")


@dataclass(frozen=True)
class Axis:
    """A key of a recipe with the values that are tried, as ``--set`` has them."""

    key: str
    values: tuple[str, ...]


def read_with_axes(
    path: Path,
    pairs: Sequence[str],
    seen: PictureView,
) -> tuple[Recipe, list[Axis], list[str]]:
    """Return a recipe with what is set to one value, and `axes_of` the rest.

    Raises
    ------
    RecipeError
        As of `read_recipe`.
    UsageError
        If a key is set twice, or is to be tried with one value twice.
    """
    _refuse_repeated([pair.partition("=")[0].strip() for pair in pairs], "--set")
    plain = [pair for pair in pairs if len(pieces_of(pair.partition("=")[2])) == 1]
    recipe = read_recipe(path, plain, seen)
    if len(plain) == len(pairs):
        return recipe, [], []
    single, axes, notes = axes_of(recipe, pairs)
    return read_recipe(path, single, seen), axes, notes


def axes_of(
    recipe: Recipe,
    pairs: Sequence[str],
) -> tuple[list[str], list[Axis], list[str]]:
    """Tell ``--set`` of one value from those of several.

    ``train.lr=1e-3,3e-4`` is several values. One is what TOML reads as one (``[0.5, 0.5, 0.5]``),
    and a text with commas that the setting takes as it is (``data.window=40,80``), of which a
    sentence says so; texts in quotes are always several.

    Parameters
    ----------
    recipe
        Without them.
    pairs
        ``KEY=VALUE`` each.

    Returns
    -------
    single, axes, notes
        Pairs of one value, keys of several, and what is to be said of texts with commas.
    """
    single: list[str] = []
    axes: list[Axis] = []
    notes: list[str] = []
    for pair in pairs:
        key, _equals, text = pair.partition("=")
        pieces = pieces_of(text)
        if len(pieces) < 2:  # noqa: PLR2004  (one value)
            single.append(pair)
            continue
        quoted = all(piece[:1] in {'"', "'"} for piece in pieces)
        if not quoted and _is_taken(recipe, pair):
            single.append(pair)
            each = ",".join(f'"{piece}"' for piece in pieces)
            notes.append(f"--set {pair} is one text; for several values write {key}={each}.")
            continue
        axes.append(Axis(key.strip(), tuple(pieces)))
        _refuse_repeated(pieces, f"--set {key.strip()}")
    return single, axes, notes


def _refuse_repeated(texts: Sequence[str], option: str) -> None:
    """Refuse a text that is there twice: one of them would have no effect."""
    for text, count in Counter(texts).items():
        if count > 1:
            raise UsageError(
                f"{option} has {text} {count} times.", "Leave all but one of them out."
            )


OPENING, CLOSING, QUOTES = "[{(", "]})", "\"'"


def pieces_of(text: str) -> list[str]:
    """Return what commas outside quotes and brackets part; one piece of one TOML value."""
    if toml_value(text) != text.strip():
        return [text]
    pieces, depth, quote = [""], 0, ""
    for letter in text:
        if letter == "," and not depth and not quote:
            pieces.append("")
            continue
        pieces[-1] += letter
        if quote:
            if letter == quote:
                quote = ""
        elif letter in QUOTES:
            quote = letter
        elif letter in OPENING:
            depth += 1
        elif letter in CLOSING:
            depth -= 1
    return [piece.strip() for piece in pieces]


def _is_taken(recipe: Recipe, pair: str) -> bool:
    try:
        with_settings(recipe, [pair])
    except RecipeError:
        return False
    return True


@dataclass(frozen=True, eq=False)
class Tried:
    """One combination of settings, trained.

    Attributes
    ----------
    settings
        Values by key, as texts.
    folder
        Where it lies.
    trained
        What it made.
    """

    settings: dict[str, str]
    folder: Path
    trained: Trained

    @property
    def figures(self) -> dict[str, Figure]:
        """Of the validation part."""
        return dict(self.trained.evaluations["val"].figures)


@dataclass(frozen=True, eq=False)
class Sweep:
    """All combinations, and which of them was best on the validation part.

    Attributes
    ----------
    tried
        In the order of the values, the last key's fastest.
    judge
        Name of the figure that they are judged by.
    """

    tried: tuple[Tried, ...]
    judge: str

    @property
    def best(self) -> Tried:
        """The first of the best; of `NLL` the lowest is best."""
        best = self.tried[0]
        for each in self.tried[1:]:
            if self._merit(each) > self._merit(best):
                best = each
        return best

    def _merit(self, tried: Tried) -> float:
        value = tried.figures[self.judge].value
        if value is None:
            return -math.inf
        if self.judge == "NLL":
            return -value
        return value

    @property
    def chosen(self) -> str:
        """The best one in a sentence, with what it is worth."""
        best = self.best
        words = ", ".join(f"{key}={value}" for key, value in best.settings.items())
        return (
            f"Of several settings {words} was chosen among {len(self.tried)} by the {self.judge} of"
            f" the validation part, {best.figures[self.judge]}, which flatters it: no picture of"
            " the test part was looked at; measure it there (slidecam evaluate)."
        )

    def rows(self) -> list[dict[str, str]]:
        """Return a row for each combination."""
        columns = dict.fromkeys((self.judge, *SHOWN))
        rows: list[dict[str, str]] = []
        for each in self.tried:
            row = dict(each.settings)
            for name in columns:
                row[name] = str(each.figures[name])
            row["best epoch"] = str(each.trained.best_epoch)
            row["folder"] = each.folder.name
            row["chosen"] = ""
            if each is self.best:
                row["chosen"] = f"among {len(self.tried)}"
            rows.append(row)
        return rows

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        tried = []
        for each in self.tried:
            figures = {name: each.figures[name].record() for name in (self.judge, *SHOWN)}
            tried.append(
                {
                    "settings": each.settings,
                    "bundle": str(each.trained.bundle.path),
                    "best_epoch": each.trained.best_epoch,
                    "val": figures,
                }
            )
        return {
            "event": "Swept",
            "judged_by": f"{self.judge} of the validation part",
            "chosen_among": len(self.tried),
            "best": self.best.settings,
            "bundle": str(self.best.trained.bundle.path),
            "note": self.chosen,
            "tried": tried,
        }


def sweep(
    recipe: Recipe,
    axes: Sequence[Axis],
    data: Path,
    call: TrainingCall,
) -> Generator[Step, None, Sweep]:
    """Train every combination of several values, and judge them on the validation part alone.

    Each is a training of its own in ``call.out/set-<n>``; ``resume`` goes on with those that were
    begun. The test part is taken away before anything is trained. `SWEEP_JSON` and `SWEEP_CSV` are
    the table; the best one's card says what it was chosen among.

    Raises
    ------
    RecipeError
        If a combination is no recipe; before anything is trained.
    DataSetError
        If there is no validation part. Else as `train`.
    """
    if recipe.graph is not None:
        problem = "several values are not tried of a graph of cells, whose protocols need a test."
        raise RecipeError(problem, "Train each value by itself.", recipe.path)
    combinations = _combinations(recipe, axes, data)
    refuse_others(call.out, SWEEP, len(combinations))
    for number, (_settings, fitted) in enumerate(combinations, 1):
        check_beginning(fitted, call)
        check_call(fitted, _call_of(call, number))
    with suppress(OSError):  # it was there before, or holds something
        call.out.rmdir()
    tried: list[Tried] = []
    dataset: Dataset | None = None
    held = recipe.data
    for number, (settings, fitted) in enumerate(combinations, 1):
        if dataset is None or fitted.data != held:
            dataset = yield from _without_test(data, fitted)
            held = fitted.data
        own = _call_of(call, number)
        trained = yield from train_on(fitted, dataset, own)
        tried.append(Tried(settings, own.out, trained))
        judge = JUDGES[fitted.phases[0].monitor]
        value = trained.evaluations["val"].figures[judge].value
        yield Step("set", number, len(combinations), {judge: value or 0.0})
    swept = Sweep(tuple(tried), JUDGES[recipe.phases[0].monitor])
    _seal(swept)
    write_json(call.out / SWEEP_JSON, swept.record())
    rows = swept.rows()
    write_csv(call.out / SWEEP_CSV, [list(rows[0]), *(list(row.values()) for row in rows)])
    TrainingFolder(call.out).clear_features()
    return swept


def _combinations(
    recipe: Recipe,
    axes: Sequence[Axis],
    data: Path,
) -> list[tuple[dict[str, str], Recipe]]:
    if any(axis.key == "train.monitor" for axis in axes):
        problem = "train.monitor says what is best, and is given several values."
        raise UsageError(problem, "Pass --set train.monitor with one value.")
    found: list[tuple[dict[str, str], Recipe]] = []
    keys = [axis.key for axis in axes]
    for values in product(*(axis.values for axis in axes)):
        settings = dict(zip(keys, values, strict=True))
        pairs = [f"{key}={value}" for key, value in settings.items()]
        found.append((settings, with_tile_size(with_settings(recipe, pairs), data)))
    return found


def _call_of(call: TrainingCall, number: int) -> TrainingCall:
    folder = TrainingFolder(call.out / f"{SWEEP.begins}{number}")
    existing = call.existing
    if existing == "resume" and not folder.checkpoint.exists():
        existing = "refuse"
    return replace(call, out=folder.path, existing=existing, pages=False)


def _without_test(data: Path, recipe: Recipe) -> Generator[Step, None, Dataset]:
    dataset = yield from dataset_for(data, recipe.data)
    pictures = dataset.pictures.part("train", "val")
    if not len(pictures.part("val")):
        problem = "there is no validation part to choose by."
        raise DataSetError(problem, "Set data.val above 0 (--set data.val=0.15).", data)
    note = (
        f"{len(dataset.pictures) - len(pictures)} pictures of the test part are left alone:"
        " settings are chosen on the validation part."
    )
    noted = replace(pictures, notes=(*pictures.notes, note))
    return replace(dataset, pictures=noted, duplicates=None)


def _seal(swept: Sweep) -> None:
    """Say on the best one's card what it was chosen among: figures travel with the card."""
    bundle = swept.best.trained.bundle
    provenance = dict(bundle.card.provenance)
    caveats: Any = provenance.get("caveats") or ()
    provenance["caveats"] = [swept.chosen, *caveats]
    write_card(bundle, replace(bundle.card, provenance=provenance))
