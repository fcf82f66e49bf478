"""``docs/options.md``: the options of `predict`, door by door, made from their fields."""

from __future__ import annotations

import sys
from typing import Any, get_args

from slidecam.options import Door, NamedOption, number_or_text, options_of

HEADING = """# The options of `predict`, door by door

Made from the fields of `slidecam.options.PredictOptions` by
`python -m slidecam.options_page > docs/options.md`; a test holds the page to them.

| field, `options.…` of a job | command line | server | napari | default | what it does |
|---|---|---|---|---|---|"""


def options_page() -> str:
    """Return the options of every door as a page of Markdown: what ``docs/options.md`` holds."""
    rows = []
    reasons: list[str] = []
    for each in options_of():
        cells = [
            f"`{each.name}`",
            _cell(each, "cli", f"`{each.flag}`", reasons),
            _cell(each, "server", "yes", reasons),
            _cell(each, "napari", "yes", reasons),
            _default_words(each),
            _meaning(each),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    notes = [f"{number}. {reason}." for number, reason in enumerate(reasons, 1)]
    return "\n".join([HEADING, *rows, "", "Left out because", "", *notes, ""])


def _cell(each: NamedOption, door: Door, name: str, reasons: list[str]) -> str:
    """Return a door's name for an option, or the number of the reason for having none."""
    reason = each.shown.without.get(door)
    if reason is None:
        return name
    if reason not in reasons:
        reasons.append(reason)
    return f"no ({reasons.index(reason) + 1})"


def _default_words(each: NamedOption) -> str:
    if each.shown.unset:
        return each.shown.unset
    if each.default in (None, (), {}):
        return "none"
    return f"`{number_or_text(each.default)}`"


def _meaning(each: NamedOption) -> str:
    words = each.shown.help
    if choices := literal_choices(each.kind):
        words += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    return words.replace("|", "\\|").replace("<", "&lt;")


def literal_choices(kind: Any) -> tuple[str, ...]:  # noqa: ANN401  (a type)
    """Return what a ``Literal`` (or one in a union with None) may be; nothing for other types."""
    arguments = get_args(kind)
    if arguments and all(isinstance(each, str) for each in arguments):
        return arguments
    for each in arguments:
        if found := literal_choices(each):
            return found
    return ()


if __name__ == "__main__":
    sys.stdout.write(options_page())
