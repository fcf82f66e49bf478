"""What every engine is given and gives back; it needs nothing but numpy.

A driver is called with the path of a job, runs in its engine's own environment, and prints one line
of JSON as its last: a `Done`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Job:
    """One classification.

    Attributes
    ----------
    slide, mask
        The slide, and the tissue as a picture.
    tiles
        An .npy of the tiles' corners, int64, (tiles, 2), level-0 pixels.
    tile_px
        Their edge, level-0 pixels: what the network sees, so that nobody resamples.
    model
        A folder with a bundle, ``torchscript_model.pt`` and WSInfer's ``config.json``.
    architecture, classes
        The network's timm name, and how many classes it has.
    out
        A new folder.
    threads, batch
        Of the network.
    settings
        What is this engine's alone.
    """

    slide: str
    mask: str
    tiles: str
    tile_px: int
    model: str
    architecture: str
    classes: int
    out: str
    threads: int
    batch: int
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_call(cls) -> Job:
        """Read the job that this process is called with."""
        return cls(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

    @property
    def corners(self) -> NDArray[np.int64]:
        """The tiles' corners, (tiles, 2)."""
        return np.asarray(np.load(self.tiles), np.int64)

    def write(self, path: Path) -> Path:
        """Write the job for a driver."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path


@dataclass
class Stopwatch:
    """The seconds of a call, without what was imported before it."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what is done meanwhile."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start


@dataclass(frozen=True)
class Done:
    """What became of a job: seconds of the clock, megabytes at most, and a file of results."""

    seconds: float
    megabytes: float
    version: str
    probabilities: str


def report(job: Job, seconds: float, version: str, corners: object, probabilities: object) -> None:
    """Print what became of a job, its probabilities in the order of the job's tiles.

    Parameters
    ----------
    corners, probabilities
        (tiles, 2) in the engine's own order, and (tiles, classes).
    """
    found = {
        (int(x), int(y)): row
        for (x, y), row in zip(np.asarray(corners), np.asarray(probabilities), strict=True)
    }
    rows = np.stack([found[int(x), int(y)] for x, y in job.corners])
    file = Path(job.out) / "probabilities.npy"
    np.save(file, rows)
    # Kilobytes on Linux; of the children too: loaders are processes of their own.
    own, theirs = (resource.getrusage(of).ru_maxrss for of in _OF)
    done = Done(seconds, (own + theirs) / 1e3, version, str(file))
    sys.stdout.write("\n" + json.dumps(asdict(done)) + "\n")


_OF = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
