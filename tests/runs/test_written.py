"""An output is known by its content; a folder by its files' names and sizes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from slidecam.runs.written import OutputMark, output_marks

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_known_by_its_size_and_digest(tmp_path: Path) -> None:
    path = tmp_path / "tiles.csv"
    path.write_bytes(b"minx,miny\n7,13\n")
    mark = OutputMark.of(path)
    assert mark == OutputMark(15, hashlib.sha256(b"minx,miny\n7,13\n").hexdigest())
    assert OutputMark.from_json(mark.to_json()) == mark
    assert mark.is_of(path)
    path.write_bytes(b"minx,miny\n7,31\n")
    assert not mark.is_of(path)
    path.unlink()
    assert not mark.is_of(path)


def test_a_folder_is_known_by_its_files_names_and_sizes(tmp_path: Path) -> None:
    folder = tmp_path / "heatmap.ome.zarr"
    (folder / "0").mkdir(parents=True)
    (folder / ".zattrs").write_bytes(b"{}")
    (folder / "0" / "0.0").write_bytes(bytes(311))
    mark = OutputMark.of(folder)
    assert mark.size == 313
    assert mark.is_of(folder)
    (folder / "0" / "0.0").write_bytes(b"")
    assert not mark.is_of(folder)
    (folder / "0" / "0.0").rename(folder / "0" / "0.1")
    (folder / "0" / "0.1").write_bytes(bytes(311))
    assert not mark.is_of(folder)


def test_what_is_not_there_has_no_mark(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"x")
    assert list(output_marks(tmp_path, ("mask.png", "overview.png"))) == ["mask.png"]
