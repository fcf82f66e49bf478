"""What a system refuses: disks that are full or gone, locks, limits, folders, names.

Each fault is one call of the command line under it, which must end by its own words, and one
without it, which must make the run whole. Calls of the C library fail by ``fault.c``, compiled and
preloaded where there is a compiler on Linux.
"""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reliability.calls import (
    SLIDE,
    VOLUME,
    Call,
    Subject,
    difference,
    files_of,
    finished,
    predict,
)
from reliability.kills import Undisturbed
from reliability.rows import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SOURCE = Path(__file__).with_name("fault.c")
FULL_AFTER = (0, 1_000, 10_000, 50_000, 100_000, 300_000, 1_000_000)
"""Bytes after which a disk is full."""

TMPFS_KB = (4, 64, 256, 1024)
LIMITED_GB = (2, 3, 4, 6)
NAMES = (
    "with space",
    "häßlich 组织 тест",
    "a'quote\"and$(echo)",
    "-leading",
    "percent%20#hash?query",
    "new\nline",
    "n" * 200,
    b"no\xff\xfetext".decode("utf-8", "surrogateescape"),
)


@dataclass(frozen=True)
class Fault:
    """One call under a fault.

    Attributes
    ----------
    kind
        Its row.
    words
        What makes it again.
    subject
        What is classified.
    environment, limit
        As of a `Call`; ``{out}`` and ``{folder}`` in a value stand for the output and its parent.
    more
        Options of the call.
    must_finish
        Whether the call under it must be done as if there were no fault.
    """

    kind: str
    words: str
    subject: Subject = SLIDE
    environment: Mapping[str, str | None] = field(default_factory=dict)
    limit: Callable[[], None] | None = None
    more: tuple[str, ...] = ()
    must_finish: bool = False


def faults(folder: Path) -> Iterator[Row]:
    """Yield a row for each kind of fault."""
    folder.mkdir(parents=True, exist_ok=True)
    shim, without = compiled(folder)
    whole = {
        subject.path: Undisturbed.of(subject, folder / subject.folder)
        for subject in (SLIDE, VOLUME)
    }
    planned = [*_limits(), *_folders(folder)]
    if shim is not None:
        planned += of_calls(shim)
    yield from _rows(planned, folder, whole)
    if shim is None:
        yield Row("faults", "errors of the file system", note=f"not tried: {without}")
    yield _full_tmpfs(folder / "tmpfs", whole[SLIDE.path])
    yield _odd_names(folder / "names", whole[SLIDE.path])


def _rows(planned: list[Fault], folder: Path, whole: Mapping[Path, Undisturbed]) -> Iterator[Row]:
    rows: dict[str, Row] = {}
    for number, fault in enumerate(planned):
        row = rows.setdefault(fault.kind, Row("faults", fault.kind))
        found = tried(fault, folder / f"fault-{number}", whole[fault.subject.path])
        row.add(found and f"{fault.words}: {found}")
    yield from rows.values()


def tried(fault: Fault, folder: Path, whole: Undisturbed) -> str:
    """Return what a fault made of a call and of the one after it; nothing where all went well."""
    out = folder / "out"
    folder.mkdir(parents=True)
    environment = {
        name: value and value.format(out=out, folder=folder)
        for name, value in fault.environment.items()
    }
    words = predict(fault.subject, out, *fault.more)
    ended = Call(words, folder / "under.log", environment, fault.limit).end()
    if ended.fault:
        return ended.fault
    if fault.must_finish and ended.code != 0:
        return f"ended with {ended.code}: {ended.said.strip()[-300:]!r}"
    found = finished(lambda *more: predict(fault.subject, out, *more), folder / "after.log")
    found = found or difference(whole.files, files_of(out / fault.subject.folder))
    if not found:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def compiled(folder: Path) -> tuple[Path | None, str]:
    """Return the library to preload, or None and the reason."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        return None, "it needs Linux and a C compiler"
    made = folder / "fault.so"
    words = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(SOURCE), "-ldl"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        return None, f"fault.c does not compile: {done.stderr[-200:]}"
    return made, ""


def of_calls(shim: Path) -> Iterator[Fault]:
    """Yield what the file system may refuse."""

    def failing(calls: str, number: int, match: str, after: int = 0) -> dict[str, str | None]:
        return {
            "LD_PRELOAD": str(shim),
            "FAULT_CALLS": calls,
            "FAULT_ERRNO": str(number),
            "FAULT_MATCH": match,
            "FAULT_AFTER": str(after),
        }

    for after in FULL_AFTER:
        under = failing("write", errno.ENOSPC, "{out}", after)
        yield Fault("disk full while outputs are written", f"after {after} bytes", SLIDE, under)
    full = failing("write", errno.ENOSPC, "slidecam-")
    yield Fault("TMPDIR full while a volume is unpacked", "ENOSPC", VOLUME, full)
    for number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
        name = errno.errorcode[number]
        for subject in (SLIDE, VOLUME):
            for after in (0, 20_000, 200_000):
                under = failing("read", number, subject.path.name, after)
                words = f"{subject.folder} after {after} bytes"
                yield Fault(f"{name} while a file is read", words, subject, under)
        under = failing("write", number, "{out}", 20_000)
        yield Fault(f"{name} while outputs are written", "after 20000 bytes", SLIDE, under)
    for number in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
        under, name = failing("lock", number, ""), errno.errorcode[number]
        yield Fault("no locks", name, SLIDE, under, must_finish=True)
    hanging = failing("read", 0, SLIDE.path.name, 200_000)
    yield Fault(
        "a read that never returns", "a slide", SLIDE, hanging, more=("--slide-timeout", "5")
    )


def _limited(name: str, value: int) -> Callable[[], None]:
    def limit() -> None:
        # lazy on purpose: Windows has no such module
        import resource  # noqa: PLC0415

        resource.setrlimit(getattr(resource, name), (value, value))

    return limit


def _limits() -> Iterator[Fault]:
    if sys.platform == "win32":
        return
    for count in (32, 64, 128):
        yield Fault("few open files", f"ulimit -n {count}", limit=_limited("RLIMIT_NOFILE", count))
    for size in (1_000, 30_000, 100_000):
        yield Fault(
            "files of a limited size", f"{size} bytes", limit=_limited("RLIMIT_FSIZE", size)
        )
    for size in LIMITED_GB:
        limit = _limited("RLIMIT_AS", size * 2**30)
        yield Fault("a limited address space", f"{size} GB", limit=limit)


def _folders(folder: Path) -> Iterator[Fault]:
    closed = folder / "closed"
    closed.mkdir(exist_ok=True)
    closed.chmod(0o500)
    for words, place in (("missing", "{folder}/none"), ("read-only", str(closed))):
        yield Fault("TMPDIR that is of no use", words, VOLUME, {"TMPDIR": place})
        settings = {"HOME": place, "XDG_CACHE_HOME": None, "MPLCONFIGDIR": None}
        yield Fault("HOME that is of no use", words, SLIDE, settings, must_finish=True)
    yield Fault("HOME that is of no use", "unset", SLIDE, {"HOME": None}, must_finish=True)
    for locale in ("C", "POSIX", "tr_TR.UTF-8", "no_SUCH.ISO-8859-1", ""):
        settings = {"LC_ALL": locale, "LANG": locale, "PYTHONUTF8": "0"}
        yield Fault("locale", locale or "empty", SLIDE, settings, must_finish=True)


def _full_tmpfs(folder: Path, whole: Undisturbed) -> Row:
    """Write to file systems of some sizes that are really full."""
    row = Row("faults", "a tmpfs that is too small")
    if sys.platform != "linux" or shutil.which("unshare") is None:
        row.note = "not tried: it needs Linux"
        return row
    for kilobytes in TMPFS_KB:
        place = folder / str(kilobytes)
        place.mkdir(parents=True)
        mounting = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        if (
            shutil.which("mount") is None
            or subprocess.run(mounting, capture_output=True, check=False).returncode
        ):
            row.note = "not tried: no tmpfs may be mounted here"
            return row
        try:
            out = place / "out"
            ended = Call(predict(SLIDE, out), folder / f"{kilobytes}.log").end()
            found = ended.fault
            if not found and ended.code == 0:
                found = difference(whole.files, files_of(out / SLIDE.folder))
            if not found:
                larger = ["mount", "-o", "remount,size=64m", str(place)]
                subprocess.run(larger, check=True, capture_output=True)
                found = finished(
                    lambda *more, out=out: predict(SLIDE, out, *more), folder / f"{kilobytes}.log"
                ) or difference(whole.files, files_of(out / SLIDE.folder))
            row.add(found and f"{kilobytes} kB: {found}")
        finally:
            subprocess.run([shutil.which("umount") or "umount", str(place)], check=False)
    return row


def _odd_names(folder: Path, whole: Undisturbed) -> Row:
    """Classify a slide that is called oddly, in a folder that is, too."""
    row = Row("faults", "odd names of a slide and its folder")
    for name in NAMES:
        place = folder / name
        try:
            place.mkdir(parents=True)
            slide = place / f"{name}.tif"
            shutil.copy(SLIDE.path, slide)
        except OSError:  # the file system takes no such name
            continue
        subject = replace(SLIDE, path=slide)
        ended = Call(predict(subject, folder / "out"), folder / "odd.log").end()
        found = ended.fault
        if not found and ended.code != 0:
            found = f"ended with {ended.code}: {ended.said.strip()[-200:]!r}"
        if not found:
            runs = [each for each in (folder / "out").iterdir() if (each / "run.json").is_file()]
            stores = {path: files_of(path / "run.zarr").keys() for path in runs}
            expected = {
                each.removeprefix("run.zarr/")
                for each in whole.files
                if each.startswith("run.zarr/")
            }
            if not any(expected == found_files for found_files in stores.values()):
                found = "its store is not whole"
        row.add(found and f"{name!r}: {found}")
        shutil.rmtree(folder / "out", ignore_errors=True)
    return row
