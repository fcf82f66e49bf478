"""Methods with their settings, and classes, by the names that a person writes.

``lime``, ``--set lime.samples=1000``.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, get_type_hints

from slidecam.class_names import classes_meant
from slidecam.errors import ExplanationError, UsageError
from slidecam.explain.catalogue import CATALOGUE, Method, method_for
from slidecam.explain.facts import usual_methods
from slidecam.settings import NotTakenError, check_all, from_text, nearest, words_of
from slidecam.thresholds import Threshold, parse_threshold

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from torch import Tensor

    from slidecam.explain.explainer import Explainer, Explanation
    from slidecam.models import Card, Classifier
    from slidecam.steps import Step

USUAL_METHODS = "usual"
"""Stands for the methods that slides are mapped by, the one that leads first."""

DEFAULT = (USUAL_METHODS, "score-cam-clustered")


@dataclass(frozen=True)
class ChosenMethod:
    """A method of the catalogue with settings."""

    method: Method
    settings: Any

    def explainer(self, classifier: Classifier) -> Explainer:
        """Return the explainer of a classifier.

        ExplanationError if that lacks what the method needs.
        """
        if self.method.needs_map and not classifier.has_map:
            problem = (
                f"The method {self.method.name} needs an activation map, and"
                f" {classifier.card.name} has none: {classifier.no_map}."
            )
            others = ", ".join(method.name for method in CATALOGUE.values() if not method.needs_map)
            raise ExplanationError(problem, f"Use one that does without: {others}.")
        with CATALOGUE.boundary(self.method.name):
            return self.method.make(classifier, self.settings)

    def steps(
        self,
        classifier: Classifier,
        pixels: Tensor,
        classes: Sequence[int],
    ) -> Generator[Step, None, Explanation]:
        """Explain tiles step by step, by an explainer of their own; see `Explainer.steps`.

        EntryFailedError if the method raises what nobody foresaw.
        """
        with (
            CATALOGUE.boundary(self.method.name),
            self.explainer(classifier) as explainer,
        ):
            return (yield from explainer.steps(pixels, classes))


def choose_methods(names: Sequence[str], settings: Iterable[str] = ()) -> dict[str, ChosenMethod]:
    """Return methods by name, with settings such as ``lime.samples=1000``.

    Raises
    ------
    ExplanationError
        If there is no such method.
    UsageError
        If there is no name, or a setting names a method that was not chosen, a field that it lacks,
        or a value of another type.
    """
    if not names:
        raise UsageError("no method was named.", f"Use some of {', '.join(CATALOGUE)}.")
    chosen = {name: method_for(name) for name in names}
    values: dict[str, dict[str, Any]] = {name: {} for name in chosen}
    check_all(partial(_take, text, chosen, values) for text in settings)
    methods = {}
    for name, method in chosen.items():
        methods[name] = ChosenMethod(method, method.spec(**values[name]))
    return methods


def with_usual_methods(names: Sequence[str], classifiers: Sequence[Classifier]) -> tuple[str, ...]:
    """Return the names with those that `USUAL_METHODS` stands for, by what the first card says.

    None where a classifier has no map: what is said of other methods is for those to say.
    """
    usual: tuple[str, ...] = ()
    if all(classifier.has_map for classifier in classifiers):
        linear = all(classifier.linear_head is not None for classifier in classifiers)
        usual = usual_methods(classifiers[0].card, linear=linear)
    found: list[str] = []
    for name in names:
        found += usual if name == USUAL_METHODS else (name,)
    return tuple(dict.fromkeys(found))


def class_indices(card: Card, names: Sequence[str]) -> tuple[int, ...]:
    """Return the places of some classes; UsageError, listing them, if one is not the card's."""
    for name in names:
        if name not in card.classes:
            raise UsageError(
                f"The model {card.name} has no class {name!r}.",
                classes_meant(name, card.class_names),
            )
    return tuple(map(card.classes.index, names))


def _parted(text: str) -> tuple[str, str, str]:
    place, equals, value = text.partition("=")
    name, dot, key = place.rpartition(".")
    if not (equals and dot and key and value):
        raise UsageError(
            f"--set {text!r} is no setting.",
            "Write METHOD.KEY=VALUE, for example lime.samples=1000.",
        )
    return name, key, value


def _take(text: str, chosen: Mapping[str, Method], values: Mapping[str, dict[str, Any]]) -> None:
    """Put one setting among its method's values; UsageError if it is none."""
    name, key, written = _parted(text)
    if name not in chosen:
        problem = f"--set {name}.…: {name} was not chosen."
        raise UsageError(problem, f"Methods chosen: {', '.join(chosen)}.")
    hints = get_type_hints(chosen[name].spec)
    if key not in hints:
        raise UsageError(f"The method {name} has no setting {key!r}.", nearest(key, list(hints)))
    values[name][key] = _value(f"{name}.{key}", written, hints[key])


def _value(place: str, text: str, hint: Any) -> Any:  # noqa: ANN401  (whatever the field is of)
    """Return text as a field's type; UsageError if it is none."""
    try:
        return from_text(text, hint, {Threshold: parse_threshold})
    except NotTakenError as error:
        raise UsageError(
            f"--set {place}={text}: {text!r} is not {words_of(hint)}.",
            "Write another value.",
        ) from error
    except UsageError as error:
        raise UsageError(f"--set {place}={text}: {error.clause}.", error.remedy) from error


def listed_methods() -> list[dict[str, Any]]:
    """Return what ``slidecam methods`` lists: every method with its settings and their defaults."""
    rows = []
    for method in CATALOGUE.values():
        row = {
            "name": method.name,
            "title": method.title,
            "cost": "cheap",
            "signed": "no",
        }
        if method.costly:
            row["cost"] = "costly"
        if method.signed:
            row["signed"] = "yes"
        row["settings"] = ", ".join(map(_default, fields(method.spec)))
        rows.append(row)
    return rows


def _default(field: Field[Any]) -> str:
    if field.default is MISSING:
        return f"{field.name}=…"
    if isinstance(field.default, float):
        return f"{field.name}={field.default:.4g}"
    return f"{field.name}={field.default}"
