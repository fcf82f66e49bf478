"""Is memory bounded on a packed volume? Classify one of 512 x 512 x 400 voxels and a small one.

python benchmarks/volume_memory.py [--shape 512,512,400] [--axis axial]

The reader alone is measured too: every plane along every axis, in a fresh process each.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
from memory import peak_megabytes

SMALL = (96, 96, 64)
SAMPLE = Path(__file__).parents[1] / "sample_data" / "mri-bundle"

READ = """
import sys, psutil
from slidecam.sources import open_source
from slidecam.geometry import LevelBox
from slidecam.viewing import VolumeView
import slidecam.sources.volume
me = psutil.Process()
with open_source(sys.argv[1], view=VolumeView(axis=sys.argv[2])) as source:
    # ru_maxrss would begin at the peak of the process that started this one
    before = peak = me.memory_info().rss
    size = source.facts.size
    for plane in range(source.facts.planes):
        source.read(0, LevelBox(0, 0, size.width, size.height), plane=plane)
        peak = max(peak, me.memory_info().rss)
    print((peak - before) / 1e6)
"""


def write_packed(path: Path, shape: tuple[int, int, int]) -> Path:
    """Write a ball of noise as gzipped int16 NIfTI, plane by plane."""
    header = nibabel.Nifti1Image(np.zeros((1, 1, 1), np.int16), np.eye(4)).header
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    columns, rows, planes = shape
    random = np.random.default_rng(0)
    x, y = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))
    with path.open("wb") as stream, gzip.GzipFile("", "wb", 1, stream) as packed:
        header.write_to(packed)
        for z in np.linspace(-1, 1, planes):
            inside = x**2 + y**2 + z**2 < 0.8  # noqa: PLR2004 - a ball that leaves some air
            plane = np.where(inside, random.integers(300, 900, (rows, columns)), 0)
            packed.write(plane.astype(np.int16).tobytes())
    return path


def growth_of_reading(path: Path, axis: str) -> float:
    """Return by how many MB a process grows that reads every plane along an axis."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), axis], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    """Print the reader's growth along each axis, and predict's peak on a small and a large one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="512,512,400")
    parser.add_argument("--only-reading", action="store_true")
    options = parser.parse_args()
    first, second, third = (int(part) for part in options.shape.split(","))
    shape = (first, second, third)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        large = write_packed(folder / "large.nii.gz", shape)
        voxels = first * second * third * 2 / 1e6
        print(
            f"{options.shape}: {voxels:.0f} MB of samples, {large.stat().st_size / 1e6:.0f} MB"
            " packed"
        )
        for axis in ("axial", "coronal", "sagittal"):
            start = time.perf_counter()
            grown = growth_of_reading(large, axis)
            print(
                f"reading every {axis} plane: +{grown:.0f} MB, {time.perf_counter() - start:.1f} s"
            )
        if options.only_reading:
            return
        small = write_packed(folder / "small.nii.gz", SMALL)
        peaks = [peak_megabytes(path, SAMPLE, folder / "out") for path in (small, large)]
        print(f"predict, all outputs: {peaks[0]:.0f} MB on {SMALL}, {peaks[1]:.0f} MB on {shape}")


if __name__ == "__main__":
    main()
