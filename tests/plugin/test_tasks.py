"""Work in the background: how often it speaks, and what becomes of its errors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from slidecam.errors import ViewerError
from slidecam.plugin import tasks
from slidecam.plugin.tasks import guarded, now_and_then
from slidecam.steps import Step, result_of

if TYPE_CHECKING:
    from collections.abc import Generator


def test_a_runtime_error_leaves_a_background_generator_as_one_of_ours() -> None:
    def work() -> Generator[int]:
        yield 1
        raise RuntimeError("CUDA out of memory")

    steps = guarded(work())
    assert next(steps) == 1
    with pytest.raises(ViewerError, match="CUDA out of memory"):
        next(steps)
    assert not issubclass(ViewerError, RuntimeError)


def test_steps_are_shown_now_and_then_and_the_result_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def work() -> Generator[Step, None, str]:
        for number in range(20):
            yield Step("counting", number, 20)
            clock.now += 0.07
        return "done"

    shown = []

    def count() -> Generator[Step, None, str]:
        steps = now_and_then(work())
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return str(end.value)
            shown.append(step.done)
            yield step

    assert result_of(count()) == "done"
    assert shown == [0, 5, 10, 15]
