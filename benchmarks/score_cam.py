"""What exact Score-CAM costs, in time and memory, and how near the clustered mode comes.

Exact Score-CAM of every class of a tile, by --backend and --precision as `slidecam explain` takes
them, against pytorch-grad-cam's of one class on the plain network in fp32, in turn. The peer's cost
is the same for every channel: it is timed on its first --peer-channels and told for all. Memory is
watched from a thread every 20 ms; its growth is over what the process held before the tile, when
the network had run once. Seconds are the clock's and, in brackets, the processor's; the ratio is of
the processor's, which what else the machine does hardly touches. Clustered maps are held against
exact ones tile by tile.

    python benchmarks/score_cam.py [--bundle DIR --pictures DIR] [--tiles 1] [--threads N]
    [--peer-channels N] [--backend openvino] [--precision bf16]

Without --bundle, a ResNet-50 of random weights sees noise: what it shows is nonsense, what it costs
is not. 2,048 channels are 2,048 passes: minutes on a CPU. The peer is told ResNet's last layer;
other networks, --peer-channels 0.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import psutil
import torch
from material import write_bundle
from PIL import Image
from pytorch_grad_cam import ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from slidecam.explain.catalogue import method_for
from slidecam.models import open_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from slidecam.models import Bundle, Classifier


class PeakMemory:
    """The most resident memory while the context is open, less that at its opening, in MB."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._before = self._peak = 0

    def __enter__(self) -> Self:
        self._before = self._peak = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def growth(self) -> float:
        """In MB."""
        return (self._peak - self._before) / 1e6

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self._peak = max(self._peak, self._process.memory_info().rss)


def tiles_of(bundle: Bundle, pictures: Path | None, count: int) -> Tensor:
    """Return tiles (count, H, W, 3), uint8: noise, or every so many of the pictures in a folder."""
    edge = bundle.card.input_px
    if pictures is None:
        return torch.randint(
            0, 256, (count, edge, edge, 3), generator=torch.Generator().manual_seed(0)
        ).to(torch.uint8)
    files = sorted(
        path for path in pictures.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg"}
    )
    chosen = files[:: max(1, len(files) // count)][:count]
    return torch.stack([_resized(path, edge) for path in chosen])


def _resized(path: Path, edge: int) -> Tensor:
    with Image.open(path) as picture:
        return torch.from_numpy(
            np.array(picture.convert("RGB").resize((edge, edge), Image.Resampling.BILINEAR))
        )


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of the processor, all threads together, and MB of added memory."""

    clock: float
    processor: float
    growth: float

    def times(self, factor: float) -> Cost:
        """Return the cost of so many times the work."""
        return Cost(self.clock * factor, self.processor * factor, self.growth)

    def __str__(self) -> str:
        return f"{self.clock:.1f} s ({self.processor:.1f} s), memory +{self.growth:.0f} MB"


def cost_of(work: Callable[[], object]) -> Cost:
    """Return what some work costs."""
    clock, processor = time.perf_counter(), time.process_time()
    with PeakMemory() as memory:
        work()
    return Cost(time.perf_counter() - clock, time.process_time() - processor, memory.growth)


def of_ours(classifier: Classifier, method: str, tile: Tensor) -> tuple[Tensor, Cost]:
    """Return the maps (K, h, w) of one tile and what they cost."""
    named, found = method_for(method), []
    classes = list(range(len(classifier.card.class_names)))
    with named.make(classifier, named.spec()) as explainer:
        cost = cost_of(lambda: found.append(explainer.explain(tile[None], classes)))
    return found[0].maps[0], cost


class FirstChannels(ScoreCAM):  # type: ignore[misc]  # the library has no types
    """pytorch-grad-cam's Score-CAM that weighs a map's first channels and leaves the others out."""

    def __init__(self, network: nn.Module, layer: nn.Module, channels: int) -> None:
        super().__init__(model=network, target_layers=[layer])
        self.channels, self.all = channels, 0

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module,
        targets: list[ClassifierOutputTarget],
        activations: NDArray[np.float32],
        grads: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        """Weigh the first channels as Score-CAM does, and the others by 0."""
        self.all = activations.shape[1]
        some = activations[:, : self.channels]
        weights = super().get_cam_weights(input_tensor, target_layer, targets, some, grads)
        return np.pad(weights, ((0, 0), (0, self.all - some.shape[1])))


def of_peer(bundle: Bundle, tile: Tensor, channels: int) -> Cost:
    """Return what pytorch-grad-cam's map of one class of a tile costs."""
    network, card = bundle.network().eval(), bundle.card
    mean, std = (torch.tensor(values)[:, None, None] for values in (card.mean, card.std))
    scaled = (tile.permute(2, 0, 1)[None] / 255 - mean) / std
    with FirstChannels(network, network.get_submodule("layer4.2"), channels) as cam:
        cost = cost_of(lambda: cam(input_tensor=scaled, targets=[ClassifierOutputTarget(0)]))
        return cost.times(max(1, cam.all / channels))


def correlations(exact: Tensor, near: Tensor) -> Iterator[float]:
    """Yield the correlation of each class's two maps, where there is anything on them."""
    for one, other in zip(exact, near, strict=True):
        if float(one.std()) > 0 and float(other.std()) > 0:
            yield float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def main() -> None:
    """Print what was seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--tiles", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peer-channels", type=int, default=256, help="0 leaves the peer out")
    parser.add_argument("--backend", default="folded")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        bundle = open_bundle(options.bundle or write_bundle(Path(temporary), "timm/resnet50"))
        classifier = bundle.classifier("cpu", options.precision, options.backend)
        tiles = tiles_of(bundle, options.pictures, options.tiles)
        measure(bundle, classifier, tiles, options.peer_channels)


def measure(bundle: Bundle, classifier: Classifier, tiles: Tensor, channels: int) -> None:
    """Print a row per tile, and then what all tiles say together."""
    classifier.run(tiles[:1], gradients=False)
    found: list[float] = []
    print(
        f"{bundle.card.architecture} by {classifier.backend}, torch {torch.__version__},"
        f" {torch.get_num_threads()} threads"
    )
    for tile in tiles:
        exact, dear = of_ours(classifier, "score-cam", tile)
        near, cheap = of_ours(classifier, "score-cam-clustered", tile)
        found.extend(correlations(exact, near))
        print(f"exact {dear}; clustered {cheap}", flush=True)
        if channels:
            peer = of_peer(bundle, tile, channels)
            print(
                f"  pytorch-grad-cam {peer}; {peer.processor / dear.processor:.2f}x exact,"
                f" {peer.processor / cheap.processor:.1f}x clustered",
                flush=True,
            )
    low, middle, _ = (
        statistics.quantiles(found, n=4) if len(found) > 1 else (found[0], found[0], found[0])
    )
    print(
        f"clustered against exact: median correlation {middle:.4f}, lower quartile {low:.4f},"
        f" {len(found)} maps"
    )


if __name__ == "__main__":
    main()
