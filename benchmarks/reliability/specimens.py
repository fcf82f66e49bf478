"""Small sound files of every kind that slidecam reads, for `doors` to spoil."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from typing import TYPE_CHECKING, Any

import nibabel
import nrrd
import numpy as np
import tifffile
import zarr
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from reliability.calls import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

EDGE = 96
SHAPE = (20, 24, 8)
SPACING = 0.5
SVS = (
    "Aperio Image Library v11.2.1\r\n96x96 [0,0 96x96] (64x64) JPEG/RGB Q=70|AppMag = 20|"
    "MPP = 0.4990|ScanScope ID = SS1302|Filename = small"
)
_PHOTOMETRIC: dict[str, Any] = {"photometric": "rgb", "metadata": None}


def pixels() -> NDArray[np.uint8]:
    """Return stained noise on glass, uint8 (96, 96, 3)."""
    random = np.random.default_rng(0)
    picture = np.full((EDGE, EDGE, 3), 244, np.uint8)
    stain = np.array([205, 140, 180]) + random.integers(-40, 40, (64, 64, 3))
    picture[16:80, 16:80] = stain.astype(np.uint8)
    return picture


def picture(path: Path) -> None:
    """Write a picture in the format that its suffix says."""
    Image.fromarray(pixels()).save(path)


def tiff(path: Path, *, compression: str | None = "zlib", description: str | None = None) -> None:
    """Write a pyramid of two levels in tiles of 64 pixels."""
    with tifffile.TiffWriter(path) as writer:
        for step in (1, 2):
            per_cm = 10_000 / (SPACING * step)
            writer.write(
                np.ascontiguousarray(pixels()[::step, ::step]),
                tile=(64, 64),
                compression=compression,
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=int(step > 1),
                description=description if step == 1 else None,
                **_PHOTOMETRIC,
            )


def ome_tiff(path: Path) -> None:
    """Write an OME-TIFF in colours."""
    metadata = {"axes": "YXS", "PhysicalSizeX": SPACING, "PhysicalSizeY": SPACING}
    how: dict[str, Any] = {"photometric": "rgb", "tile": (64, 64), "compression": "zlib"}
    tifffile.imwrite(path, pixels(), ome=True, metadata=metadata, **how)


def ome_zarr(folder: Path, version: str) -> None:
    """Write an OME-Zarr of two levels."""
    group = zarr.open_group(str(folder), mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for index in range(2):
        data = pixels()[:: 2**index, :: 2**index].transpose(2, 0, 1)
        made = group.create_array(
            str(index), shape=data.shape, chunks=(3, 64, 64), dtype=data.dtype
        )
        made[:] = data
        scale = [1.0, SPACING * 2**index, SPACING * 2**index]
        change = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(index), "coordinateTransformations": change})
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    scales: list[Any] = [{"version": version, "axes": axes, "datasets": datasets}]
    if version == "0.4":
        group.attrs.update({"multiscales": scales})
    else:
        group.attrs.update({"ome": {"version": version, "multiscales": scales}})


def head() -> NDArray[np.int16]:
    """Return a bright ball, int16 (x, y, z)."""
    places = np.meshgrid(*(np.linspace(-1, 1, length) for length in SHAPE), indexing="ij")
    return np.where(sum(place**2 for place in places) < 0.8, 300, 0).astype(np.int16)


def nifti(path: Path) -> None:
    """Write a NIfTI volume, gzipped where it is called so."""
    nibabel.save(nibabel.Nifti1Image(head(), np.diag([1.0, 1.0, 2.0, 1.0])), path)


def mgh(path: Path) -> None:
    """Write an MGH volume."""
    nibabel.save(nibabel.MGHImage(head(), np.diag([1.0, 1.0, 2.0, 1.0]).astype(np.float32)), path)


def nrrd_volume(path: Path, encoding: str = "gzip") -> None:
    """Write a NRRD volume."""
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([1.0, 1.0, 2.0]),
        "space origin": np.zeros(3),
        "kinds": ["domain"] * 3,
        "encoding": encoding,
    }
    nrrd.write(str(path), head(), header)


def dicom(folder: Path) -> None:
    """Write a series of a file for each slice."""
    folder.mkdir(parents=True, exist_ok=True)
    voxels = head()
    for number in range(SHAPE[2]):
        slice_ = Dataset()
        slice_.SOPClassUID = MRImageStorage
        slice_.SOPInstanceUID = f"1.2.826.77.{number + 1}"
        slice_.SeriesInstanceUID = "1.2.826.77"
        slice_.Modality, slice_.InstanceNumber = "MR", number + 1
        slice_.ImagePositionPatient = [0, 0, 2 * number]
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.PixelSpacing, slice_.SliceThickness = [1, 1], 2
        slice_.Rows, slice_.Columns, slice_.SamplesPerPixel = SHAPE[1], SHAPE[0], 1
        slice_.PhotometricInterpretation = "MONOCHROME2"
        slice_.BitsAllocated = slice_.BitsStored = 16
        slice_.HighBit, slice_.PixelRepresentation = 15, 1
        slice_.PixelData = np.ascontiguousarray(voxels[..., number].T).tobytes()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.file_meta.MediaStorageSOPClassUID = MRImageStorage
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
        slice_.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def geojson(path: Path) -> None:
    """Write annotations of two classes, gzipped where the file is called so."""
    features = []
    for name, corner in (("Tumor", 20), ("Stroma", 50)):
        ring = [[0, 0], [20, 0], [20, 25], [0, 25], [0, 0]]
        placed = [[x + corner, y + corner] for x, y in ring]
        properties = {
            "objectType": "annotation",
            "name": f"area of {name}",
            "classification": {"name": name, "color": [200, 0, 0]},
        }
        geometry = {"type": "Polygon", "coordinates": [placed]}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    whole = {
        "type": "FeatureCollection",
        "slidecam": {"image": {"size_px": [EDGE, EDGE]}},
        "features": features,
    }
    content = json.dumps(whole).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def mask(path: Path) -> None:
    """Write a PNG mask."""
    Image.fromarray((pixels()[..., 1] < 200).astype(np.uint8) * 255).save(path)


def qupath(path: Path) -> None:
    """Write a QuPath project of one image."""
    tiff(path.parent / "slide.tif")
    uri = (path.parent / "slide.tif").absolute().as_uri()
    metadata = {
        "width": EDGE,
        "height": EDGE,
        "pixelCalibration": {
            "pixelWidth": {"value": 0.5, "unit": "µm"},
            "pixelHeight": {"value": 0.5, "unit": "µm"},
        },
    }
    builder = {"builderType": "uri", "uri": uri, "metadata": metadata}
    images = [{"imageName": "slide.tif", "entryID": 1, "serverBuilder": builder}]
    project = {"version": "0.5.0", "uri": path.absolute().as_uri(), "images": images}
    path.write_text(json.dumps(project), encoding="utf-8")


def bundle(folder: Path) -> None:
    """Copy the sample's bundle."""
    shutil.copytree(SAMPLE / "bundle", folder, dirs_exist_ok=True)


def wsinfer(folder: Path) -> None:
    """Write a configuration as in the WSInfer zoo, with weights of another network."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLE / "bundle" / "model.safetensors", folder)
    config = {
        "spec_version": "1.0",
        "architecture": "resnet18",
        "num_classes": 2,
        "patch_size_pixels": 64,
        "spacing_um_px": 0.5,
        "class_names": ["Tumor", "Other"],
        "transform": [
            {"name": "Resize", "arguments": {"size": 32}},
            {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": [0.5] * 3, "std": [0.1] * 3}},
        ],
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def table(path: Path, *rows: tuple[object, ...]) -> None:
    """Write a table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def pictures(folder: Path) -> None:
    """Write a table of four pictures in two classes."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [("path", "label", "group", "split")]
    for number in range(4):
        picture(folder / f"{number}.png")
        rows.append(
            (f"{number}.png", "ab"[number % 2], f"p{number}", ("train", "val")[number // 2])
        )
    table(folder / "pictures.csv", *rows)


def run(folder: Path) -> None:
    """Classify a slide; its outputs lie in ``folder / "slide"``."""
    _once(_classify_slide, folder)


def volume_run(folder: Path) -> None:
    """Classify the sample's volume; its outputs lie in ``folder / "brain"``."""
    _once(_classify_volume, folder)


def _once(make: Callable[[Path], None], folder: Path) -> None:
    """Make something beside a folder, where it is not there yet, and copy it into the folder."""
    made = folder.parent / f"made{make.__name__}"
    if not made.is_dir():
        make(made.with_suffix(".partial"))
        made.with_suffix(".partial").rename(made)
    shutil.copytree(made, folder, dirs_exist_ok=True)


def _classify_slide(folder: Path) -> None:
    # lazy on purpose: torch is loaded for runs alone
    from slidecam.prediction.pipeline import predict  # noqa: PLC0415
    from slidecam.runs.spec import PredictSpec  # noqa: PLC0415

    small = folder / "slide.tif"
    folder.mkdir(parents=True, exist_ok=True)
    whole = np.tile(pixels(), (6, 6, 1))
    per_cm = 10_000 / SPACING
    tifffile.imwrite(
        small,
        whole,
        tile=(64, 64),
        resolution=(per_cm, per_cm),
        resolutionunit="CENTIMETER",
        **_PHOTOMETRIC,
    )
    spec = PredictSpec(existing="overwrite", batch=8)
    for _event in predict(small, SAMPLE / "bundle", folder, spec):
        pass


def _classify_volume(folder: Path) -> None:
    # lazy on purpose: torch is loaded for runs alone
    from slidecam.prediction.pipeline import predict  # noqa: PLC0415
    from slidecam.runs.spec import PredictSpec  # noqa: PLC0415

    spec = PredictSpec(existing="overwrite", batch=8)
    for _event in predict(SAMPLE / "brain.nii.gz", SAMPLE / "mri-bundle", folder, spec):
        pass
