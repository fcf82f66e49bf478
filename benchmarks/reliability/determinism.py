"""The same slide by other means: of whatever threads, workers or megabytes, the same bytes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from reliability.calls import SLIDE, VOLUME, Call, difference, files_of, predict
from reliability.kills import Undisturbed
from reliability.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Change = tuple[str, tuple[str, ...], "Mapping[str, str | None]"]

CHANGES: tuple[Change, ...] = (
    ("once more", (), {}),
    ("1 worker", ("--workers", "1"), {}),
    ("8 workers", ("--workers", "8"), {}),
    ("64 MB", ("--memory", "64"), {}),
    ("1 MB and 1 worker", ("--memory", "1", "--workers", "1"), {}),
    ("2 threads", (), {"OMP_NUM_THREADS": "2"}),
    ("another order of hashes", (), {"PYTHONHASHSEED": "12345"}),
    ("another time zone and locale", (), {"TZ": "Asia/Kolkata", "LC_ALL": "C"}),
)


def determinism(folder: Path) -> Iterator[Row]:
    """Yield a row for each change, of a slide and of a volume."""
    folder.mkdir(parents=True, exist_ok=True)
    subjects = (SLIDE, VOLUME)
    whole = [Undisturbed.of(subject, folder / subject.folder) for subject in subjects]
    for name, words, environment in CHANGES:
        row = Row("determinism", name)
        for subject, expected in zip(subjects, whole, strict=True):
            out = folder / "again"
            shutil.rmtree(out, ignore_errors=True)
            call = Call(predict(subject, out, *words), folder / "again.log", environment)
            ended = call.end()
            fault = ended.fault or difference(expected.files, files_of(out / subject.folder))
            row.add(fault and f"{subject.folder}: {fault}")
        yield row
