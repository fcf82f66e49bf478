"""What every reader must keep, as a test suite to inherit from.

It lives in the package so that a reader in another project can be tested as ours are. It imports no
pytest: pytest collects the ``test_`` methods of the class that inherits from it.
"""
# ruff: noqa: S101 - asserting is what a test suite is for
# ruff: noqa: D102 - a test's name is its claim

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import RegionReadError, UnreadableSourceError, UsageError
from slidecam.geometry import LevelBox
from slidecam.icc import ToSrgb
from slidecam.pixels import GLASS
from slidecam.sources._probe import probe
from slidecam.sources.contract_colours import colour_files
from slidecam.sources.opening import open_source
from slidecam.sources.overview import chunk_boxes
from slidecam.sources.readers import NOT_MINE, READERS
from slidecam.viewing import PictureView, VolumeView

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import dask.array as da
    from numpy.typing import NDArray

    from slidecam.sources.contract_colours import ColourFile
    from slidecam.sources.source import Source

_THREADS = 8
_CELLS = 100
_INK = (1, 2, 3)
_PART = LevelBox(21, 13, 40, 37)


@dataclass(frozen=True)
class SourceCase:
    """One slide for the contract to try.

    Attributes
    ----------
    path, reader
        What `open_source` is given; reader None lets the content decide.
    read_by
        The reader that must come out.
    picture
        The pixels of level 0, uint8, (height, width, 3).
    tolerance
        How far a pixel of level 0 may lie from ``picture``: 0 for lossless formats.
    level_tolerance
        How far a level and a thumbnail may lie from the area mean of level 0, on average over their
        pixels.
    spacing
        µm per pixel that the file says, or None.
    copy, other
        The same content in another place and under another name, and another slide of the same
        format.
    """

    path: str
    reader: str | None
    read_by: str
    picture: NDArray[np.uint8]
    tolerance: int
    level_tolerance: float
    spacing: float | None
    copy: str
    other: str


class SourceContract:
    """The promises of `Source`; inherit and provide the fixtures ``case`` and ``source``.

    Examples
    --------
    >>> class TestMyReader(SourceContract):
    ...     @pytest.fixture
    ...     def case(self, tmp_path): return SourceCase(...)
    ...     @pytest.fixture
    ...     def source(self, case):
    ...         with open_source(case.path, case.reader) as source:
    ...             yield source
    """

    def test_the_facts_fit_each_other(self, source: Source, case: SourceCase) -> None:
        facts = source.facts
        assert facts.reader == case.read_by
        assert facts.path == case.path
        assert facts.format
        assert facts.name
        assert facts.fingerprint
        assert len(facts.chunk) == len(facts.levels)
        assert [level.index for level in facts.levels] == list(range(len(facts.levels)))

    def test_the_pyramid_starts_at_one_and_only_shrinks(self, source: Source) -> None:
        levels = source.facts.levels
        assert levels[0].downsample == 1.0
        for finer, coarser in pairwise(levels):
            assert coarser.downsample > finer.downsample
            assert coarser.size.width <= finer.size.width
            assert coarser.size.height <= finer.size.height

    def test_the_spacing_is_the_files_own(
        self,
        source: Source,
        case: SourceCase,
    ) -> None:
        if case.spacing is None:
            assert source.facts.spacing is None
            assert source.facts.spacing_from is None
        else:
            assert source.facts.spacing is not None
            assert np.isclose(source.facts.spacing.x, case.spacing, rtol=1e-4)
            assert np.isclose(source.facts.spacing.y, case.spacing, rtol=1e-4)
            assert source.facts.spacing_from

    def test_level_0_is_the_picture(
        self,
        source: Source,
        case: SourceCase,
    ) -> None:
        pixels = source.read(0, _whole(source, 0))
        assert pixels.dtype == np.uint8
        assert pixels.shape == case.picture.shape
        assert int(np.abs(pixels.astype(int) - case.picture).max()) <= case.tolerance

    def test_every_level_is_the_picture_made_smaller(
        self, source: Source, case: SourceCase
    ) -> None:
        for level in source.facts.levels:
            pixels = source.read(level.index, _whole(source, level.index))
            rows, columns = (min(_CELLS, side) for side in pixels.shape[:2])
            difference = area_mean(pixels, rows, columns) - area_mean(case.picture, rows, columns)
            assert float(np.abs(difference).mean()) <= case.tolerance + case.level_tolerance

    def test_a_pixel_has_one_value_in_whatever_box_it_is_read(self, source: Source) -> None:
        random = np.random.default_rng(0)
        for level in source.facts.levels:
            whole = source.read(level.index, _whole(source, level.index))
            for box in _some_boxes(source, level.index, random):
                crop = whole[box.y : box.bottom, box.x : box.right]
                np.testing.assert_array_equal(source.read(level.index, box), crop)

    def test_beyond_the_edge_lies_the_fill(self, source: Source) -> None:
        for level in source.facts.levels:
            size = level.size
            inside = source.read(level.index, LevelBox(size.width - 5, size.height - 4, 5, 4))
            around = source.read(
                level.index, LevelBox(size.width - 5, size.height - 4, 12, 9), fill=_INK
            )
            np.testing.assert_array_equal(around[:4, :5], inside)
            assert (around[4:] == _INK).all()
            assert (around[:, 5:] == _INK).all()
            before = source.read(level.index, LevelBox(-7, -6, 9, 8), fill=_INK)
            corner = source.read(level.index, LevelBox(0, 0, 2, 2))
            np.testing.assert_array_equal(before[6:, 7:], corner)
            assert (before[:6] == _INK).all()
            assert (before[:, :7] == _INK).all()

    def test_a_box_that_misses_the_slide_is_all_fill(self, source: Source) -> None:
        assert (source.read(0, LevelBox(-100, 10, 20, 20), fill=_INK) == _INK).all()
        assert (source.read(0, LevelBox(10, 10**7, 20, 20)) == 255).all()  # noqa: PLR2004 - white glass

    def test_the_lazy_level_is_the_level(self, source: Source) -> None:
        for level in source.facts.levels:
            lazy = source.level_array(level.index)
            assert lazy.shape == (level.size.height, level.size.width, 3)
            assert lazy.dtype == np.uint8
            whole = source.read(level.index, _whole(source, level.index))
            np.testing.assert_array_equal(_computed(lazy), whole)
            np.testing.assert_array_equal(_computed(lazy[1:-1:2, 3:]), whole[1:-1:2, 3:])
            np.testing.assert_array_equal(_computed(lazy[::-3, -2, 1]), whole[::-3, -2, 1])

    def test_chunks_tile_every_level(self, source: Source) -> None:
        for level in source.facts.levels:
            covered = np.zeros((level.size.height, level.size.width), np.uint8)
            for box in chunk_boxes(source, level.index):
                assert min(box.width, box.height) > 0
                if source.is_absent(level.index, box):
                    assert (source.read(level.index, box) == GLASS).all()
                covered[box.y : box.bottom, box.x : box.right] += 1
            assert (covered == 1).all()

    def test_the_thumbnail_is_the_area_mean(
        self,
        source: Source,
        case: SourceCase,
    ) -> None:
        for longest in (97, 300):
            thumbnail = source.thumbnail(longest)
            assert max(thumbnail.shape[:2]) == min(longest, max(case.picture.shape[:2]))
            expected = area_mean(case.picture, thumbnail.shape[0], thumbnail.shape[1])
            assert (
                float(np.abs(thumbnail - expected).mean()) <= case.tolerance + case.level_tolerance
            )

    def test_the_thumbnail_is_never_enlarged(
        self,
        source: Source,
        case: SourceCase,
    ) -> None:
        assert source.thumbnail(10**6).shape == case.picture.shape

    def test_the_overview_has_no_gaps_in_a_sound_slide(self, source: Source) -> None:
        assert source.overview(64).gaps == ()

    def test_threads_read_what_one_alone_reads(self, source: Source) -> None:
        random = np.random.default_rng(1)
        jobs = [
            (level.index, box)
            for level in source.facts.levels
            for box in _some_boxes(source, level.index, random)
        ]
        alone = [source.read(level, box) for level, box in jobs]
        with ThreadPoolExecutor(_THREADS) as pool:
            together = list(pool.map(lambda job: source.read(*job), jobs * 2))
        for one, other in zip([*alone, *alone], together, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_an_associated_image_that_is_not_there_is_a_key_error(self, source: Source) -> None:
        assert _raises(KeyError, lambda: source.associated_image("no such image"))
        for name in source.facts.associated:
            pixels = source.associated_image(name)
            assert pixels.dtype == np.uint8
            assert pixels.shape[2] == 3  # noqa: PLR2004 - red, green, blue

    def test_a_closed_source_says_so(self, case: SourceCase) -> None:
        source = open_source(case.path, case.reader)
        source.close()
        source.close()
        assert _raises(UsageError, lambda: source.read(0, LevelBox(0, 0, 4, 4)))

    def test_the_fingerprint_is_the_contents(
        self,
        source: Source,
        case: SourceCase,
    ) -> None:
        with (
            open_source(case.copy, case.reader) as copy,
            open_source(case.other, case.reader) as other,
        ):
            assert copy.facts.name != source.facts.name
            assert copy.facts.fingerprint == source.facts.fingerprint
            assert other.facts.fingerprint != source.facts.fingerprint

    def test_srgb_is_what_the_profile_says(self, source: Source, case: SourceCase) -> None:
        expected, profile = source.read(0, _whole(source, 0)), source.color_profile()
        if profile:
            expected = ToSrgb(profile)(expected)
        view = VolumeView(slide=PictureView(profile="srgb"))
        with open_source(case.path, case.reader, view) as shown:
            assert np.array_equal(shown.read(0, _whole(shown, 0)), expected)
            assert any("ICC profile" in reading for reading in shown.facts.readings)

    def test_colours_of_tiffs_are_right_or_refused_in_words(
        self, case: SourceCase, tmp_path: Path
    ) -> None:
        reader = READERS[case.read_by]
        files = colour_files(tmp_path)
        mine = [file for file in files if reader.rank(probe(file.path)) != NOT_MINE]
        assert colour_faults(mine, case.read_by) == []


def colour_faults(
    files: Iterable[ColourFile], reader: str | None = None, *, refusals: bool = True
) -> list[str]:
    """Return a sentence for every file that a reader shows in other colours, or fails to refuse.

    Parameters
    ----------
    files
        Of `colour_files`, wherever they lie by now.
    reader
        Whose colours; None for who is chosen by the content.
    refusals
        Whether it may also refuse, on opening and in words, what others can show.
    """
    faults = []
    for file in files:
        fault = _fault(file, reader, refusals=refusals)
        if fault:
            faults.append(f"{file.name}: {fault}")
    return faults


def _fault(
    file: ColourFile,
    reader: str | None,
    *,
    refusals: bool,
) -> str:
    try:
        source = open_source(file.path, reader)
    except UnreadableSourceError as error:
        return _fault_of_refusal(file, str(error), refusals=refusals)
    with source:
        try:
            return _fault_of_pixels(file, source)
        except RegionReadError as error:
            return f"opened, and then not read: {error}"


def _fault_of_refusal(
    file: ColourFile,
    words: str,
    *,
    refusals: bool,
) -> str:
    if "damaged" in words or "copy it again" in words.lower():
        return f"a whole file is called damaged: {words}"
    if file.picture is not None and not refusals:
        return f"refused: {words}"
    return ""


def _fault_of_pixels(file: ColourFile, source: Source) -> str:
    if file.picture is None:
        return "shown, though nobody can know its colours"
    size = source.facts.size
    pixels = source.read(0, LevelBox(0, 0, size.width, size.height))
    if pixels.shape != file.picture.shape:
        return f"shown as {pixels.shape}, not as {file.picture.shape}"
    away = int(np.abs(pixels.astype(int) - file.picture).max())
    if away > file.tolerance:
        return f"up to {away} of 255 away from what its tags mean"
    cut = pixels[_PART.y : _PART.bottom, _PART.x : _PART.right]
    if not np.array_equal(source.read(0, _PART), cut):
        return "other pixels in a box than in the whole"
    return ""


def area_mean(
    picture: NDArray[np.uint8],
    rows: int,
    columns: int,
) -> NDArray[np.float64]:
    """Return the mean of ``picture`` over the areas of a grid, by the definition.

    Two weight matrices.
    """
    down, across = _weights(picture.shape[0], rows), _weights(picture.shape[1], columns)
    rows_first: NDArray[np.float64] = np.tensordot(down, picture.astype(np.float64), (1, 0))
    means: NDArray[np.float64] = np.tensordot(rows_first, across, (1, 1))
    return means.transpose(0, 2, 1)


def _weights(length: int, count: int) -> NDArray[np.float64]:
    """Return the share of each of ``count`` equal intervals in each of ``length`` pixels."""
    edges = np.linspace(0, length, count + 1)
    pixels = np.arange(length)
    starts = np.maximum(edges[:-1, None], pixels)
    stops = np.minimum(edges[1:, None], pixels + 1)
    shares: NDArray[np.float64] = np.clip(stops - starts, 0, None) * count / length
    return shares


def _computed(lazy: da.Array) -> NDArray[np.uint8]:
    return np.asarray(lazy.compute(scheduler="threads"))  # type: ignore[no-untyped-call]  # dask types it in part


def _whole(source: Source, level: int) -> LevelBox:
    size = source.facts.levels[level].size
    return LevelBox(0, 0, size.width, size.height)


def _some_boxes(
    source: Source,
    level: int,
    random: np.random.Generator,
) -> list[LevelBox]:
    """Return boxes at odd places, the first of them across the corner of the first chunk."""
    size, chunk = source.facts.levels[level].size, source.facts.chunk[level]
    boxes = [LevelBox(chunk.width - 33, chunk.height - 21, 70, 55)]
    for _ in range(5):
        x, y = int(random.integers(size.width)), int(random.integers(size.height))
        boxes.append(LevelBox(x, y, int(random.integers(1, 200)), int(random.integers(1, 200))))
    clipped = [box.clipped(size) for box in boxes]
    return [box for box in clipped if box.width and box.height]


def _raises(kind: type[Exception], call: object) -> bool:
    assert callable(call)
    try:
        call()
    except kind:
        return True
    return False
