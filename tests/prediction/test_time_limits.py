"""A slide that hangs is said to be silent, given up by name, and holds up no other."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.errors import SlideFailedError, UsageError
from slidecam.events import Finished, SlideFailed, SlideFinished, Waiting
from slidecam.prediction import choices, lanes, outputs, pipeline, preparation
from slidecam.prediction.lanes import TimeLimit
from slidecam.prediction.model import load_model
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.sources.apart import SourceApart
from slidecam.streaming import _Cutter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slidecam.events import Event as Told

ILL, SOUND = "ill-slide", "sound-slide"
SPEC = PredictSpec(batch=8, workers=1, heatmap="none", outputs=("tiles.csv",))


@pytest.fixture
def answering() -> Iterator[Event]:
    """Return what lets every read go on that hangs: so that no thread outlives its test."""
    event = Event()
    yield event
    event.set()


def fates(events: list[Told]) -> dict[str, str]:
    found = {event.slide: event.status for event in events if isinstance(event, SlideFinished)}
    return found | {event.slide: "failed" for event in events if isinstance(event, SlideFailed)}


def hanging(patch: pytest.MonkeyPatch, place: Any, name: str, answering: Event) -> None:
    """Let a function hang where it is called for the ill slide."""
    real = getattr(place, name)

    def function(*args: Any, **named: Any) -> Any:
        held = [*args, *(getattr(each, "_source", None) for each in args)]
        held += [getattr(each, "facts", None) for each in held]
        if any(ILL in str(each) for each in held):
            answering.wait(60)
        return real(*args, **named)

    patch.setattr(place, name, function)


STAGES = {
    "opened": (choices, "open_apart"),
    "classified": (_Cutter, "cut"),
    "written": (outputs, "write_tiles_csv"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_slide_that_hangs_is_given_up_and_the_others_are_done(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    answering: Event,
    stage: str,
) -> None:
    inputs = [write_slide(tmp_path / f"{name}.tif", 360, 300) for name in (ILL, SOUND)]
    hanging(monkeypatch, *STAGES[stage], answering)
    limited = iter(STAGES)

    def limit(slide: str, path: str, seconds: float | None) -> TimeLimit:
        # Of the ill slide at that stage alone, so that a slow machine fails no other.
        assert seconds == 77
        if slide == ILL and next(limited) == stage:
            return TimeLimit(slide, path, 0.5)
        return TimeLimit(slide, path, None)

    monkeypatch.setattr(pipeline, "TimeLimit", limit)
    events = list(predict(inputs, tiny_bundle, tmp_path / "out", replace(SPEC, slide_timeout=77)))
    assert fates(events) == {ILL: "failed", SOUND: "done"}
    assert isinstance(events[-1], Finished)
    assert events[-1].exit_code == 3
    (failed,) = [event for event in events if isinstance(event, SlideFailed)]
    assert failed.problem.startswith(f"The slide was given up after 0.5 s, while it was {stage} (")
    assert "--slide-timeout" in failed.remedy
    answering.set()
    for thread in threading.enumerate():
        if thread.name.startswith(tuple(f"slidecam-{name}" for name in pipeline.LANES)):
            thread.join(60)
    if stage == "written":
        record = json.loads((tmp_path / "out" / ILL / "run.json").read_text())
        assert record["status"] == "failed"
        assert record["reason"] == failed.problem


def test_what_is_silent_is_said_until_it_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(lanes, "monotonic", lambda: float(next(clock)))
    spent = iter([0, 20, 40, 60, 80, 100, 120])
    limit = TimeLimit("s", "s.svs", 100)
    beats = limit.waiting(lambda _seconds: False, lambda: float(next(spent)), "opened")
    heard = next(beats)
    assert heard == Waiting("s", "opened", 40.0)
    assert "--slide-timeout" in heard.message
    with pytest.raises(SlideFailedError, match=r"after 100 s, while it was opened \(s\.svs\)"):
        list(beats)


def test_nobody_waits_longer_than_until_the_next_look() -> None:
    assert TimeLimit("s", "s", None).pause(1e9) == lanes.HEARTBEAT_SECONDS
    assert TimeLimit("s", "s", 100).pause(95) == 5
    assert TimeLimit("s", "s", 100).pause(200) == 0


def test_the_limit_of_a_slide_is_that_of_each_of_its_reads(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    model = load_model(tiny_bundle, SPEC)
    slide = str(write_slide(tmp_path / "a.tif", 360, 300))
    spec = replace(SPEC, slide_timeout=77, dry_run=True)
    work = preparation.prepare(slide, tmp_path / "out", model, spec)
    assert isinstance(work.source, SourceApart)
    assert work.source._seconds == 77
    work.close()


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_limit_is_a_second_at_least(seconds: float) -> None:
    with pytest.raises(UsageError, match="slide_timeout"):
        PredictSpec(slide_timeout=seconds)
