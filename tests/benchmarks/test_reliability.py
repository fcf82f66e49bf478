"""A short run of `make reliability`, and that what it calls lost would be seen."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from reliability import faults, fuzz, kills, soak
from reliability.calls import SLIDE, Ended, difference
from reliability.doors import CONTROLS, DOORS
from reliability.rows import Row, Sitting, keep, page, table
from reliability.soak import Reading
from reliability.spoiling import SPOILERS

SEED = 7
EACH = 12

OF_RUNS = ("server: POST", "server: GET", "run", "slices.csv", "table of known", "corrections")
APART = ("TIFF", "OME-TIFF", "SVS", "manifest")

CHEAP = [name for name in DOORS if not name.startswith((*OF_RUNS, *APART))]
"""Doors that need neither a run nor a process of their own."""


def test_there_are_doors_enough_and_each_is_spoiled_in_a_known_way() -> None:
    assert len(DOORS) >= 25
    assert {door.kind for door in DOORS.values()} <= SPOILERS.keys()


@pytest.mark.parametrize("name", CHEAP)
def test_hostile_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    door = DOORS[name]
    sound = fuzz.prepared(door, tmp_path)
    inputs = [fuzz.spoiled(door, sound, SEED, index) for index in range(EACH)]
    assert len(set(inputs)) > 1
    assert [fuzz.tried(door, tmp_path, each) for each in inputs] == [""] * EACH


def test_an_input_is_made_again_from_its_seed(tmp_path: Path) -> None:
    door = DOORS["GeoJSON mask"]
    sound = fuzz.prepared(door, tmp_path)
    for kind in ("json", "bits", "text"):
        once, again = (SPOILERS[kind](sound, random.Random(SEED)) for _time in range(2))  # noqa: S311  (nothing secret)
        assert once == again


def test_an_exception_that_is_not_ours_is_lost(tmp_path: Path) -> None:
    lost = fuzz.tried(CONTROLS["control: raises"], tmp_path, b"spoiled")
    assert lost.startswith("ZeroDivisionError in reliability/doors.py:")


@pytest.mark.parametrize(
    ("name", "said"),
    [("control: ends", "its process ended with -6"), ("control: hangs", "no answer for 1 s")],
)
def test_a_process_that_ends_or_hangs_is_lost_and_the_next_goes_on(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32" and "ends" in name:
        said = "its process ended with"
    monkeypatch.setattr(fuzz, "SECONDS", 1.0)
    row = fuzz.one_door(name, tmp_path, SEED, range(2))
    assert row.tries == 2
    assert row.survived == 0
    assert [each for each in row.lost if said in each] == row.lost
    assert "--index 0" in row.lost[0]
    assert "--index 1" in row.lost[1]


@pytest.mark.slow
def test_a_run_that_is_killed_is_resumed_to_the_same_files(tmp_path: Path) -> None:
    row, *_others = kills.kills(tmp_path, 1, SEED)
    assert (row.tries, row.lost) == (1, [])


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)
def test_a_file_system_without_locks_and_a_full_disk_lose_nothing(tmp_path: Path) -> None:
    shim, _without = faults.compiled(tmp_path)
    assert shim is not None
    chosen = [
        fault
        for fault in faults.of_calls(shim)
        if (fault.kind, fault.words)
        in {("no locks", "ENOLCK"), ("disk full while outputs are written", "after 50000 bytes")}
    ]
    assert len(chosen) == 2
    whole = kills.Undisturbed.of(SLIDE, tmp_path)
    for number, fault in enumerate(chosen):
        assert faults.tried(fault, tmp_path / str(number), whole) == ""


def test_what_differs_between_runs_is_named() -> None:
    assert difference({"a": b"1", "b": b"2"}, {"a": b"1", "b": b"2"}) == ""
    assert difference({"a": b"1", "b": b"2"}, {"a": b"1"}) == "missing: b"
    assert difference({"a": b"1"}, {"a": b"1", "b": b"2"}) == "too many: b"
    assert difference({"a": b"1"}, {"a": b"3"}) == "other bytes: a"


def test_a_call_that_ends_by_words_of_its_own_is_no_loss() -> None:
    assert Ended(1, "No space is left. Make room.", 1.0).fault == ""
    assert Ended(-6, "", 1.0).fault.startswith("ended with -6")
    assert Ended(1, "Traceback (most recent call last):\n", 1.0).fault.startswith("unforeseen")
    assert Ended(None, "", 300.0).fault == "no end after 300 s"


def test_what_grows_from_run_to_run_is_seen() -> None:
    loading = [Reading(100.0 * number, number, number) for number in range(soak.LOADING_RUNS)]
    flat = [Reading(1000.0 + number % 7, 14 + number % 2, 30) for number in range(100)]
    assert soak.growth(loading + flat) == ""
    leaking = [Reading(1000.0 + 2 * number, 14, 30) for number in range(100)]
    assert soak.growth(loading + leaking).startswith("memory 10")
    threads = [Reading(1000.0, 14 + number, 30 + number) for number in range(100)]
    assert "threads" in soak.growth(loading + threads)
    assert "handles" in soak.growth(loading + threads)
    assert "too few" in soak.growth(loading + flat[:5])


def test_the_page_counts_what_was_tried_and_names_what_was_lost() -> None:
    good, bad = Row("kills", "SIGKILL", 10), Row("fuzz", "PNG", 1000, note="seed 1")
    bad.lost += ["--seed 1 --index 3: KeyError in a.py", "--seed 1 --index 9: KeyError in a.py"]
    said = table([good, bad])
    assert "| kills | SIGKILL | 10 | 10 | 0 |" in said
    assert "| fuzz | PNG | 1,000 | 998 | 2 |" in said
    assert "|  | **all** | 1,010 | 1,008 | 2 |" in said
    assert "- PNG: --seed 1 --index 3: KeyError in a.py (2)" in said
    whole = page([Sitting.now("make reliability", 12.0, [good, bad])])
    assert "`make reliability`" in whole
    assert "slidecam " in whole
    assert said in whole


def test_parts_that_were_tried_in_several_calls_are_one_page(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    keep(file, Sitting.now("first", 7.3, [Row("kills", "SIGKILL", 5, ["seed 3: gone"])]))
    keep(file, Sitting.now("second", 8.1, [Row("fuzz", "TIFF", 11), Row("soak", "server", 4)]))
    keep(file, Sitting.now("first", 6.9, [Row("kills", "SIGKILL", 13, note="seeds 1 to 13")]))
    sittings = keep(file, Sitting.now("third", 9.7, [Row("kills", "SIGKILL", 17, note="loaded")]))
    said = page(sittings)
    assert [one.command for one in sittings] == ["second", "first", "third"]
    assert "| kills | SIGKILL | 30 | 30 | 0 |" in said
    assert "|  | **all** | 45 | 45 | 0 |" in said
    assert "seeds 1 to 13; loaded" in said
    assert "gone" not in said
