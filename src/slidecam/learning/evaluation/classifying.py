"""Pictures on disk in, logits out; an unreadable picture is reported by name and stops nothing."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from slidecam.errors import DataSetError, DeviceError
from slidecam.learning.data.pictures import load_pixels
from slidecam.models.classifier import NOT_A_NUMBER
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.learning.data.pictures import PictureSet
    from slidecam.models import Card, Classifier


@dataclass(frozen=True)
class UnreadPicture:
    """A picture that could not be classified: its name, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Classified:
    """What a classifier said of pictures.

    Attributes
    ----------
    rows
        Which of the pictures it could classify, in their order.
    logits
        float32, (rows, K).
    failures
        All the others.
    digests
        SHA-256 of each picture's file, of the failed ones too.
    """

    rows: NDArray[np.int64]
    logits: NDArray[np.float32]
    failures: tuple[UnreadPicture, ...]
    digests: tuple[str, ...]


def classify_pictures(
    classifier: Classifier, pictures: PictureSet, batch: int, workers: int
) -> Generator[Step, None, Classified]:
    """Classify whole pictures, resized to the card's ``input_px``.

    Parameters
    ----------
    classifier
        On its device.
    pictures
        At least one.
    batch, workers
        Pictures computed at once, and threads that read the next ones meanwhile.

    Raises
    ------
    DataSetError
        If no picture could be classified.
    DeviceError
        If a batch does not fit into the GPU's memory.
    """
    read: list[_Read] = []
    logits: list[NDArray[np.float32]] = []
    for some in _read_ahead(classifier.card, pictures.paths, batch, workers):
        read += some
        logits.append(_logits(classifier, np.stack([one.pixels for one in some])))
        yield Step("classifying", len(read), len(pictures))
    values = np.concatenate(logits)
    finite = [bool(np.isfinite(row).all()) for row in values]
    reasons = [
        one.reason or ("" if sound else NOT_A_NUMBER)
        for one, sound in zip(read, finite, strict=True)
    ]
    failures = tuple(
        UnreadPicture(name, why) for name, why in zip(pictures.names, reasons, strict=True) if why
    )
    if len(failures) == len(pictures):
        problem = (
            f"none of {len(pictures)} pictures could be classified; {failures[0].name}:"
            f" {failures[0].reason}."
        )
        raise DataSetError(
            problem, "Check that these are pictures, and that the bundle predicts at all."
        )
    rows = np.flatnonzero([not why for why in reasons])
    return Classified(rows, values[rows], failures, tuple(one.digest for one in read))


@dataclass(frozen=True, eq=False)
class _Read:
    pixels: NDArray[np.uint8]
    digest: str
    reason: str = ""


def _read_ahead(
    card: Card, paths: Sequence[Path], batch: int, workers: int
) -> Iterator[list[_Read]]:
    """Yield pictures batch by batch, the next batch being read meanwhile."""
    parts = [paths[start : start + batch] for start in range(0, len(paths), batch)]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="slidecam-pictures")
    try:
        coming = [pool.submit(_read, path, card.input_px, card.interpolation) for path in parts[0]]
        for following in [*parts[1:], ()]:
            here = coming
            coming = [
                pool.submit(_read, path, card.input_px, card.interpolation) for path in following
            ]
            yield [one.result() for one in here]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(path: Path, edge: int, interpolation: str) -> _Read:
    """Return a picture with its digest; one that cannot be read is black, and says why."""
    black = np.zeros((edge, edge, 3), np.uint8)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return _Read(black, "", f"this file cannot be opened: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001  (the boundary of a picture: it is told by its name)
        return _Read(black, "", f"this file cannot be read: {error}")
    try:
        return _Read(load_pixels(path, edge, interpolation), digest)
    except DataSetError as error:
        return _Read(black, digest, _reason(error, path))


def _reason(error: DataSetError, path: Path) -> str:
    """Return what is wrong without the folders above the file, which no report should show."""
    said = error.problem.removesuffix(f" ({path}).")
    for written in (repr(str(path))[1:-1], str(path)):
        said = said.replace(written, path.name)
    return said


def _logits(classifier: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    try:
        logits = classifier.run(
            torch.from_numpy(pixels).to(classifier.device), gradients=False
        ).logits
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{len(pixels)} pictures of {pixels.shape[1]} px do not fit into the GPU's memory.",
            "Pass a smaller --batch.",
        ) from error
    landed: NDArray[np.float32] = logits.detach().float().cpu().numpy()
    return landed
