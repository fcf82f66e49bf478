"""How long a DICOM series of many files takes to be opened for the page, and who waits meanwhile.

Series of more and more slices of 64 x 64 voxels are written and opened by a server's shelf of
slides, while another thread takes tile after tile of a slide that is open there.

    python benchmarks/series.py --files 300,1000,3000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from slidecam.server.slides import SlideCache

SAMPLE = Path(__file__).parents[1] / "sample_data" / "slide.tif"
EDGE = 64


def main() -> None:
    """Open series of each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", default="300,1000,3000")
    counts = [int(count) for count in parser.parse_args().files.split(",")]
    print(f"load {psutil.getloadavg()[0]:.1f} before")
    print("| files | opened, s | first slice, s | ms a file | tiles of a slide meanwhile, ms |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            print(row(write_series(Path(folder) / str(count), count), count))


def row(folder: Path, count: int) -> str:
    """Open one series; return its row of the table."""
    shelf = SlideCache(most=4)
    slide = shelf.open(SAMPLE)
    waits: list[float] = []
    done = Event()
    finest = (max(slide["width"], slide["height"]) - 1).bit_length()

    def take_tiles() -> None:
        while not done.is_set():
            start = time.perf_counter()
            shelf.tile(slide["id"], finest, len(waits) % 4, 1)
            waits.append(time.perf_counter() - start)

    taking = Thread(target=take_tiles)
    taking.start()
    start = time.perf_counter()
    series = shelf.open(folder)
    opened = time.perf_counter() - start
    shelf.tile(series["id"], 0, 0, 0, plane=count // 2)
    first = time.perf_counter() - start - opened
    done.set()
    taking.join()
    shelf.close()
    median, most = np.percentile(waits, (50, 100)) * 1e3
    each = 1e3 * (opened + first) / count
    tiles = f"{len(waits)}; median {median:.0f}, longest {most:.0f}"
    return f"| {count} | {opened:.2f} | {first:.2f} | {each:.2f} | {tiles} |"


def write_series(folder: Path, count: int) -> Path:
    """Write a series of so many slices, one file for each; return its folder."""
    folder.mkdir()
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    pixels = np.random.default_rng(0).integers(0, 1000, (EDGE, EDGE), np.int16)
    for number in range(count):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = Dataset()
        one.file_meta = meta
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        one.StudyInstanceUID, one.SeriesInstanceUID = study, series
        one.FrameOfReferenceUID, one.Modality = frame, "CT"
        one.InstanceNumber = number + 1
        one.ImagePositionPatient = [0, 0, number]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.PixelSpacing = [1, 1]
        one.Rows = one.Columns = EDGE
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = pixels.tobytes()
        one.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
    return folder


if __name__ == "__main__":
    main()
