"""Thirty good and broken inputs in one call: each has its fate, in the terminal and on disk."""

from __future__ import annotations

import gzip
import json
import struct
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.runs.slices import read_slices_csv
from slidecam.sources import _nifti

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

pytestmark = pytest.mark.slow

NRRD = (
    "NRRD0004\ntype: int16\ndimension: 3\nsizes: 40 48 12\nendian: little\nencoding: raw\n"
    "space: RAS\nspace directions: (0.83,0,0) (0,1.37,0) (0,0,3.1)\nspace origin: (1,2,3)\n\n"
)


class Inputs:
    """Writes the inputs of a call, and notes what each is to come to."""

    def __init__(self, folder: Path, writer: Any, head: NDArray[np.int16]) -> None:
        self.folder, self.writer, self.head = folder, writer, head
        self.expected: dict[str, str] = {}
        self.paths: list[Path] = []

    def add(self, path: Path, fate: str) -> Path:
        name = path.name
        for suffix in (".nii.gz", ".nii", ".nrrd", ".mgz", ".dcm", ".png", ".jpg", ".img", ".hdr"):
            name = name.removesuffix(suffix)
        self.expected[name] = fate
        self.paths.append(path)
        return path

    def bytes(self, name: str, content: bytes) -> None:
        path = self.add(self.folder / name, "failed")
        path.write_bytes(content)

    def header(self, name: str, place: int, form: str, *values: float) -> None:
        """Write a NIfTI whose header says something else at one place."""
        path = self.add(self.folder / name, "failed")
        self.writer.nifti(path, self.head)
        content = bytearray(path.read_bytes())
        struct.pack_into(form, content, place, *values)
        path.write_bytes(content)

    def series(
        self,
        name: str,
        fate: str,
        change: Callable[[Dataset], None] | None = None,
        slices: Iterable[int] = range(12),
    ) -> Path:
        """Write a series of which some slices are changed."""
        number = len(self.paths)
        made: Path = self.writer.dicom(
            self.folder / name, self.head, SeriesInstanceUID=f"1.2.826.77.{number}"
        )
        for place, path in enumerate(sorted(made.iterdir())):
            if change is not None and place in slices:
                header = dcmread(path)
                change(header)
                header.save_as(path)
        return self.add(made, fate)


def without_pixels(header: Dataset) -> None:
    del header.PixelData


def without_place(header: Dataset) -> None:
    header.ImagePositionPatient = [1, 2]


def of_nothing(header: Dataset) -> None:
    header.ImageOrientationPatient = [0] * 6


def without_rows(header: Dataset) -> None:
    del header.Rows


def taller(header: Dataset) -> None:
    header.Rows = 60


def write_good(made: Inputs) -> None:
    head, folder, writer = made.head, made.folder, made.writer
    made.add(writer.nifti(folder / "plain.nii", head), "done")
    made.add(writer.nifti(folder / "packed.nii.gz", head), "done")
    made.add(writer.nifti(folder / "timed.nii.gz", np.stack([head, head], 3)), "done")
    made.add(writer.nrrd(folder / "slicer.nrrd", head), "done")
    made.add(writer.mgh(folder / "surfer.mgz", head), "done")
    made.add(writer.enhanced(folder / "enhanced.dcm", head), "done")
    grey = (head[:, :, 6] // 4).astype(np.uint8)
    Image.fromarray(grey).save(made.add(folder / "picture.png", "done"))
    made.series("series", "done")
    junk = made.series("beside_junk", "done")
    (junk / "readme.txt").write_text("exported on a Monday", encoding="ascii")
    lost = made.series("one_is_empty", "partly")
    (lost / "IM0005.dcm").write_bytes(b"")
    made.add(writer.nifti(folder / "air.nii", np.zeros_like(head)), "skipped")


def write_broken(made: Inputs) -> None:
    head, folder, writer = made.head, made.folder, made.writer
    plain, packed = (folder / "plain.nii").read_bytes(), (folder / "packed.nii.gz").read_bytes()
    made.bytes("torn.nii.gz", packed[: len(packed) // 2])
    made.bytes("changed.nii.gz", packed[:-8] + b"\1\2\3\4" + packed[-4:])
    made.bytes("twice.nii.gz", gzip.compress(packed))
    made.bytes("short.nii", plain[: len(plain) // 2])
    made.bytes("nothing.nii", b"")
    made.bytes("words.nii", b"see the attached letter\n" * 40)
    made.bytes("torn_slicer.nrrd", (folder / "slicer.nrrd").read_bytes()[:900])
    made.bytes("torn_surfer.mgz", (folder / "surfer.mgz").read_bytes()[:900])
    made.bytes("torn_picture.png", (folder / "picture.png").read_bytes()[:200])
    made.bytes("half_a_pair.img", plain[352:])
    samples = head.T.tobytes()
    made.bytes("encoded.nrrd", NRRD.replace("raw", "hex").encode() + samples)
    made.bytes("negative.nrrd", NRRD.replace("40 48", "-40 48").encode() + samples)
    made.bytes("endless.nrrd", NRRD.replace("40 48", "400000 480000").encode() + samples)
    made.header("vast.nii", 40, "<4h", 3, 30000, 30000, 30000)
    made.header("nowhere.nii", 280, "<f", float("nan"))
    made.header("unknown.nii", 70, "<h", 777)
    cortex = nibabel.Nifti2Image(np.zeros((1, 1, 1, 1, 5, 6), np.float32), np.eye(4))
    cortex.header["intent_code"] = 3001
    cortex.to_filename(made.add(folder / "cortex.nii", "failed"))
    made.add(writer.nifti(folder / "complex.nii", head.astype(np.complex64)), "failed")
    made.series("bare", "failed", without_pixels)
    made.series("flat", "failed", of_nothing)
    made.series("no_size", "failed", without_rows)
    made.series("other_size", "failed", taller)
    empty = folder / "empty"
    empty.mkdir()
    made.add(empty, "failed")
    made.series("one_bare", "partly", without_pixels, [3])
    made.series("one_unplaced", "done", without_place, [3])
    made.series("one_taller", "done", taller, [3])


def test_of_many_good_and_broken_inputs_every_one_has_its_fate(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    slice_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NobodyKnowsThis(Exception):  # noqa: N818  (another library's name)
        pass

    made = Inputs(tmp_path, write_volume, head)
    write_good(made)
    write_broken(made)
    strange = made.add(write_volume.nifti2(tmp_path / "strange.nii", head), "failed")

    images = _nifti._image

    def raising(probe: Any) -> Any:
        if probe.given == str(strange):
            raise NobodyKnowsThis("a kind of its own")
        return images(probe)

    monkeypatch.setattr(_nifti, "_image", raising)
    order = np.random.default_rng(8).permutation(len(made.paths)).tolist()
    inputs = [str(made.paths[place]) for place in order]
    out = tmp_path / "out"
    options = ["--model", str(slice_bundle), "--out", str(out), "--device", "cpu", "--batch", "4"]
    result = CliRunner().invoke(app, ["predict", *inputs, *options])

    assert result.exit_code == 3
    manifest = json.loads((out / "manifest.json").read_text())
    fates = {slide["slide"]: slide["status"] for slide in manifest["slides"]}
    assert fates == made.expected
    assert len(fates) >= 30
    for slide in manifest["slides"]:
        assert slide["slide"] in result.output
        if slide["status"] == "failed":
            assert slide["reason"]
            assert slide["remedy"]
            assert slide["reason"][:60] in " ".join(result.output.split())
    assert "Traceback" not in result.output
    table = read_slices_csv(out / "one_bare" / "slices.csv")
    assert table.status.count("failed") == 1
    said = {slide["slide"]: " ".join(slide["warnings"]) for slide in manifest["slides"]}
    for name in ("one_unplaced", "one_taller", "beside_junk"):
        assert "left out" in said[name]
    assert "empty, cut off or no DICOM" in said["one_is_empty"]
