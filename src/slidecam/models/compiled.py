"""Networks as graphs: compiled by torch's inductor, or converted for OpenVINO.

Neither asks the network for anything, and both write into the cache folder alone. A conversion is
kept there, beside the trials of `slidecam.models.trial`: tracing and converting take seconds, and
reading takes none. What is kept is compared with the plain network like what was just made (see
`slidecam.models.choice`): nothing that was found before is taken on trust.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from slidecam.extras import is_installed
from slidecam.files import replacing
from slidecam.models.splits import Backbone, Precision, arithmetic, laid_out
from slidecam.models.trial import machine_here
from slidecam.models.variants import Variant, folded
from slidecam.objects.kept import cache_folder
from slidecam.registry import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

INDUCTOR_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""Variable of the environment by which torch is told where compiled code is kept."""

TELEMETRY = "openvino_telemetry"
"""The package by which OpenVINO sends word of its use, and which it does without."""

FORMATS = {"fp32": "f32", "bf16": "bf16"}
"""OpenVINO's names for the formats that it computes in."""

CPU = torch.device("cpu")

CAPABILITIES = "OPTIMIZATION_CAPABILITIES"
"""OpenVINO's name for what a processor computes in."""

KEPT_GB = 4.0
"""Of conversions that are kept; beyond, those used longest ago are let go of."""

_KEPT, _HEAD = "graph-", b"slidecam graph 1\n"
"""How the files of conversions are called, and how they begin."""

_GIGABYTE = 1e9

_UNLIKE = "it does not agree with the network"


def compiled(eager: Variant, probe: Tensor) -> Iterator[Variant]:
    """Yield the network compiled by torch's inductor, then what runs it without."""
    os.environ.setdefault(INDUCTOR_FOLDER, str(cache_folder("networks") / "inductor"))
    first, *others = _in_torch(eager, probe)
    words = f"torch, compiled ({first.words.removeprefix('torch, ')})"
    yield replace(first, words=words, runner=_Compiler(first.channels_last))
    yield from (first, *others)


def openvino(eager: Variant, probe: Tensor) -> Iterator[Variant]:
    """Yield the network converted for OpenVINO, then what runs it in torch.

    OpenVINO folds batch norms itself.
    """
    if is_installed("openvino"):
        converter = _Converter(probe)
        words, remarks = "OpenVINO, head in torch", converter.remarks
        yield replace(eager, words=words, runner=converter, remarks=remarks)
        if converter.read:
            remarks.append(_of_no_use(_UNLIKE, converter.read[0]))
            yield replace(eager, words=words, runner=replace(converter, anew=True), remarks=remarks)
    yield from _in_torch(eager, probe)


def openvino_here() -> str:
    """Return which OpenVINO is installed, and what this processor computes in it, for `doctor`.

    And how many conversions are kept.
    """
    core = _loaded("openvino:Core")()
    formats = sorted(core.get_property("CPU", CAPABILITIES))
    kept = _kept_graphs()
    size = sum(size for _used, size, _path in kept) / _GIGABYTE
    found = f"OpenVINO {version('openvino')}; the processor has {', '.join(formats)}"
    return f"{found}; {len(kept)} converted networks kept, {size:.1f} of {KEPT_GB:g} GB"


def _loaded(address: str) -> Any:  # noqa: ANN401  (OpenVINO's own)
    """Return what lies at an address in OpenVINO, imported without its telemetry.

    Its import alone would send word to its makers and write into the home folder. It does neither
    where the package for that cannot be imported; a program that has imported it has decided.
    """
    if TELEMETRY in sys.modules:
        return load(address)
    absent: Any = None  # makes an import fail
    sys.modules[TELEMETRY] = absent
    try:
        return load(address)
    finally:
        del sys.modules[TELEMETRY]


def _in_torch(eager: Variant, probe: Tensor) -> list[Variant]:
    return [*chain(folded(eager, probe), [eager])]


@dataclass(frozen=True)
class _CompiledBackbone:
    """A `Backbone` that torch has compiled.

    Attributes
    ----------
    front
        What `torch.compile` returned.
    channels_last, precision
        As in `TorchBackbone`.
    """

    front: Any
    channels_last: bool
    precision: Precision

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the activation; see `Backbone`."""
        with torch.no_grad(), arithmetic(pixels.device, self.precision):
            given = laid_out(pixels, channels_last=self.channels_last)
            activation: Tensor = self.front(given)
        return activation


@dataclass(frozen=True)
class _Compiler:
    """Compiles modules, whose pixels lie channels last or not."""

    channels_last: bool

    def __call__(self, front: nn.Module, precision: Precision) -> Backbone:
        """See `graphs.Runner`. Its code is made at the first batch, and kept on disk."""
        # Batches are of any size: the last of a slide is smaller than the others.
        made = torch.compile(front, dynamic=True)
        return _CompiledBackbone(made, self.channels_last, precision)


@dataclass(frozen=True)
class _OpenVinoBackbone:
    """A `Backbone` in OpenVINO, which one thread uses after the other."""

    request: Any
    _alone: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the activation; see `Backbone`."""
        given = pixels.detach().contiguous().numpy()
        with self._alone:
            found = self.request.infer({0: given}, share_inputs=True, share_outputs=False)
            return torch.from_numpy(found[0])


@dataclass(frozen=True)
class _Converter:
    """Converts modules for OpenVINO, given pixels such as they are run on.

    Attributes
    ----------
    probe
        The pixels, (B, C, H, W).
    anew
        Whether nothing that is kept is read.
    remarks, read
        Take a sentence on a conversion that was kept and is of no use, and the files of those that
        were read.
    """

    probe: Tensor = field(repr=False)
    anew: bool = False
    remarks: list[str] = field(default_factory=list)
    read: list[Path] = field(default_factory=list)

    def __call__(self, front: nn.Module, precision: Precision) -> Backbone:
        """See `graphs.Runner`."""
        core = _loaded("openvino:Core")()
        capabilities = sorted(core.get_property("CPU", CAPABILITIES))
        if precision == "bf16" and "BF16" not in capabilities:
            raise ValueError("OpenVINO has no bf16 on this processor")
        settings = {
            "INFERENCE_PRECISION_HINT": FORMATS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # Decoding has threads of its own, and so have other processes.
            "ENABLE_CPU_PINNING": False,
        }
        kept = KeptGraph.of(
            {
                "network": repr(front),
                "weights": _digest_of(front),
                "input": list(self.probe.shape[1:]),
                "settings": settings,
                "machine": [machine_here(), *capabilities],
                "versions": [version(each) for each in ("openvino", "slidecam", "torch", "timm")],
            }
        )
        return _OpenVinoBackbone(self._compiled(core, front, settings, kept).create_infer_request())

    def _compiled(
        self,
        core: Any,  # noqa: ANN401  (OpenVINO's own)
        front: nn.Module,
        settings: Mapping[str, Any],
        kept: KeptGraph,
    ) -> Any:  # noqa: ANN401  (OpenVINO's own)
        """Return OpenVINO's compiled model, as it is kept or made now."""
        try:
            graph = None if self.anew else kept.read()
            if graph is not None:
                found = core.import_model(graph, "CPU", settings)
                self.read.append(kept.path)
                return found
        # A RuntimeError is OpenVINO's, of what another one wrote.
        except (OSError, ValueError, RuntimeError) as error:
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.remarks.append(_of_no_use(line.rstrip("."), kept.path))
        made = core.compile_model(_converted(front, self.probe), "CPU", settings)
        with suppress(OSError):  # a folder that nobody may write to: converted anew next time
            kept.write(made.export_model().getvalue())
        return made


def _of_no_use(cause: str, path: Path) -> str:
    return (
        f"The conversion for OpenVINO that was kept is of no use ({cause}), and the network was"
        f" converted anew: {path}."
    )


def _digest_of(front: nn.Module) -> str:
    """Return SHA-256 over the parameters and buffers of a module, with their names and types."""
    digest = sha256()
    for name, tensor in chain(front.named_parameters(), front.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        digest.update(values.numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class KeptGraph:
    """A converted network on disk, from one process to the next.

    Any number of processes may read and write it at once: it appears whole, under a name that says
    what it is of.

    Attributes
    ----------
    path
        The file; it need not be there.
    head
        The bytes before the graph: what it is of, by a digest.
    """

    path: Path
    head: bytes = field(repr=False)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> KeptGraph:
        """Return the one of a network; plain JSON values say which it is, and what reads it."""
        digest = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        path = cache_folder("networks") / f"{_KEPT}{digest[:32]}"
        return cls(path, _HEAD + f"{digest}\n".encode())

    def read(self) -> bytes | None:
        """Return the graph, or None where none is kept.

        Raises
        ------
        ValueError
            If the file is none of ours, or is damaged.
        OSError
            If it cannot be read.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        if not content.startswith(self.head):
            raise ValueError("it is no such file; remove it")
        start = len(self.head) + len(sha256().digest())
        graph = content[start:]
        if sha256(graph).digest() != content[len(self.head) : start]:
            raise ValueError("it is damaged")
        with suppress(OSError):  # whose folder is not ours to write in
            os.utime(self.path)
        return graph

    def write(self, graph: bytes) -> None:
        """Keep a graph, in place of a damaged one; OSError if that cannot be.

        What lies there and was never ours is left as it is; what is too large is not kept.
        """
        if len(graph) > KEPT_GB * _GIGABYTE or (self.path.exists() and not _is_ours(self.path)):
            return
        _make_room(len(graph))
        with replacing(self.path) as fresh, fresh.open("wb") as file:
            file.write(self.head)
            file.write(sha256(graph).digest())
            file.write(graph)


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_HEAD)) == _HEAD
    except OSError:  # a folder, or removed just now
        return False


def _kept_graphs() -> list[tuple[float, int, Path]]:
    """Return when each conversion that is kept was used, its bytes and its file, oldest first.

    Among them what a process that was ended left unfinished.
    """
    found: list[tuple[float, int, Path]] = []
    folder = cache_folder("networks")
    for path in chain(filter(_is_ours, folder.glob(f"{_KEPT}*")), folder.glob(f".{_KEPT}*")):
        with suppress(OSError):  # removed by another process meanwhile
            stat = path.stat()
            found.append((stat.st_mtime, stat.st_size, path))
    return sorted(found)


def _make_room(size: int) -> None:
    """Let conversions go that were used longest ago, until there is room for some bytes."""
    kept = _kept_graphs()
    left = KEPT_GB * _GIGABYTE - size - sum(each for _used, each, _path in kept)
    for _used, each, path in kept:
        if left >= 0:
            return
        with suppress(OSError):  # in use, where files in use cannot be removed
            path.unlink()
            left += each


def _converted(front: nn.Module, probe: Tensor) -> Any:  # noqa: ANN401  (OpenVINO's own)
    """Return OpenVINO's model of a module, of any number of tiles.

    Its front end is called by itself: ``openvino.convert_model`` sends word of each conversion.
    """
    with warnings.catch_warnings(), torch.no_grad(), arithmetic(CPU, "fp32"):
        # What a trace takes for a constant is found by another number of tiles: see `choice`.
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace  # torch has no types for it
        traced = trace(front, probe.contiguous(), check_trace=False)
        decoder = _loaded("openvino.frontend.pytorch.ts_decoder:TorchScriptPythonDecoder")(traced)
        reader = _loaded("openvino.frontend:FrontEndManager")().load_by_framework("pytorch")
        model = reader.convert(reader.load(decoder))
    model.reshape([-1, *probe.shape[1:]])
    return model
