"""Methods with their settings as a person writes them: ``lime``, ``--set lime.samples=1000``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_type_hints

from slidecam.errors import ExplanationError, UsageError
from slidecam.explain.catalogue import CATALOGUE, method_for
from slidecam.settings import NotTakenError, from_text, nearest, words_of
from slidecam.thresholds import Threshold, parse_threshold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from slidecam.explain.catalogue import Method
    from slidecam.explain.explainer import Explainer
    from slidecam.models import Classifier

DEFAULT = ("gradcam++", "score-cam-clustered")


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
                f"{self.method.name} needs an activation map, and {classifier.card.name} has none."
            )
            others = ", ".join(method.name for method in CATALOGUE.values() if not method.needs_map)
            raise ExplanationError(problem, f"Use one that does without: {others}.")
        return self.method.make(classifier, self.settings)


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
    written = [_parted(text) for text in settings]
    stray = [name for name, _key, _value in written if name not in chosen]
    if stray:
        raise UsageError(
            f"--set {stray[0]}.…: {stray[0]} was not chosen.",
            f"Methods chosen: {', '.join(chosen)}.",
        )
    methods = {}
    for name, method in chosen.items():
        own = {key: value for of, key, value in written if of == name}
        methods[name] = ChosenMethod(method, _settled(method, own))
    return methods


def _parted(text: str) -> tuple[str, str, str]:
    place, equals, value = text.partition("=")
    name, dot, key = place.rpartition(".")
    if not (equals and dot and key and value):
        raise UsageError(
            f"--set {text!r} is no setting.",
            "Write METHOD.KEY=VALUE, for example lime.samples=1000.",
        )
    return name, key, value


def _settled(method: Method, texts: Mapping[str, str]) -> Any:  # noqa: ANN401  (each method has its own)
    """Return a method's settings with what was written of them; UsageError if it cannot be."""
    hints = get_type_hints(method.spec, localns=_names_of(method))
    values = {}
    for key, text in texts.items():
        if key not in hints:
            raise UsageError(f"{method.name} has no setting {key!r}.", nearest(key, list(hints)))
        values[key] = _value(f"{method.name}.{key}", text, hints[key])
    return method.spec(**values)


def _names_of(method: Method) -> Mapping[str, Any]:
    return MappingProxyType(vars(__import__(method.spec.__module__, fromlist=["_"])))


def _value(place: str, text: str, hint: Any) -> Any:  # noqa: ANN401  (whatever the field is of)
    """Return text as a field's type; UsageError if it is none."""
    try:
        return from_text(text, hint, {Threshold: parse_threshold})
    except NotTakenError as error:
        raise UsageError(
            f"--set {place}={text}: {text!r} is not {words_of(hint)}.", "Write another value."
        ) from error
    except UsageError as error:
        raise UsageError(f"--set {place}={text}: {error.problem}", error.remedy) from error


def listed_methods() -> list[dict[str, Any]]:
    """Return what ``slidecam methods`` tells: every method with its settings and their defaults."""
    return [
        {
            "name": method.name,
            "title": method.title,
            "cost": "dear" if method.costly else "cheap",
            "signed": "yes" if method.signed else "no",
            "settings": ", ".join(
                f"{field.name}={_default(field)}" for field in dataclasses.fields(method.spec)
            ),
        }
        for method in CATALOGUE.values()
    ]


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default if field.default is not dataclasses.MISSING else "…"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
