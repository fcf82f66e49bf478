"""Every door through which bytes come in from outside: a file to spoil, and who reads it.

A door ends well where it returns, or raises a `SlidecamError`. Readers of native code are asked
where `predict` asks them: in a process of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from reliability import specimens
from reliability.calls import SAMPLE

from slidecam.errors import UsageError
from slidecam.geometry import LevelBox, Size

if TYPE_CHECKING:
    from collections.abc import Callable

READ_AT_MOST = 128
"""Pixels of a side of what is read of a spoiled slide's levels."""

WHOLE = Size(specimens.EDGE, specimens.EDGE)


@dataclass(frozen=True)
class Door:
    """One way in.

    Attributes
    ----------
    name
        Of it.
    file
        What is spoiled, below the door's folder.
    kind
        How: a key of `spoiling.SPOILERS`.
    make
        Writes the sound file, and what must lie about it, into a folder.
    read
        Reads the spoiled one; it is given the folder.
    """

    name: str
    file: str
    kind: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]


def _source(path: Path) -> None:
    # lazy on purpose, here and below: each door loads what it needs and no more
    from slidecam.sources.apart import open_apart  # noqa: PLC0415

    with open_apart(path) as source:
        for level, found in enumerate(source.facts.levels[:4]):
            width, height = found.size.width, found.size.height
            sides = min(width, READ_AT_MOST), min(height, READ_AT_MOST)
            source.read(level, LevelBox(0, 0, *sides))
            source.read(level, LevelBox(width - sides[0], height - sides[1], *sides))
        for name in source.facts.associated:
            source.associated_image(name)
        source.color_profile()


def _picture_door(suffix: str, kind: str = "bits") -> Door:
    name = f"slide{suffix}"
    return Door(
        f"picture {suffix}",
        name,
        kind,
        lambda folder: specimens.picture(folder / name),
        lambda folder: _source(folder / name),
    )


def _source_door(name: str, file: str, kind: str, make: Callable[[Path], None]) -> Door:
    return Door(
        name, file, kind, lambda folder: make(folder / file), lambda folder: _source(folder / file)
    )


def _read_all(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogateescape")


def _text_door(name: str, sound: str, read: Callable[[str], object]) -> Door:
    def make(folder: Path) -> None:
        (folder / "text").write_text(sound, encoding="utf-8")

    return Door(name, "text", "text", make, lambda folder: read(_read_all(folder / "text")))


def _bundle(folder: Path) -> None:
    from slidecam.models import open_bundle  # noqa: PLC0415

    open_bundle(folder / "bundle").network()


def _configured(folder: Path) -> None:
    from slidecam.models import open_bundle  # noqa: PLC0415

    open_bundle(folder / "bundle")


def _weights(folder: Path) -> None:
    from slidecam.models.checkpoints import weights_from_file  # noqa: PLC0415

    weights_from_file(folder / "bundle" / "model.safetensors")


def _shards(folder: Path) -> None:
    from slidecam.models.checkpoints import read_checkpoint  # noqa: PLC0415

    read_checkpoint(folder / "model.safetensors.index.json")


def _make_shards(folder: Path) -> None:
    from safetensors import safe_open  # noqa: PLC0415

    shutil.copy(SAMPLE / "bundle" / "model.safetensors", folder / "one.safetensors")
    with safe_open(folder / "one.safetensors", "np") as file:
        listed = dict.fromkeys(file.keys(), "one.safetensors")
    record = json.dumps({"metadata": {}, "weight_map": listed})
    (folder / "model.safetensors.index.json").write_text(record, encoding="utf-8")


def _checkpoint(folder: Path) -> None:
    from slidecam.models.checkpoints import read_checkpoint  # noqa: PLC0415

    read_checkpoint(folder / "weights.pt", trust=True)


def _make_checkpoint(folder: Path) -> None:
    import torch  # noqa: PLC0415

    state = {"conv.weight": torch.zeros(4, 3, 3, 3), "conv.bias": torch.zeros(4)}
    torch.save({"state_dict": state, "epoch": 3}, folder / "weights.pt")


def _recipe(folder: Path) -> None:
    from slidecam.learning.recipes.recipe import read_recipe  # noqa: PLC0415

    read_recipe(folder / "recipe.toml")


def _make_recipe(folder: Path) -> None:
    from slidecam.learning.recipes.recipe import recipe_text  # noqa: PLC0415

    known = sorted((SAMPLE.parent / "src/slidecam/learning/recipes").rglob("*.toml"))
    known += sorted((SAMPLE.parent / "training").rglob("*.toml"))
    sound = {"model": {"architecture": "timm/resnet18"}, "train": {"epochs": 2}}
    text = recipe_text(sound)
    if known:
        text = known[0].read_text(encoding="utf-8")
    (folder / "recipe.toml").write_text(text, encoding="utf-8")


def _set(text: str) -> None:
    from slidecam.learning.recipes.recipe import read_recipe  # noqa: PLC0415

    read_recipe(_sound_recipe(), text.splitlines())


@cache
def _sound_recipe() -> Path:
    from tempfile import mkdtemp  # noqa: PLC0415

    folder = Path(mkdtemp(prefix="slidecam-door-"))
    _make_recipe(folder)
    return folder / "recipe.toml"


def _run(folder: Path) -> None:
    from slidecam.runs import Run, compare_runs, legend  # noqa: PLC0415

    found = Run.open(folder / "slide")
    legend(found)
    compare_runs(found, found)


def _volume_run(folder: Path) -> None:
    from slidecam.runs import Run  # noqa: PLC0415

    found = Run.open(folder / "brain")
    _ = found.tiles.status, found.slices


def _exported(folder: Path) -> None:
    from slidecam.exchange.tables import write_tiles_csv  # noqa: PLC0415
    from slidecam.runs import Run  # noqa: PLC0415

    write_tiles_csv(Run.open(folder / "slide").tiles, folder / "again.csv")


def _resumed(folder: Path) -> None:
    from slidecam.store.folder import read_attributes, read_run  # noqa: PLC0415

    read_run(folder / "slide")
    read_attributes(folder / "slide")


def _corrections(folder: Path) -> None:
    from slidecam.runs import Run  # noqa: PLC0415
    from slidecam.teaching.corrections import Corrections  # noqa: PLC0415

    run = Run.open(folder / "slide")
    found = Corrections.open(run)
    _ = found.labels, found.counts


def _make_corrections(folder: Path) -> None:
    from slidecam.runs import Run  # noqa: PLC0415
    from slidecam.teaching.corrections import Corrections  # noqa: PLC0415

    specimens.run(folder)
    run = Run.open(folder / "slide")
    corrections = Corrections(run)
    corrections.set([0, 1], run.tiles.class_names[0])


def _pooled(folder: Path) -> None:
    from slidecam.evaluation.pooling import read_known_volumes  # noqa: PLC0415

    with suppress(UsageError):  # the sample's classes do not exclude each other
        read_known_volumes(folder / "volumes.csv")


def _make_pooled(folder: Path) -> None:
    specimens.volume_run(folder)
    specimens.table(folder / "volumes.csv", ("run", "label"), ("brain", "healthy"))


def _manifest(folder: Path) -> None:
    from slidecam.exchange.manifest import read_manifest  # noqa: PLC0415

    read_manifest(folder / "manifest.json")


def _slices(folder: Path) -> None:
    from slidecam.runs.slices import read_slices_csv  # noqa: PLC0415

    read_slices_csv(folder / "brain" / "slices.csv")


def _slice_table(folder: Path) -> None:
    from slidecam.tile_sets.slices import read_slice_table  # noqa: PLC0415

    read_slice_table(folder / "slices.csv")


def _slide_list(folder: Path) -> None:
    from slidecam.sources.slide_list import read_slide_list  # noqa: PLC0415

    read_slide_list(folder / "slides.csv")


def _make_slide_list(folder: Path) -> None:
    for name in ("a", "b"):
        specimens.tiff(folder / f"{name}.tif")
    rows = (("path", "mpp", "group"), ("a.tif", "0.5", "p1"), ("b.tif", "0.25", "p2"))
    specimens.table(folder / "slides.csv", *rows)


def _picture_table(folder: Path) -> None:
    from slidecam.learning.data.picture_files import PictureSpec  # noqa: PLC0415
    from slidecam.learning.data.picture_tables import from_data, tile_set_facts  # noqa: PLC0415

    from_data(folder, PictureSpec())
    tile_set_facts(folder)


def _learned_picture(folder: Path) -> None:
    from slidecam.learning.data.pixels import stored_picture  # noqa: PLC0415

    stored_picture(folder / "slide.png")


def _mask(folder: Path, name: str) -> None:
    from slidecam.foreground import load_foreground  # noqa: PLC0415

    load_foreground(folder / name, WHOLE)


def _classes(folder: Path, name: str = "areas.geojson") -> None:
    from slidecam.foreground.classes import load_classes  # noqa: PLC0415

    load_classes(folder / name, WHOLE)


def _volume_mask(folder: Path) -> None:
    from slidecam.foreground.volumes import load_head  # noqa: PLC0415
    from slidecam.sources import open_source  # noqa: PLC0415
    from slidecam.sources.volume import VolumeSource  # noqa: PLC0415

    with open_source(folder / "head.nii.gz") as source:
        if isinstance(source, VolumeSource):
            load_head(folder / "mask.nii.gz", source)


def _make_volume_mask(folder: Path) -> None:
    specimens.nifti(folder / "head.nii.gz")
    specimens.nifti(folder / "mask.nii.gz")


def _project(folder: Path) -> None:
    from slidecam.sources.qupath import read_project  # noqa: PLC0415

    read_project(folder / "project.qpproj")


def _endpoint(folder: Path) -> None:
    from slidecam.server.serving import read_endpoint  # noqa: PLC0415

    read_endpoint(folder / "endpoint.json")


def _make_endpoint(folder: Path) -> None:
    from slidecam.server.serving import Endpoint, write_endpoint  # noqa: PLC0415

    found = Endpoint("http://127.0.0.1:1", "token", 1, "0", "2026-01-01T00:00:00+00:00")
    write_endpoint(folder / "endpoint.json", found)


def _cluster(folder: Path) -> None:
    from slidecam.cluster.connecting import read_cluster_file  # noqa: PLC0415

    read_cluster_file(folder / "cluster.yaml")


def _make_cluster(folder: Path) -> None:
    text = "cluster: dask_jobqueue.SLURMCluster\narguments:\n  cores: 2\n  memory: 8GB\nscale: 2\n"
    (folder / "cluster.yaml").write_text(text, encoding="utf-8")


def _request(folder: Path) -> None:
    from slidecam.parsing import ParseError, json_in  # noqa: PLC0415
    from slidecam.server.job_requests import read_request  # noqa: PLC0415

    try:
        body = json_in(folder / "body.json")
    except ParseError:  # what is no JSON never comes so far
        return
    read_request(body)


def _make_body(folder: Path) -> None:
    options = {
        "overlap": 0.5,
        "batch": 8,
        "outputs": ["tiles.csv"],
        "mpp": 0.5,
        "mask": None,
        "existing": "overwrite",
    }
    body = {"slides": [str(folder / "small.tif")], "options": options}
    (folder / "body.json").write_text(json.dumps(body), encoding="utf-8")


def _class_names(text: str) -> None:
    from slidecam.class_names import listed_names  # noqa: PLC0415

    listed_names(text)


def _arguments(text: str) -> None:
    from slidecam.cli.output import architecture_arguments  # noqa: PLC0415

    architecture_arguments(tuple(text.splitlines()))


@cache
def _served(home: Path) -> Any:  # noqa: ANN401  (Starlette's client)
    """Return a client of a server in this process."""
    from starlette.testclient import TestClient  # noqa: PLC0415

    from slidecam.server.app import make_app  # noqa: PLC0415
    from slidecam.server.folders import Roots  # noqa: PLC0415
    from slidecam.server.guard import Limits  # noqa: PLC0415
    from slidecam.server.page_links import PageLinks  # noqa: PLC0415
    from slidecam.server.service import Service  # noqa: PLC0415

    limits = Limits(body_bytes=2_000_000, pixels=1_000_000, waiting_jobs=1, open_slides=2)
    roots = Roots.of((home,))
    how = {"device": "cpu", "trust": False}
    service = Service.of(SAMPLE / "bundle", roots, home / "jobs", limits, **how)
    links = PageLinks("http://testserver")
    app = make_app(service, "token", frozenset({"testserver"}), links)
    return TestClient(app, raise_server_exceptions=False, headers={"Authorization": "Bearer token"})


def _answer(found: Any) -> None:  # noqa: ANN401  (httpx's)
    """Refuse an answer that no server may give."""
    if found.status_code >= 500 and found.status_code != 503:  # noqa: PLR2004  (HTTP's)
        raise AssertionError(f"{found.status_code}: {found.text[:200]}")


def _uploaded(folder: Path) -> None:
    content = (folder / "slide.png").read_bytes()
    asked = {"methods": "none"}
    _answer(_served(folder).post("/v1/image", content=content, params=asked))


def _submitted(folder: Path) -> None:
    body = (folder / "body.json").read_bytes()
    headers = {"Content-Type": "application/json"}
    _answer(_served(folder).post("/v1/jobs", content=body, headers=headers))


def _queried(folder: Path) -> None:
    text = _read_all(folder / "text").replace("\0", "%00").replace("\n", "%0A")[:4000]
    # What is no letter of a URL is escaped, as every client does.
    _answer(_served(folder).get("/" + quote(text.lstrip("/"), safe="/?&=%", errors="replace")))


def _make_query(folder: Path) -> None:
    specimens.tiff(folder / "small.tif")
    asked = f"v1/slides/open?path={folder / 'small.tif'}&image=1&axis=axial"
    (folder / "text").write_text(asked, encoding="utf-8")


def _in(function: Callable[[Path], None], name: str) -> Callable[[Path], None]:
    return lambda folder: function(folder / name)


def _zarr_door(version: str, inner: str, kind: str = "json") -> Door:
    def make(folder: Path) -> None:
        specimens.ome_zarr(folder / "slide.zarr", version)

    name = f"OME-Zarr {version} {inner}"
    return Door(name, f"slide.zarr/{inner}", kind, make, _in(_source, "slide.zarr"))


def _zarr_doors() -> list[Door]:
    return [
        _zarr_door("0.4", ".zattrs"),
        _zarr_door("0.4", "0/.zarray"),
        _zarr_door("0.5", "zarr.json"),
        _zarr_door("0.5", "0/zarr.json"),
        _zarr_door("0.5", "0/c/0/0/0", "bits"),
    ]


def _source_doors() -> list[Door]:
    svs = partial(specimens.tiff, compression="jpeg", description=specimens.SVS)
    return [
        _source_door("TIFF", "slide.tif", "tiff", specimens.tiff),
        _source_door(
            "TIFF of LZW", "slide.tif", "tiff", partial(specimens.tiff, compression="lzw")
        ),
        _source_door("TIFF's bytes", "slide.tif", "bits", specimens.tiff),
        _source_door("OME-TIFF", "slide.ome.tif", "bits", specimens.ome_tiff),
        _source_door("SVS", "slide.svs", "tiff", svs),
        _picture_door(".png", "png"),
        _picture_door(".jpg"),
        _picture_door(".gif"),
        _picture_door(".bmp"),
        _picture_door(".webp"),
        _picture_door(".jp2"),
        _source_door("NIfTI", "head.nii", "bits", specimens.nifti),
        _source_door("NIfTI, gzipped", "head.nii.gz", "gzip", specimens.nifti),
        _source_door("MGH", "head.mgh", "bits", specimens.mgh),
        _source_door("NRRD", "head.nrrd", "bits", specimens.nrrd_volume),
        _source_door(
            "NRRD, plain", "head.nrrd", "bits", partial(specimens.nrrd_volume, encoding="raw")
        ),
        Door(
            "DICOM series",
            "series/3.dcm",
            "bits",
            _in(specimens.dicom, "series"),
            lambda folder: _source(folder / "series"),
        ),
        *_zarr_doors(),
    ]


def _model_doors() -> list[Door]:
    return [
        Door("card.json", "bundle/card.json", "json", _in(specimens.bundle, "bundle"), _bundle),
        Door(
            "safetensors",
            "bundle/model.safetensors",
            "safetensors",
            _in(specimens.bundle, "bundle"),
            _weights,
        ),
        Door("list of shards", "model.safetensors.index.json", "json", _make_shards, _shards),
        Door("PyTorch's pickle, trusted", "weights.pt", "bits", _make_checkpoint, _checkpoint),
        Door("config.json of WSInfer", "bundle/config.json", "json",
             _in(specimens.wsinfer, "bundle"), _configured),
        Door("recipe", "recipe.toml", "text", _make_recipe, _recipe),
        _text_door("--set", "train.epochs=2\nmodel.architecture=timm/resnet18\n", _set),
        _text_door("--classes", 'Tumor,"a, b",Stroma', _class_names),
        _text_door("--arch-arg", 'widths=[8, 12]\npad_type=same\nn={"a": 1}\n', _arguments),
    ]  # fmt: skip


def _run_doors() -> list[Door]:
    labelled = (("path", "label", "first", "last"), ("head.nii", "healthy", "0", "3"))
    return [
        Door("run.json", "slide/run.json", "json", specimens.run, _run),
        Door("run.json, exported", "slide/run.json", "json", specimens.run, _exported),
        Door("run.json, resumed", "slide/run.json", "json", specimens.run, _resumed),
        Door("run.json of a volume", "brain/run.json", "json", specimens.volume_run, _volume_run),
        Door("run.zarr", "slide/run.zarr/zarr.json", "json", specimens.run, _run),
        Door("run.zarr, an array", "slide/run.zarr/status/zarr.json", "json", specimens.run, _run),
        Door("run.zarr, a chunk", "slide/run.zarr/status/c.0", "bits", specimens.run, _run),
        Door("corrections.json", "slide/corrections.json", "json", _make_corrections, _corrections),
        Door("manifest.json", "manifest.json", "json", specimens.run, _manifest),
        Door("slices.csv", "brain/slices.csv", "text", specimens.volume_run, _slices),
        Door("table of known volumes", "volumes.csv", "text", _make_pooled, _pooled),
        Door("table of slices", "slices.csv", "text",
             lambda folder: specimens.table(folder / "slices.csv", *labelled), _slice_table),
        Door("table of slides", "slides.csv", "text", _make_slide_list, _slide_list),
        Door("table of pictures", "pictures.csv", "text", specimens.pictures, _picture_table),
    ]  # fmt: skip


def _mask_doors() -> list[Door]:
    return [
        Door("GeoJSON mask", "areas.geojson", "json",
             lambda folder: specimens.geojson(folder / "areas.geojson"),
             partial(_mask, name="areas.geojson")),
        Door("GeoJSON mask, gzipped", "areas.geojson.gz", "gzipped json",
             lambda folder: specimens.geojson(folder / "areas.geojson.gz"),
             partial(_mask, name="areas.geojson.gz")),
        Door("annotations", "areas.geojson", "json",
             lambda folder: specimens.geojson(folder / "areas.geojson"), _classes),
        Door("PNG mask", "mask.png", "png", lambda folder: specimens.mask(folder / "mask.png"),
             partial(_mask, name="mask.png")),
        Door("mask of a volume", "mask.nii.gz", "gzip", _make_volume_mask, _volume_mask),
        Door("QuPath project", "project.qpproj", "json",
             lambda folder: specimens.qupath(folder / "project.qpproj"), _project),
        Door("picture to learn from", "slide.png", "png",
             lambda folder: specimens.picture(folder / "slide.png"), _learned_picture),
    ]  # fmt: skip


def _server_doors() -> list[Door]:
    return [
        Door("endpoint of a server", "endpoint.json", "json", _make_endpoint, _endpoint),
        Door("cluster's YAML", "cluster.yaml", "text", _make_cluster, _cluster),
        Door("server: a job's options", "body.json", "json", _make_body, _request),
        Door("server: POST /v1/jobs", "body.json", "json", _make_body, _submitted),
        Door("server: POST /v1/image", "slide.png", "png",
             lambda folder: specimens.picture(folder / "slide.png"), _uploaded),
        Door("server: GET", "text", "text", _make_query, _queried),
    ]  # fmt: skip


DOORS = {
    door.name: door
    for door in (
        *_source_doors(),
        *_model_doors(),
        *_run_doors(),
        *_mask_doors(),
        *_server_doors(),
    )
}
"""By name, in the order of the table."""


def _raises(_folder: Path) -> None:
    raise ZeroDivisionError("a control")


def _hangs(_folder: Path) -> None:
    time.sleep(3600)


def _control(name: str, read: Callable[[Path], object]) -> Door:
    def read_spoiled(folder: Path) -> None:
        if (folder / "text").read_bytes() != b"sound":
            read(folder)

    def make(folder: Path) -> None:
        (folder / "text").write_bytes(b"sound")

    return Door(name, "text", "bits", make, read_spoiled)


CONTROLS = {
    door.name: door
    for door in (
        _control("control: raises", _raises),
        _control("control: ends", lambda _folder: os.abort()),
        _control("control: hangs", _hangs),
        _control("control: fills the memory", lambda _folder: bytearray(2**40)),
    )
}
"""Doors that fail on purpose: that each is lost shows that a loss would be seen."""
