"""LazySlide: its tile prediction on tiles that are given, in its store."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import lazyslide
import numpy as np
import timm
import torch
from job import Job, Stopwatch, report
from torchvision.transforms import v2
from wsidata import TileSpec, open_wsi
from wsidata.io import add_tiles


class Network(torch.nn.Module):
    """A timm network with softmax and the bundle's normalisation."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.network = timm.create_model(job.architecture, num_classes=job.classes)
        self.network.load_state_dict(torch.load(Path(job.model) / "weights.pt"))
        self.eval()

    @staticmethod
    def get_transform() -> v2.Compose:
        """Return what makes a tile the network's input."""
        half = [0.5] * 3
        steps = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(half, half)]
        return v2.Compose(steps)

    def predict(self, tiles: torch.Tensor) -> dict[str, np.ndarray]:
        """Return probabilities, a column a class."""
        rows = torch.softmax(self.network(tiles), 1).numpy()
        return {f"class{number}": rows[:, number] for number in range(rows.shape[1])}


def main() -> None:
    """Classify the job's tiles."""
    job, watch = Job.of_call(), Stopwatch()
    torch.set_num_threads(job.threads)
    network = Network(job)
    edge = job.tile_px
    with watch.running():
        slide = open_wsi(job.slide, store=str(Path(job.out) / "slide.zarr"))
        spec = TileSpec(height=edge, width=edge, stride_height=edge, stride_width=edge)
        add_tiles(slide, "tiles", job.corners, spec, np.zeros(len(job.corners), int))
        lazyslide.tl.tile_prediction(
            slide,
            network,
            batch_size=job.batch,
            num_workers=int(job.settings["workers"]),
            device="cpu",
            pbar=False,
        )
        slide.write()
    table = slide.shapes["tiles"]
    report(job, watch.seconds, version("lazyslide"), table[["x", "y"]], table.filter(like="class"))


if __name__ == "__main__":
    main()
