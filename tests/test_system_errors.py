"""What the system refuses is told as that, and never as damage of the file that was read."""

from __future__ import annotations

import errno
import gzip
import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
import typer

from slidecam.cli.terminal import Terminal
from slidecam.errors import RegionReadError, UnreadableSourceError
from slidecam.geometry import LevelBox
from slidecam.runlog import error_words
from slidecam.sources import open_source
from slidecam.sources._library import decoding, opening, repeated
from slidecam.system_errors import call_fault, naming, system_fault

BOX = LevelBox(3, 5, 17, 11)


def error_of(number: int, name: str | None = None) -> OSError:
    return OSError(number, "what the system says", name)


@pytest.mark.parametrize(
    ("number", "word", "remedy"),
    [
        (errno.ENOSPC, "no space left", "Make room"),
        (errno.EIO, "input/output error", "may be sound"),
        (errno.ESTALE, "mounted anew", "mounted"),
        (errno.EMFILE, "Too many files are open", "ulimit -n"),
        (errno.ENOMEM, "memory is used up", "--memory"),
        (errno.ENOLCK, "no locks", "lockd"),
        (errno.EROFS, "only be read", "another folder"),
        (errno.EACCES, "may not be", "Allow it"),
    ],
)
def test_every_number_has_its_words_whichever_library_met_it(
    number: int, word: str, remedy: str
) -> None:
    failed = ValueError("a codec failed")
    failed.__cause__ = error_of(number)
    with pytest.raises(RegionReadError) as decoded, decoding("s.tif", 1, BOX):
        raise failed
    with (
        pytest.raises(UnreadableSourceError) as opened,
        opening("s.tif", "This is a TIFF", "Copy it again."),
    ):
        raise error_of(number)
    for raised in (decoded.value, opened.value):
        assert word in raised.problem
        assert remedy in raised.remedy
        assert "damaged" not in str(raised)
        assert "opy it again" not in str(raised)
    problem, mend = error_words(error_of(number))
    assert word in problem
    assert remedy in mend


def test_a_thread_that_does_not_start_is_a_limit_and_no_fault_of_ours() -> None:
    problem, remedy = error_words(RuntimeError("can't start new thread"))
    assert "no more threads" in problem
    assert "--workers 1" in remedy


def test_a_library_s_own_words_stay_a_library_s_own() -> None:
    assert system_fault(ValueError("bad marker")) is None
    assert system_fault(OSError("broken data stream")) is None
    with pytest.raises(RegionReadError, match="damaged there"), decoding("s.tif", 1, BOX):
        raise OSError("broken data stream")


def test_the_folder_that_is_full_is_named(tmp_path: Path) -> None:
    found = system_fault(error_of(errno.ENOSPC, str(tmp_path / "tiles.csv")))
    assert found is not None
    assert found.problem == f"There is no space left: {tmp_path}"


def test_a_full_temporary_folder_is_called_so_for_every_slice(
    tmp_path: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    opened = Path.open

    def full(path: Path, mode: str = "r", **how: Any) -> Any:
        if path.suffix == ".raw" and mode == "wb":
            return _Full()
        return opened(path, mode, **how)

    monkeypatch.setattr(Path, "open", full)
    with open_source(sample_data / "brain.nii.gz") as source:
        for _again in range(2):
            with pytest.raises(RegionReadError) as failed:
                source.read(0, LevelBox(0, 0, 9, 8), plane=7)
            assert f"temporary folder: {tmp_path}" in failed.value.problem
            assert "TMPDIR" in failed.value.remedy
            assert "damaged" not in str(failed.value)
    assert list(tmp_path.iterdir()) == []


def test_an_error_met_again_keeps_its_number_and_file() -> None:
    again = repeated(error_of(errno.EIO, "x"))
    assert isinstance(again, OSError)
    assert (again.errno, again.filename) == (errno.EIO, "x")
    assert repeated(gzip.BadGzipFile("no")).args == ("no",)


def test_a_file_that_the_system_named_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(OSError) as failed, naming(tmp_path / "a"):  # noqa: PT011  (its file matters)
        raise error_of(errno.ENOSPC, "b")
    assert failed.value.filename == "b"


class _Full(io.BytesIO):
    """A file on a disk that is full."""

    def write(self, _piece: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        super().close()
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "raised",
    [
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        error_of(errno.ENOMEM),
    ],
)
def test_a_call_without_memory_is_refused_by_the_system_and_no_fault_of_ours(
    raised: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as left, Terminal(json=False).errors():
        raise RuntimeError from raised
    assert left.value.exit_code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "The memory is used up" in said
    assert "Take a machine with more" in said
    assert "foresee" not in said


def test_a_package_that_is_not_there_is_no_lack_of_memory() -> None:
    assert call_fault(ImportError("No module named 'openvino'")) is None
