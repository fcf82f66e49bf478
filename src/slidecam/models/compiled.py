"""Networks as graphs: compiled by torch's inductor, or converted for OpenVINO.

Neither asks the network for anything, and both write into the cache folder alone.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from slidecam.models.splits import Backbone, Precision, arithmetic, laid_out
from slidecam.models.variants import Variant, folded
from slidecam.objects.kept import cache_folder
from slidecam.registry import load

if TYPE_CHECKING:
    from collections.abc import Iterator

INDUCTOR_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""Variable of the environment by which torch is told where compiled code is kept."""

TELEMETRY = "openvino_telemetry"
"""The package by which OpenVINO sends word of its use, and which it does without."""

FORMATS = {"fp32": "f32", "bf16": "bf16"}
"""OpenVINO's names for the formats that it computes in."""

CPU = torch.device("cpu")


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
    if find_spec("openvino") is not None:
        yield replace(eager, words="OpenVINO, head in torch", runner=_Converter(probe))
    yield from _in_torch(eager, probe)


def openvino_here() -> str:
    """Return which OpenVINO is installed, and what this processor computes in it, for `doctor`."""
    core = _loaded("openvino:Core")()
    formats = sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return f"OpenVINO {version('openvino')}; the processor has {', '.join(formats)}"


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
    """Converts modules for OpenVINO, given pixels such as they are run on."""

    probe: Tensor = field(repr=False)

    def __call__(self, front: nn.Module, precision: Precision) -> Backbone:
        """See `graphs.Runner`."""
        core = _loaded("openvino:Core")()
        if precision == "bf16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise ValueError("OpenVINO has no bf16 on this processor")
        settings = {
            "INFERENCE_PRECISION_HINT": FORMATS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # Decoding has threads of its own, and so have other processes.
            "ENABLE_CPU_PINNING": False,
        }
        model = core.compile_model(_converted(front, self.probe), "CPU", settings)
        return _OpenVinoBackbone(model.create_infer_request())


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
