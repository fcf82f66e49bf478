"""Compare `predict` on a slide read in a process of its own with the same read in this process.

Both ways take turns, the first of each pair changing; each row is one pair, the last their medians.
A figure above 1 says that the process of its own was the faster way.

    python benchmarks/readers_apart.py SLIDE --model BUNDLE [--pairs 6] [--overlap 0.5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from slidecam.prediction import preparation
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.sources import open_source
from slidecam.sources.apart import open_apart

if TYPE_CHECKING:
    from slidecam.sources import Source
    from slidecam.viewing import VolumeView


def here(path: str, reader: str | None, view: VolumeView, _seconds: float | None) -> Source:
    """Open a slide in this process."""
    return open_source(path, reader, view)


def seconds(slide: Path, bundle: Path, spec: PredictSpec, *, apart: bool) -> float:
    """Return how long a whole call takes, from opening to the last file."""
    opener = open_apart if apart else here
    with (
        tempfile.TemporaryDirectory() as out,
        patch.object(preparation, "open_apart", opener),
    ):
        start = time.perf_counter()
        for _event in predict(slide, bundle, out, spec):
            pass
        return time.perf_counter() - start


def main() -> None:
    """Print one row per pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--mpp", type=float)
    given = parser.parse_args()
    spec = PredictSpec(overlap=given.overlap, mpp=given.mpp)
    for apart in (True, False):  # what is loaded once is loaded
        seconds(given.slide, given.model, spec, apart=apart)
    ratios = []
    for pair in range(given.pairs):
        first = bool(pair % 2)
        taken = {
            apart: seconds(given.slide, given.model, spec, apart=apart)
            for apart in (first, not first)
        }
        ratios.append(taken[False] / taken[True])
        print(f"apart {taken[True]:.2f} s, here {taken[False]:.2f} s: {ratios[-1]:.3f}", flush=True)
    print(f"median {statistics.median(ratios):.3f} of {given.pairs} pairs")


if __name__ == "__main__":
    main()
