"""Does peak memory grow with the slide? Classify a slide and one of four times its area.

Each runs in a fresh process.

python benchmarks/memory.py [--edge 16384]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from material import write_bundle, write_slide


def peak_megabytes(slide: Path, bundle: Path, out: Path) -> float:
    """Return the largest resident memory of `slidecam predict`, watched from outside."""
    command = [
        sys.executable,
        "-m",
        "slidecam",
        "predict",
        str(slide),
        "--model",
        str(bundle),
        "--out",
        str(out),
        "--json",
    ]
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
            process.wait(0.05)
        except psutil.TimeoutExpired:
            continue
        except psutil.NoSuchProcess:
            break
    if process.returncode:
        raise SystemExit(f"predict ended with {process.returncode}")
    return peak / 1e6


def main() -> None:
    """Print one row per slide and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=16384)
    edge = parser.parse_args().edge
    peaks = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = write_bundle(folder, "slidecam/pocket_resnet", 256)
        for side in (edge, 2 * edge):
            slide = write_slide(folder / f"slide{side}.tif", side)
            peaks.append(peak_megabytes(slide, bundle, folder / "out"))
            print(f"{side} x {side} px: peak {peaks[-1]:.0f} MB")
    print(f"four times the slide, {peaks[1] / peaks[0]:.3f} times the memory")


if __name__ == "__main__":
    main()
