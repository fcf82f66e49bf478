"""Calls of the command line that are disturbed, and undisturbed ones to hold them against."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data"

VOLATILE = {"started", "finished", "seconds", "machine", "resumed", "made_in", "input"}
"""What of a record tells when, for how long and on which file."""

ASIDE = {".lock", "manifest.json", "report.html", "slides.csv", ".report-pictures.json"}
"""Files that are of all slides, or of none."""

LONGEST = 300.0
"""Seconds that one call may take: whatever takes longer is lost."""

MOST_CALLS = 6
"""Calls after which a slide must be whole."""

FORESEEN = {0, 1, 2, 3, 4, 130, 143}
"""Exit codes of a call that ended by its own words."""

UNFORESEEN = ("Traceback (most recent call last)", "did not foresee this")

SETTINGS = ("--batch", "8", "--outputs", "tiles.csv,heatmap.ome.zarr")


@dataclass(frozen=True)
class Subject:
    """What is classified: a slide or a volume, and the bundle for it."""

    path: Path
    bundle: Path
    settings: tuple[str, ...] = SETTINGS

    @property
    def folder(self) -> str:
        """What its outputs are called by."""
        return self.path.name.split(".")[0]


SLIDE = Subject(SAMPLE / "slide.tif", SAMPLE / "bundle")
VOLUME = Subject(
    SAMPLE / "brain.nii.gz",
    SAMPLE / "mri-bundle",
)


@dataclass(frozen=True)
class Ended:
    """How a call ended, and what it printed."""

    code: int | None
    said: str
    seconds: float

    @property
    def fault(self) -> str:
        """Return what is wrong with the way it ended; empty where it ended by its own words."""
        if self.code is None:
            return f"no end after {self.seconds:.0f} s"
        if self.code not in FORESEEN:
            return f"ended with {self.code}: {self.said.strip()[-200:]!r}"
        for words in UNFORESEEN:
            if words in self.said:
                return f"unforeseen: {self.said.strip()[-200:]!r}"
        return ""


@dataclass
class Call:
    """A call of ``slidecam`` in a process of its own, begun at once.

    Attributes
    ----------
    words
        Behind ``slidecam``.
    log
        Where it prints to.
    environment
        What is set over this process' own.
    limit
        Called in the new process before it begins, to bound what it may take.
    """

    words: Sequence[str]
    log: Path
    environment: Mapping[str, str | None] = field(default_factory=dict)
    limit: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._begun = time.monotonic()
        with self.log.open("wb") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "slidecam", *self.words],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=_environment(self.environment),
                preexec_fn=self.limit,  # noqa: PLW1509  (no thread runs here)
            )

    def end(self, longest: float = LONGEST) -> Ended:
        """Wait for its end, and return how it was; a call that takes too long is killed."""
        try:
            code: int | None = self.process.wait(longest)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = None
        said = self.log.read_text(encoding="utf-8", errors="replace")
        return Ended(code, said, time.monotonic() - self._begun)

    def kill_after(self, seconds: float) -> bool:
        """Kill it after so many seconds; return whether it still ran."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return True
        return False


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    made = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, value in changes.items():
        made.pop(name, None)
        if value is not None:
            made[name] = value
    return made


def predict(subject: Subject, out: Path, *more: str) -> tuple[str, ...]:
    """Return the words of a call that classifies a subject."""
    named = ("predict", str(subject.path), "-m", str(subject.bundle), "-o", str(out), "--json")
    return (*named, *subject.settings, *more)


def files_of(out: Path) -> dict[str, bytes]:
    """Return every file of a slide's run, times left out of its record."""
    found: dict[str, bytes] = {}
    for path in sorted(out.rglob("*")):
        if not path.is_file() or path.name in ASIDE:
            continue
        name = path.relative_to(out).as_posix()
        found[name] = path.read_bytes()
        if path.name == "run.json":
            record = json.loads(found[name])
            kept = {key: value for key, value in record.items() if key not in VOLATILE}
            found[name] = json.dumps(kept, sort_keys=True).encode()
    return found


def difference(expected: Mapping[str, bytes], found: Mapping[str, bytes]) -> str:
    """Return how the files of a run differ from those of an undisturbed one; empty if they do not.

    Both as `files_of` returns them.
    """
    missing = sorted(expected.keys() - found.keys())
    more = sorted(found.keys() - expected.keys())
    other = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
    for words, names in (("missing", missing), ("too many", more), ("other bytes", other)):
        if names:
            return f"{words}: {', '.join(names[:3])}"
    return ""


def finished(words: Callable[..., Sequence[str]], log: Path) -> str:
    """Repeat a call with --resume until it is done; return what is wrong, or nothing.

    ``words`` gives a call's words with those that it is given behind them.
    """
    for _again in range(MOST_CALLS):
        ended = Call(words("--resume"), log).end()
        if ended.code == 0:
            return ""
        if ended.fault:
            return ended.fault
    return f"not done after {MOST_CALLS} calls: {ended.said.strip()[-200:]!r}"
