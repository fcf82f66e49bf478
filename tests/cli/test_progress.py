"""What a command says while it works."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from slidecam.cli.progress import StepWords
from slidecam.steps import Step


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that the clock shows, the first of them now."""
    seconds = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


def test_long_work_in_a_pipe_says_every_ten_seconds_how_far_it_is(clock: list[float]) -> None:
    written = io.StringIO()
    words = StepWords(Console(file=written, width=200))
    with_figures = Step("epoch", 3, 24, {"train_loss": 0.5312})
    for step in (Step("looking", 7, 7), with_figures, Step("batch", 11, 34, {"loss": 0.25})):
        words.show(step)
    assert not written.getvalue()
    clock[0] += 10.5
    words.show(Step("batch", 12, 34, {"loss": 0.125}))
    clock[0] += 9.5
    words.show(Step("batch", 13, 34))
    assert written.getvalue() == "epoch 3 of 24, train_loss 0.5312; batch 12 of 34, loss 0.125\n"


def test_what_a_person_should_know_is_said_at_once(clock: list[float]) -> None:
    del clock
    written = io.StringIO()
    StepWords(Console(file=written, width=20)).show(
        Step("data", 0, 0, message="[3] of 5 are twins: look at them.")
    )
    assert written.getvalue() == "[3] of 5 are twins: look at them.\n"
