"""A slide is read in a process of its own as here, and what ends that process fails it alone."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pydicom
import pytest
from PIL import Image
from pydicom.uid import RLELossless

import slidecam
from slidecam.errors import ReaderFailedError, RegionReadError, SlideFailedError, UsageError
from slidecam.geometry import LevelBox
from slidecam.sources import _reader_owner, apart, open_source
from slidecam.sources._reader_messages import Reply
from slidecam.sources._reader_owner import idle_readers
from slidecam.sources.apart import SourceApart, open_apart
from slidecam.sources.volume import VolumeSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from slidecam.sources import Source

    Writer = Callable[[Path, str], Path]

WINDOWS = sys.platform == "win32"
CORNER = LevelBox(-3, 5, 40, 20)


def opened(path: Path | str, **given: Any) -> SourceApart:
    source = open_apart(path, **given)
    assert isinstance(source, SourceApart)
    return source


@pytest.fixture
def slide(tmp_path: Path, write_slide: Callable[..., Path]) -> Path:
    return write_slide(tmp_path / "slide.tif")


def same(one: Source, other: Source) -> bool:
    whole = [LevelBox(0, 0, *_sides(one, level)) for level in range(len(one.facts.levels))]
    pairs = [(one.read(level, box), other.read(level, box)) for level, box in enumerate(whole)]
    return all(np.array_equal(*pair) for pair in pairs)


def _sides(source: Source, level: int) -> tuple[int, int]:
    size = source.facts.levels[level].size
    return size.width, size.height


def test_a_slide_is_in_another_process_what_it_is_in_this(slide: Path) -> None:
    with opened(slide) as there, open_source(slide) as here:
        assert there.pid != os.getpid()
        assert there.facts == here.facts
        assert (there.token, there.seen) == (here.token, here.seen)
        assert same(there, here)
        assert np.array_equal(there.read(0, CORNER), here.read(0, CORNER))
        assert np.array_equal(there.thumbnail(100), here.thumbnail(100))
        assert there.is_absent(0, CORNER) == here.is_absent(0, CORNER)
        assert there.color_profile() == here.color_profile()
        with pytest.raises(KeyError):
            there.associated_image("label")


def test_real_slides_of_openslide_are_what_they_are_here(shared_data: Path) -> None:
    path = shared_data / "slides" / "CMU-1-Small-Region.svs"
    with opened(path) as there, open_source(path) as here:
        assert there.facts == here.facts
        box = LevelBox(900, 900, 300, 200)
        assert np.array_equal(there.read(0, box), here.read(0, box))
        for name in here.facts.associated:
            assert np.array_equal(there.associated_image(name), here.associated_image(name))


def test_a_region_that_is_larger_than_the_shared_memory_is_read_too(
    slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "SLOT_BYTES", 1000)
    with opened(slide) as there, open_source(slide) as here:
        assert same(there, here)


def test_one_process_reads_one_slide_after_another_from_many_threads(slide: Path) -> None:
    with opened(slide) as first, ThreadPoolExecutor(8) as pool:
        pid = first.pid
        boxes = [LevelBox(x, x, 64, 64) for x in range(0, 320, 10)]
        found = list(pool.map(lambda box: first.read(0, box), boxes))
    with open_source(slide) as here:
        assert all(np.array_equal(a, here.read(0, b)) for a, b in zip(found, boxes, strict=True))
    with opened(slide) as second:
        assert second.pid == pid


def test_two_slides_that_are_open_have_a_process_each(slide: Path) -> None:
    with opened(slide) as one, opened(slide) as other:
        assert one.pid != other.pid


def test_a_path_is_meant_from_where_the_owner_is(
    slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(slide.parent)
    with opened(slide.name) as source:
        assert source.facts.path == slide.name


def test_what_is_closed_is_not_read(slide: Path) -> None:
    source = opened(slide)
    source.close()
    source.close()
    with pytest.raises(UsageError, match="closed"):
        source.read(0, CORNER)


def test_volumes_need_no_process(
    tmp_path: Path, write_volume: Any, head: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reader_owner.ReaderProcess, "__init__", None)
    idle_readers().end()
    with open_apart(write_volume.nifti(tmp_path / "head.nii.gz", head)) as volume:
        assert isinstance(volume, VolumeSource)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jp2"])
def test_pictures_are_read_apart_from_a_file_and_from_its_bytes(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    with open_source(path) as here:
        whole = here.read(0, LevelBox(0, 0, 60, 40))
    with opened(path) as there:
        assert np.array_equal(there.read(0, LevelBox(0, 0, 60, 40)), whole)
    content = path.read_bytes()
    path.unlink()
    with opened(path, content=content) as there:
        assert np.array_equal(there.read(0, LevelBox(0, 0, 60, 40)), whole)


def test_packed_frames_of_dicom_are_decoded_apart_and_one_that_ends_it_is_one_slice(
    tmp_path: Path, write_volume: Any, head: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    for path in series.iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.compress(RLELossless)
        slice_.save_as(path)
    with open_source(series) as here:
        assert isinstance(here, VolumeSource)
        whole = np.asarray(here.array())
    reader = idle_readers().take()
    idle_readers().put(reader)
    asked: list[str] = []
    real = _reader_owner.ReaderProcess.ask

    def ask(process: Any, verb: str, *given: Any, seconds: float) -> Any:
        asked.append(verb)
        if len(asked) == 5:
            os.kill(process.pid, signal.SIGTERM if WINDOWS else signal.SIGKILL)
        return real(process, verb, *given, seconds=seconds)

    monkeypatch.setattr(_reader_owner.ReaderProcess, "ask", ask)
    with open_source(series) as volume:
        assert isinstance(volume, VolumeSource)
        found = np.asarray(volume.array())
        (reason,) = volume.broken.values()
    assert "the process that decoded it ended" in reason
    assert set(asked) == {"decode_frame"}
    same_slices = (found == whole).all(axis=(1, 2))
    assert same_slices.sum() == len(whole) - 1


def test_whoever_opens_what_a_person_names_opens_it_apart() -> None:
    root = Path(slidecam.__file__).parent
    elsewhere = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "open_source(" in path.read_text(encoding="utf-8") and path.parent.name != "sources"
    }
    # Tasks of Dask, and masks that are volumes.
    assert elsewhere == {"runs/arrays.py", "foreground/volumes.py"}


def test_a_file_that_is_no_slide_is_refused_in_the_same_words(tmp_path: Path) -> None:
    (tmp_path / "none.tif").write_bytes(b"II*\0 and no more")
    said = []
    for opener in (open_source, open_apart):
        with pytest.raises(OSError, match=r"none\.tif") as caught:
            opener(tmp_path / "none.tif")
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


def test_a_damaged_region_is_one_here_too(tmp_path: Path, write_hostile: Writer) -> None:
    with opened(write_hostile(tmp_path / "a.hst", "read damage")) as slide:
        for _again in range(2):
            with pytest.raises(RegionReadError, match="there is a hole") as caught:
                slide.read(0, LevelBox(1, 2, 3, 4))
            assert (caught.value.level, caught.value.box) == (0, LevelBox(1, 2, 3, 4))


def test_an_error_that_nobody_foresaw_keeps_its_traceback() -> None:
    try:
        try:
            raise KeyError("page")  # noqa: TRY301  (a library's)
        except KeyError as cause:
            raise ReaderFailedError("a.svs", "it failed", "Report it.") from cause
    except ReaderFailedError as error:
        reply: Reply = pickle.loads(pickle.dumps(Reply.of_error(1, error)))  # noqa: S301  (our own)
    with pytest.raises(ReaderFailedError, match=r"It failed \(a\.svs\)\. Report it\.") as again:
        reply.given()
    assert "KeyError: 'page'" in "\n".join(again.value.traceback())


@pytest.mark.parametrize("stage", ["open", "read"])
def test_an_abort_fails_the_slide_in_words(
    tmp_path: Path, write_hostile: Writer, stage: str
) -> None:
    path = write_hostile(tmp_path / "a.hst", f"{stage} abort")
    with pytest.raises(SlideFailedError, match="process that read it ended") as caught:
        opened(path).read(0, CORNER)
    assert "failed to allocate" in str(caught.value)
    assert "a.hst" in str(caught.value)
    if not WINDOWS:
        assert "SIGABRT" in str(caught.value)
    with opened(write_hostile(tmp_path / "b.hst", "read nothing")) as next_one:
        assert next_one.read(0, CORNER).shape == (20, 40, 3)


def test_a_read_that_hangs_is_given_up_and_its_process_with_it(
    tmp_path: Path, write_hostile: Writer
) -> None:
    slide = opened(write_hostile(tmp_path / "a.hst", "read hang"))
    slide._seconds = 0.3
    with pytest.raises(SlideFailedError, match=r"no answer for 0\.3 s.*--slide-timeout"):
        slide.read(0, CORNER)
    assert is_gone(slide.pid)
    slide.close()


def test_closing_waits_for_no_read(tmp_path: Path, write_hostile: Writer) -> None:
    slide = opened(write_hostile(tmp_path / "a.hst", "read hang"))
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(slide.read, 0, CORNER)
        while not slide._process._waiting:
            sleep(0.01)
        slide.close()
        with pytest.raises(SlideFailedError):
            held.result(5)
    assert is_gone(slide.pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no limit on memory elsewhere")
def test_a_slide_that_wants_all_memory_fails_alone(tmp_path: Path, write_hostile: Writer) -> None:
    with (
        opened(write_hostile(tmp_path / "a.hst", "read eat")) as slide,
        pytest.raises(SlideFailedError, match="more memory than it may take"),
    ):
        slide.read(0, CORNER)


def is_gone(pid: int) -> bool:
    """Whether a process ends within seconds; one that nobody has buried yet has ended."""
    until = monotonic() + 10
    while is_alive(pid) and monotonic() < until:
        sleep(0.02)
    return not is_alive(pid)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


OWNER = """
import sys, time
from slidecam.sources.apart import open_apart
print(open_apart(sys.argv[1]).pid, flush=True)
time.sleep(60)
"""


def test_a_reader_ends_with_an_owner_that_was_killed(slide: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(slide)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:  # noqa: S603  (our own interpreter)
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert is_alive(pid)
        owner.send_signal(signal.SIGTERM if WINDOWS else signal.SIGKILL)
    assert is_gone(pid)


def test_a_slide_is_read_here_where_no_process_can_be_started(
    slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_given: object, **_named: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    idle_readers().end()
    monkeypatch.setattr("slidecam.sources._reader_owner.subprocess.Popen", refused)
    with open_apart(slide) as source:
        assert not isinstance(source, SourceApart)
        assert any("Read in this process" in said for said in source.facts.readings)
