"""A run that is followed: rates, pauses, slow screens, and what is said when."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from slidecam.plugin.job import Began, Ended, NewTiles, Rate, RunJob, Writing, duration
from slidecam.plugin.run_request import RunRequest
from slidecam.runs.spec import PredictSpec
from slidecam.store import Status
from stopping import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_leaves_pauses_and_what_was_done_before_out() -> None:
    watch = Watch()
    rate = Rate(watch)
    rate.start(100)
    watch.now = 10
    with rate.standing():
        watch.now = 70
    assert rate.at(200, 400) == pytest.approx((10, 20))
    assert rate.at(100, 400)[1] == float("inf")


def test_durations_are_written_as_people_say_them() -> None:
    words = [duration(seconds) for seconds in (4.4, 200, 7500, float("inf"))]
    assert words == ["4 s", "3 min 20 s", "2 h 5 min", "unknown"]


def test_a_run_waits_while_it_is_held_and_goes_on(
    small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    job = RunJob(
        RunRequest(
            str(small_slide), tiny_bundle, tmp_path, PredictSpec(batch=4, workers=1, device="cpu")
        )
    )
    updates = job.updates()
    next(update for update in updates if isinstance(update, NewTiles))
    job.hold()
    later: list[object] = []
    follower = threading.Thread(target=lambda: later.extend(updates))
    follower.start()
    follower.join(0.5)
    assert follower.is_alive()
    assert not any(isinstance(update, Ended) for update in later)
    job.go_on()
    follower.join(PATIENCE)
    ended = later[-1]
    assert isinstance(ended, Ended)
    assert ended.run is not None
    assert (ended.run.table.status == Status.DONE).all()


def test_tiles_wait_for_a_screen_that_is_slow(
    small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    request = RunRequest(
        str(small_slide), tiny_bundle, tmp_path, PredictSpec(batch=4, workers=1, device="cpu")
    )
    job = RunJob(request, awaits=True)
    updates = job.updates()
    next(update for update in updates if isinstance(update, Began))
    job.shown()
    never_drawn = [update for update in updates if isinstance(update, NewTiles)]
    assert len(never_drawn) <= 2, "the first ones, and all others together at the end"
    assert sum(len(update.boxes) for update in never_drawn) == never_drawn[-1].total


def test_no_tile_is_classified_before_the_first_are_on_a_slow_screen(
    small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    request = RunRequest(
        str(small_slide), tiny_bundle, tmp_path, PredictSpec(batch=4, workers=1, device="cpu")
    )
    job = RunJob(request, awaits=True)
    updates = job.updates()
    next(update for update in updates if isinstance(update, Began))
    later: list[object] = []
    follower = threading.Thread(target=lambda: later.extend(updates))
    follower.start()
    follower.join(0.5)
    assert (follower.is_alive(), later) == (True, []), "what is pressed now is pressed in time"
    job.stop()
    follower.join(PATIENCE)
    ended = later[-1]
    assert isinstance(ended, Ended)
    assert ended.stopped


def test_the_end_of_a_run_is_said_before_its_files_are_written(
    small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    request = RunRequest(
        str(small_slide), tiny_bundle, tmp_path, PredictSpec(batch=4, workers=1, device="cpu")
    )
    updates = RunJob(request).updates()
    passed_on = []
    for update in updates:
        passed_on.append(update)
        if isinstance(update, Writing):
            break
    assert not (tmp_path / "small" / "tiles.csv").exists()
    last = [update for update in passed_on if isinstance(update, NewTiles)][-1]
    assert last.done == last.total, "and no tile is left out"
    updates.close()


def test_what_goes_wrong_ends_the_run_with_its_remedy(
    tiny_bundle: Path, small_slide: Path, small_out: Path
) -> None:
    other = RunRequest(
        str(small_slide), tiny_bundle, small_out, PredictSpec(overlap=0.5, existing="resume")
    )
    (ended,) = [update for update in RunJob(other).updates() if isinstance(update, Ended)]
    assert ended.run is None
    assert "overlap was 0.0, is 0.5" in ended.problem
    assert "--overwrite" in ended.problem


def test_an_error_of_a_library_ends_the_run_as_failed_and_the_next_call_goes_on(
    small_slide: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_given: object) -> None:
        raise TypeError("unsupported operand")

    spec = PredictSpec(batch=4, workers=1, device="cpu", existing="resume")
    request = RunRequest(str(small_slide), tiny_bundle, tmp_path, spec)
    with monkeypatch.context() as patched:
        patched.setattr("slidecam.plugin.job.preview", broken)
        patched.setattr("slidecam.plugin.job.HEAT_EVERY", 0.0)
        *_before, ended = RunJob(request).updates()
    assert isinstance(ended, Ended)
    assert (ended.run, ended.stopped) == (None, False)
    assert ended.problem.startswith("TypeError: unsupported operand. Please report it")
    assert "in broken" in caplog.text, "the traceback is there for whoever mends it"
    *_before, ended = RunJob(request).updates()
    assert isinstance(ended, Ended)
    assert ended.run is not None
    assert ended.run.is_finished
