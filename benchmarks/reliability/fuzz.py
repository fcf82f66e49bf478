"""Hostile bytes at every door, in worker processes with a limit of time and of memory.

What is neither read nor refused by a `SlidecamError` is lost: another exception, a process that
ends, an answer that takes too long, a memory that is used up. Input ``INDEX`` of a door is made
again from its seed: ``python -m reliability --door NAME --seed SEED --index INDEX``.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reliability.rows import Row
from reliability.spoiling import SPOILERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from reliability.doors import Door

SECONDS = 30.0
"""One input may take so long."""

BEGIN_SECONDS = 300.0
"""A worker may take so long to begin, and to write the sound file."""

MEMORY_GB = 6
"""A worker may take so much of data."""

GREW_MB = 1500
"""Of resident memory that one input may add, at its peak."""


@dataclass(frozen=True)
class Told:
    """What a worker says: of an input that it begins, or of one that was lost."""

    index: int
    lost: str = ""


def spoiled(door: Door, sound: bytes, seed: int, index: int) -> bytes:
    """Return one hostile input of a door."""
    draw = random.Random(f"{seed} {door.name} {index}")  # noqa: S311  (nothing secret)
    return SPOILERS[door.kind](sound, draw)


def tried(door: Door, folder: Path, content: bytes) -> str:
    """Read one input; return what is wrong with how that ended, or nothing."""
    # lazy on purpose: a worker's limits come first
    from slidecam.errors import SlidecamError  # noqa: PLC0415

    (folder / door.file).write_bytes(content)
    before = _peak_mb()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            door.read(folder)
    except SlidecamError:
        pass
    except MemoryError:
        return "MemoryError"
    # The boundary of one input: whatever else comes out is the fault that is looked for.
    except BaseException as error:  # noqa: BLE001
        place = traceback.extract_tb(error.__traceback__)[-1]
        name = "/".join(Path(place.filename).parts[-2:])
        return f"{type(error).__name__} in {name}:{place.lineno}: {str(error)[:80]!r}"
    grown = _peak_mb() - before
    if grown > GREW_MB:
        return f"{grown:,.0f} MB of memory"
    return ""


def _peak_mb() -> float:
    if sys.platform == "win32":
        return 0.0
    # lazy on purpose: Windows has no such module
    import resource  # noqa: PLC0415

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def prepared(door: Door, folder: Path) -> bytes:
    """Write a door's sound file, which must be read without fault, and return its bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    door.make(folder)
    sound = (folder / door.file).read_bytes()
    door.read(folder)
    return sound


def _work(pipe: Connection, name: str, folder: Path, seed: int, indices: range) -> None:
    """Try some inputs of a door, saying each before it is tried."""
    _limit()
    # lazy on purpose: a worker's limits come first
    from reliability.doors import CONTROLS, DOORS  # noqa: PLC0415

    sys.stderr = sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    door = {**DOORS, **CONTROLS}[name]
    try:
        sound = prepared(door, folder)
    except Exception as error:  # noqa: BLE001  (the boundary of a door, which is said to be wrong)
        pipe.send(Told(-1, f"{type(error).__name__}: {error}"))
        os._exit(1)
    for index in indices:
        pipe.send(Told(index))
        lost = tried(door, folder, spoiled(door, sound, seed, index))
        if lost:
            pipe.send(Told(index, lost))
    pipe.send(None)
    # At once: what a library left may wait at an ordinary end.
    os._exit(0)


def _limit() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        return
    # lazy on purpose: Windows has no such module
    import resource  # noqa: PLC0415

    limit = MEMORY_GB * 2**30
    _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def fuzz(folder: Path, count: int, seed: int, names: list[str] | None = None) -> Iterator[Row]:
    """Yield a row for each door, of an equal share of ``count`` inputs."""
    # lazy on purpose: this process needs their names alone
    from reliability.doors import DOORS  # noqa: PLC0415

    wanted = names or list(DOORS)
    share = -(-count // len(wanted))
    for name in wanted:
        yield one_door(name, folder, seed, range(share))


def one_door(name: str, folder: Path, seed: int, indices: range) -> Row:
    """Try so many inputs at one door, in as many workers as that takes."""
    row = Row("fuzz", name, len(indices))
    place = folder / "".join(letter if letter.isalnum() else "-" for letter in name)
    begun, left = time.monotonic(), indices
    while left:
        reached = _in_worker(row, name, place, seed, left)
        left = range(reached + 1, indices.stop)
    seconds = time.monotonic() - begun
    row.note = f"seed {seed}, {1000 * seconds / max(1, len(indices)):.1f} ms each"
    return row


def _in_worker(row: Row, name: str, folder: Path, seed: int, indices: range) -> int:
    """Try inputs until a worker has done them or is lost; return the last that was tried."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(theirs, name, folder, seed, indices), daemon=True)
    worker.start()
    theirs.close()
    reached, patience = -1, BEGIN_SECONDS
    try:
        while True:
            if not ours.poll(patience):
                row.lost.append(_words(seed, reached, f"no answer for {patience:.0f} s"))
                break
            told: Any = ours.recv()
            if told is None:
                return indices.stop - 1
            if told.index < 0:
                raise RuntimeError(f"the door {name} does not read its own sound file: {told.lost}")
            if told.lost:
                row.lost.append(_words(seed, told.index, told.lost))
            reached, patience = told.index, SECONDS
    except EOFError:
        worker.join(5)
        if reached < 0:
            raise RuntimeError(f"the door {name} did not begin: {worker.exitcode}") from None
        row.lost.append(_words(seed, reached, f"its process ended with {worker.exitcode}"))
    finally:
        worker.kill()
        worker.join()
        ours.close()
    if reached < 0:
        raise RuntimeError(f"the door {name} did not begin")
    return reached


def _words(seed: int, index: int, lost: str) -> str:
    return f"--seed {seed} --index {index}: {lost}"
