"""Fixtures that every room's tests share."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import nibabel
import nrrd
import numpy as np
import psutil
import pytest
import tifffile
from hypothesis import HealthCheck, settings
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from slidecam.classes import ClassSet
from slidecam.errors import RegionReadError
from slidecam.foreground import Foreground
from slidecam.geometry import Box, Level, LevelBox, Size, Spacing
from slidecam.sources import READERS, Source, SourceFacts
from slidecam.store import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from slidecam.models import Card
    from slidecam.runs import Run

# torch, and what loads it, is imported by the fixtures that need it: a light test pays nothing.

WORKER_BYTES = 3 * 2**30
"""What one worker needs at most, napari and its JVM, browser or server beside it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option of ours, and those that napari's fixtures ask for.

    Its pytest plugin is switched off in pyproject.toml.
    """
    parser.addoption(
        "--fast", action="store_true", default=False, help="leave out the tests that take long"
    )
    parser.addoption(
        "--show-napari-viewer", action="store_true", default=False, help="show the viewers of tests"
    )
    parser.addoption(
        "--save-leaked-object-graph", action="store_true", default=False, help="draw what leaked"
    )


def pytest_xdist_auto_num_workers() -> int:
    """Return one more for ``-n auto`` than there are processors, if there is memory for them.

    A quarter of a worker's time is waiting: for a child, a server, a disk.
    """
    processors = psutil.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    room = int(psutil.virtual_memory().available // WORKER_BYTES)
    return max(1, min(processors + 1, room))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what takes long, if that is wanted; no promise of a published contract may."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    for item in slow:
        if _is_promise(item):
            raise pytest.UsageError(f"{item.nodeid} is a promise of a contract, and marked slow")
        if config.getoption("--fast"):
            item.add_marker(pytest.mark.skip(reason="slow: make test-all runs it"))


def _is_promise(item: pytest.Item) -> bool:
    """Tell if a test is inherited from one of the package's contract suites."""
    made_of = item.cls.__mro__ if isinstance(item, pytest.Function) and item.cls else ()
    homes = [kind.__module__ for kind in made_of]
    return any(home.startswith("slidecam.") and home.endswith(".contract") for home in homes)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say last of all how many tests were skipped and why."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    if reasons:
        told = "; ".join(f"{count} ({reason})" for reason, count in reasons.most_common())
        reporter.write_line(f"skipped: {told}")


# A loaded machine is no failure, and the same examples are tried every time.
settings.register_profile(
    "slidecam",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("slidecam")

# Tests run side by side, each on networks too small to share between threads. Set before torch is
# loaded, and for the processes that tests start too.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real slides and weights, beside the checkout.

    Skip, saying so, where it is absent.
    """
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real slides are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """Return the folder of the synthetic slide and its bundle."""
    return Path(__file__).parents[1] / "sample_data"


class ArraySource(Source):
    """A slide in memory that counts what is decoded and fails where it is told to."""

    def __init__(
        self, facts: SourceFacts, levels: list[NDArray[np.uint8]], broken: LevelBox | None
    ) -> None:
        super().__init__(facts)
        self.decoded: list[tuple[int, LevelBox]] = []
        self.closed = False
        self._levels, self._broken = levels, broken

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        self.decoded.append((level, box))
        if self._broken is not None and _meet(box, self._broken):
            raise RegionReadError(self.facts.path, level, box, "told to fail")
        return self._levels[level][box.y : box.bottom, box.x : box.right].copy()

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        raise KeyError(name)

    def close(self) -> None:
        self.closed = True


class MakeSource(Protocol):
    """What the fixture `array_source` is."""

    def __call__(
        self,
        pixels: NDArray[np.uint8],
        *,
        downsamples: tuple[int, ...] = (1,),
        chunk: int = 64,
        bounds: Box | None = None,
        broken: LevelBox | None = None,
    ) -> ArraySource: ...


@pytest.fixture
def array_source() -> MakeSource:
    """Return a maker of in-memory slides; coarser levels take every n-th pixel."""

    def make(
        pixels: NDArray[np.uint8],
        *,
        downsamples: tuple[int, ...] = (1,),
        chunk: int = 64,
        bounds: Box | None = None,
        broken: LevelBox | None = None,
    ) -> ArraySource:
        arrays = [pixels[::step, ::step] for step in downsamples]
        levels = tuple(
            Level(index, Size(array.shape[1], array.shape[0]), float(step))
            for index, (array, step) in enumerate(zip(arrays, downsamples, strict=True))
        )
        facts = SourceFacts(
            path="memory.tif",
            name="memory",
            reader="memory",
            format="array",
            levels=levels,
            spacing=Spacing(0.5, 0.5),
            spacing_from="the test",
            bounds=bounds,
            chunk=(Size(chunk, chunk),) * len(levels),
            associated=(),
            fingerprint="memory",
        )
        return ArraySource(facts, arrays, broken)

    return make


@pytest.fixture
def noise() -> Callable[[int, int], NDArray[np.uint8]]:
    """Return a maker of random RGB pictures, (height, width, 3).

    Every pixel differs, so a shift shows.
    """

    def make(width: int, height: int) -> NDArray[np.uint8]:
        return np.random.default_rng(width * 10_007 + height).integers(
            0, 256, (height, width, 3), np.uint8
        )

    return make


def _meet(one: LevelBox, other: LevelBox) -> bool:
    apart = (
        one.right <= other.x
        or other.right <= one.x
        or one.bottom <= other.y
        or other.bottom <= one.y
    )
    return not apart


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of three classes with random weights.

    64 px tiles at 0.5 µm/px, an 8x8 or so map.
    """
    from slidecam.models import Card

    card = Card(
        name="tiny",
        architecture="slidecam/pocket_resnet",
        architecture_args={"widths": [8, 12, 16]},
        class_names=("A", "B", "C"),
        activation="softmax",
        tile_px=64,
        spacing=0.5,
        input_px=64,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    return _untrained(tmp_path_factory.mktemp("bundle") / "tiny", card, seed=5)


def _untrained(folder: Path, card: Card, seed: int) -> Path:
    """Save a bundle of a card with random weights, and return where."""
    import torch

    from slidecam.models import save_bundle
    from slidecam.models.architectures import build_network

    torch.manual_seed(seed)
    args, classes = dict(card.architecture_args), len(card.class_names)
    network = build_network(card.architecture, args, classes, folder)
    return save_bundle(folder, card, network).path


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """Return a bundle with the card of `tiny_bundle` and other random weights."""
    from slidecam.models import open_bundle

    return _untrained(tmp_path_factory.mktemp("other") / "other", open_bundle(tiny_bundle).card, 17)


@pytest.fixture(scope="session")
def pair_bundle(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, other_bundle: Path
) -> Path:
    """Return the ensemble of `tiny_bundle` and `other_bundle`."""
    from slidecam.models import open_bundle, save_bundle
    from slidecam.models.ensemble_bundle import ensemble_of

    folder = tmp_path_factory.mktemp("pair")
    both = [open_bundle(tiny_bundle), open_bundle(other_bundle)]
    card, weights = ensemble_of(both, "pair")
    return save_bundle(folder / "pair", card, dict(weights)).path


@pytest.fixture(scope="session")
def wsinfer_torchscript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as in the WSInfer zoo, with one class in TorchScript."""
    import torch

    class MeanRed(torch.nn.Module):
        """The smallest network with one logit: how red a tile is."""

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            """Return (tiles, 1) logits."""
            return pixels[:, :1].mean((2, 3))

    folder = tmp_path_factory.mktemp("zoo") / "red"
    folder.mkdir()
    config = {
        "spec_version": "1.0",
        "architecture": "mean-red",
        "num_classes": 1,
        "patch_size_pixels": 64,
        "spacing_um_px": 0.5,
        "class_names": ["Tumor"],
        "transform": [
            {"name": "Resize", "arguments": {"size": 32}},
            {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": [0.5, 0.5, 0.5], "std": [0.1, 0.1, 0.1]}},
        ],
    }
    (folder / "config.json").write_text(json.dumps(config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit warns of its own end
        trace: Callable[..., Any] = torch.jit.trace
        trace(MeanRed(), torch.zeros(1, 3, 32, 32)).save(str(folder / "torchscript_model.pt"))
    return folder


@pytest.fixture(scope="session")
def write_slide() -> Callable[..., Path]:
    """Return a writer of small pyramidal slides that OpenSlide opens.

    They show pink and violet tissue on glass.
    """

    def write(
        path: Path, width: int = 700, height: int = 500, seed: int = 0, *, tissue: bool = True
    ) -> Path:
        pixels = np.full((height, width, 3), 244, np.uint8)
        if tissue:
            rng = np.random.default_rng(seed)
            stain = np.array([225, 150, 190]) + rng.integers(-25, 25, (height, width, 3))
            pixels[40 : height - 60, 50 : width - 90] = stain.astype(np.uint8)[
                40 : height - 60, 50 : width - 90
            ]
        with tifffile.TiffWriter(path) as writer:
            for step in (1, 2, 4):
                per_cm = 10_000 / (0.5 * step)
                level = np.ascontiguousarray(pixels[::step, ::step])
                writer.write(
                    level,
                    tile=(128, 128),
                    photometric="rgb",
                    compression="deflate",
                    resolution=(per_cm, per_cm),
                    resolutionunit="CENTIMETER",
                    subfiletype=int(step > 1),
                )
        return path

    return write


@pytest.fixture(scope="session")
def write_two_scans() -> Callable[[Path], Path]:
    """Return a writer of an OME-TIFF with two scans and a macro image, the macro first."""

    def write(path: Path) -> Path:
        rng = np.random.default_rng(7)
        sizes = {"macro image": (90, 70), "left": (430, 310), "right": (610, 370)}
        with tifffile.TiffWriter(path, ome=True) as writer:
            for name, (width, height) in sizes.items():
                pixels = np.array([210, 140, 180]) + rng.integers(-30, 30, (height, width, 3))
                writer.write(
                    pixels.astype(np.uint8),
                    tile=(128, 128),
                    photometric="rgb",
                    compression="deflate",
                    metadata={
                        "Name": name,
                        "PhysicalSizeX": 0.5,
                        "PhysicalSizeXUnit": "µm",
                        "PhysicalSizeY": 0.5,
                        "PhysicalSizeYUnit": "µm",
                    },
                )
        return path

    return write


def make_head(shape: tuple[int, int, int] = (40, 48, 12), seed: int = 0) -> NDArray[np.int16]:
    """Return a bright ball with a brighter spot left of its middle, no two parts alike.

    Its axes are (x right, y forwards, z up).
    """
    places = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij")
    radius = np.sqrt(sum(place**2 for place in places))
    head = np.where(radius < 0.9, 300 + 80 * places[0] + 50 * places[1] + 30 * places[2], 0)
    spot = (places[0] + 0.45) ** 2 + (places[1] - 0.3) ** 2 + (places[2] - 0.2) ** 2 < 0.06
    head = np.where(spot, 900, head) + np.random.default_rng(seed).integers(0, 6, shape)
    return head.astype(np.int16)


class VolumeWriter:
    """Writes one (x right, y forwards, z up) volume in every format slidecam reads as volumes."""

    voxel = (0.8, 0.8, 2.0)

    def affine(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the affine to RAS+ mm that puts the volume's middle at the world's."""
        affine = np.diag([*self.voxel, 1.0])
        affine[:3, 3] = [
            -(length - 1) / 2 * step for length, step in zip(shape[:3], self.voxel, strict=True)
        ]
        return affine

    def nifti(
        self, path: Path, voxels: NDArray[Any], affine: NDArray[np.float64] | None = None
    ) -> Path:
        """Write NIfTI-1, gzipped where the name says so."""
        nibabel.save(
            nibabel.Nifti1Image(voxels, self.affine(voxels.shape) if affine is None else affine),
            path,
        )
        return path

    def nifti2(self, path: Path, voxels: NDArray[Any]) -> Path:
        """Write NIfTI-2."""
        nibabel.save(nibabel.Nifti2Image(voxels, self.affine(voxels.shape)), path)
        return path

    def mgh(self, path: Path, voxels: NDArray[Any]) -> Path:
        """Write MGH or MGZ."""
        image = nibabel.MGHImage(voxels, self.affine(voxels.shape).astype(np.float32))
        nibabel.save(image, path)
        return path

    def nrrd(self, path: Path, voxels: NDArray[Any], encoding: str = "gzip") -> Path:
        """Write NRRD in LPS."""
        affine = np.diag([-1, -1, 1, 1]) @ self.affine(voxels.shape)
        header = {
            "space": "left-posterior-superior",
            "space directions": affine[:3, :3].T,
            "space origin": affine[:3, 3],
            "kinds": ["domain"] * 3,
            "encoding": encoding,
        }
        nrrd.write(str(path), voxels, header)
        return path

    def dicom(
        self,
        folder: Path,
        voxels: NDArray[Any],
        skip: tuple[int, ...] = (),
        numbers: tuple[int, ...] | None = None,
        **tags: Any,
    ) -> Path:
        """Write a series of one file for each slice, in names that do not follow their places.

        ``numbers`` are the slices' instance numbers; by default they follow the places.
        """
        folder.mkdir(parents=True, exist_ok=True)
        count = voxels.shape[2]
        for number in range(count):
            if number in skip:
                continue
            slice_ = self._slice(voxels, number, tags)
            if numbers is not None:
                slice_.InstanceNumber = numbers[number]
            slice_.save_as(folder / f"IM{(number * 7) % count:04d}.dcm", enforce_file_format=True)
        return folder

    def enhanced(self, path: Path, voxels: NDArray[Any], **tags: Any) -> Path:
        """Write one file of many frames, from the top down."""
        whole = self._slice(voxels, 0, tags)
        shared, frames = Dataset(), []
        shared.PixelMeasuresSequence = Sequence([_dataset(PixelSpacing=whole.PixelSpacing)])
        shared.PlaneOrientationSequence = Sequence(
            [_dataset(ImageOrientationPatient=whole.ImageOrientationPatient)]
        )
        order = [*reversed(range(voxels.shape[2]))]
        for number in order:
            position = self._slice(voxels, number, tags).ImagePositionPatient
            place = Sequence([_dataset(ImagePositionPatient=position)])
            frames.append(_dataset(PlanePositionSequence=place))
        for name in (
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "InstanceNumber",
        ):
            delattr(whole, name)
        whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
        whole.NumberOfFrames = len(order)
        whole.SharedFunctionalGroupsSequence = Sequence([shared])
        whole.PerFrameFunctionalGroupsSequence = Sequence(frames)
        whole.PixelData = np.stack([_hung(voxels, number) for number in order]).tobytes()
        whole.save_as(path, enforce_file_format=True)
        return path

    def _slice(self, voxels: NDArray[Any], number: int, tags: dict[str, Any]) -> Dataset:
        # Rows run to the patient's left and columns backwards, as axial slices do.
        middle = [
            (length - 1) / 2 * step for length, step in zip(voxels.shape, self.voxel, strict=True)
        ]
        told: dict[str, Any] = {
            "SOPClassUID": MRImageStorage,
            "SOPInstanceUID": f"1.2.826.77.{number + 1}",
            "SeriesInstanceUID": "1.2.826.77",
            "Modality": "MR",
            "InstanceNumber": number + 1,
            "ImagePositionPatient": [-middle[0], -middle[1], number * self.voxel[2] - middle[2]],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [self.voxel[1], self.voxel[0]],
            "SliceThickness": self.voxel[2],
            "Rows": voxels.shape[1],
            "Columns": voxels.shape[0],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
        }
        dataset = _dataset(**told | tags)
        dataset.PixelData = _hung(voxels, number).tobytes()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        return dataset


def _hung(voxels: NDArray[Any], number: int) -> NDArray[Any]:
    """Return an axial slice as rows and columns: backwards, and to the patient's left."""
    return np.ascontiguousarray(voxels[::-1, ::-1, number].T.astype(np.int16))


def _dataset(**values: Any) -> Dataset:
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


@pytest.fixture
def write_hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path, str], Path]]:
    """Return a writer of slides whose reader does what they say: ``open hang``, ``read abort``."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "hostile_readers"))
    READERS.look_again()

    def write(path: Path, deed: str) -> Path:
        path.write_text(f"HOSTILE {deed}")
        return path

    yield write
    monkeypatch.undo()
    READERS.look_again()


@pytest.fixture(scope="session")
def write_volume() -> VolumeWriter:
    """Return a writer of volumes in every format."""
    return VolumeWriter()


@pytest.fixture(scope="session")
def head() -> NDArray[np.int16]:
    """Return a synthetic head, (x right, y forwards, z up)."""
    return make_head()


@pytest.fixture(scope="session")
def slice_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of two classes with random weights that sees whole slices, as 32 px."""
    from slidecam.models import Card

    card = Card(
        name="slices",
        architecture="slidecam/pocket_resnet",
        architecture_args={"widths": [8, 12]},
        class_names=("plain", "lesion"),
        activation="softmax",
        tile_px=32,
        spacing=None,
        input_px=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    return _untrained(tmp_path_factory.mktemp("slice-bundle") / "slices", card, seed=6)


RUN_CLASSES = ("A", "B", "C")
RUN_COLORS = ((200, 30, 40), (30, 160, 60), (40, 60, 200))


class MakeRun(Protocol):
    """What the fixture `made_run` is."""

    def __call__(
        self,
        boxes: NDArray[np.int64],
        probabilities: NDArray[np.float32],
        *,
        size: Size,
        step: int,
        names: tuple[str, ...] = ...,
        mask: NDArray[np.bool_] | None = None,
        failed: tuple[int, ...] = (),
    ) -> Run: ...


@pytest.fixture(scope="session")
def made_run() -> MakeRun:
    """Return a maker of runs on a slide of 0.5 x 0.25 µm pixels."""
    from slidecam.runs import Run, RunRecord
    from slidecam.runs.record_parts import RecordedBundle, RecordedInput
    from slidecam.runs.tiles import TileTable

    def make(
        boxes: NDArray[np.int64],
        probabilities: NDArray[np.float32],
        *,
        size: Size,
        step: int,
        names: tuple[str, ...] = RUN_CLASSES,
        mask: NDArray[np.bool_] | None = None,
        failed: tuple[int, ...] = (),
    ) -> Run:
        status = np.full(len(boxes), Status.DONE, np.uint8)
        status[list(failed)] = Status.FAILED
        known = np.asarray(probabilities, np.float32).copy()
        known[list(failed)] = np.nan
        classes = ClassSet(
            names, "softmax" if len(names) > 1 else "sigmoid", RUN_COLORS[: len(names)]
        )
        table = TileTable(boxes, status, known, classes)
        with np.errstate(divide="ignore"):
            logits = np.log(known)
        bundle = RecordedBundle("three", "bundle", "m", classes)
        return Run(
            folder=Path("run"),
            record=RunRecord(RecordedInput("s.tif", "s", size=size), bundle),
            tiles=table,
            logits=logits,
            step=step,
            tissue=None if mask is None else Foreground(mask, size, "drawn"),
            digest={"slide": "s", "model": "m", "µm/px": [0.5, 0.25]},
        )

    return make


@pytest.fixture(scope="session")
def grid_boxes() -> MakeBoxes:
    """Return a maker of square boxes on a grid, row by row, that may overhang the slide."""

    def make(size: Size, edge: int, step: int) -> NDArray[np.int64]:
        places = [
            (x, y)
            for y in range(0, size.height - step + 1, step)
            for x in range(0, size.width - step + 1, step)
        ]
        return np.array([(x, y, edge, edge) for x, y in places], np.int64)

    return make


class MakeBoxes(Protocol):
    """What the fixture `grid_boxes` is."""

    def __call__(self, size: Size, edge: int, step: int) -> NDArray[np.int64]: ...
