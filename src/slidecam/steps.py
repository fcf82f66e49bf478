"""What long work tells while it goes on, where there are no slides to tell of.

Training, explaining, measuring.

Such work is a generator of steps that returns its result, so that closing it cancels and every door
shows progress its own way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

Result = TypeVar("Result")


@dataclass(frozen=True)
class Step:
    """One step of long work.

    Attributes
    ----------
    phase
        What is being done, in words that stay the same for all steps of a phase: ``epoch``,
        ``LIME``.
    done, total
        How far the phase is; ``total`` is 0 where nobody knows.
    figures
        What to show beside it: ``{"validation loss": 0.41}``.
    message
        Something a person should be told now, or nothing.
    """

    phase: str
    done: int
    total: int
    figures: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class Milestone(Step):
    """A step with a part of the result, which is never passed over."""


def note_steps(notes: Iterable[str]) -> Iterator[Step]:
    """Yield what a reader should know of the results, a step of nothing each; once each."""
    for note in dict.fromkeys(notes):
        yield Step("notes", 0, 0, message=f"Note: {note}")


def noted(
    notes: Iterable[str],
    work: Generator[Step, None, Result],
) -> Generator[Step, None, Result]:
    """Do long work with something said before it."""
    yield from note_steps(notes)
    return (yield from work)


def result_of(work: Generator[Step, None, Result]) -> Result:
    """Take long work to its end and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
