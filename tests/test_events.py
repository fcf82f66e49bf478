"""Events as plain values."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np

from slidecam.events import (
    BatchDone,
    Error,
    Event,
    Finished,
    Planned,
    SlideFailed,
    SlideFinished,
    Started,
    Stopped,
    TileFailed,
    Waiting,
    Warned,
    as_json,
)

EXAMPLES: tuple[Event, ...] = (
    Started("0.1.0", "out", "Toy", "5e1f", {"overlap": 0.5}, 1, 2),
    Planned("s", "s.svs", 10, 20, 5, 0.5, "file", 224, 0),
    BatchDone("s", 5, 10, np.zeros((5, 4), np.int64), np.zeros((5, 2), np.float32)),
    TileFailed("s", (0, 0, 9, 9), "broken"),
    Warned("", "word"),
    Waiting("s", "opened", 30.0),
    SlideFinished("s", "out/s", "done", 10, 0, 1.5),
    SlideFailed("s", "s.svs", "problem", "remedy"),
    Finished("manifest.json", "report.html", 1, 0, 0),
)


def test_every_kind_of_event_is_a_line_of_json_that_names_its_kind() -> None:
    assert {type(event) for event in EXAMPLES} == set(get_args(Event))
    for event in EXAMPLES:
        told = json.loads(json.dumps(as_json(event)))
        assert told["event"] == type(event).__name__


def test_a_batch_is_told_by_its_counts_and_not_by_its_numbers() -> None:
    assert as_json(EXAMPLES[2]) == {"event": "BatchDone", "slide": "s", "done": 5, "total": 10}


def test_the_last_line_of_a_call_that_does_not_end_well_has_its_kind_too() -> None:
    assert as_json(Stopped("All is safe.", "Go on.")) == {
        "event": "Stopped",
        "state": "All is safe.",
        "remedy": "Go on.",
    }
    foreseen = Error("UsageError", "There is none.", "Make one.")
    assert "traceback" not in as_json(foreseen)
    assert as_json(Error("KeyError", "a", "b", ("line 1",)))["traceback"] == ("line 1",)
