"""TIAToolbox: its patch predictor on a slide within a mask, results as its Zarr."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tiatoolbox
import timm
import torch
import zarr
from job import Job, Stopwatch, report
from tiatoolbox.models.engine.io_config import IOPatchPredictorConfig
from tiatoolbox.models.engine.patch_predictor import PatchPredictor
from tiatoolbox.models.models_abc import ModelABC


class Network(ModelABC):  # type: ignore[misc]  # its package has no types
    """A timm network with softmax and the bundle's normalisation."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.network = timm.create_model(job.architecture, num_classes=job.classes)
        self.network.load_state_dict(torch.load(Path(job.model) / "weights.pt"))

    @staticmethod
    def preproc(image: np.ndarray) -> torch.Tensor:
        """Return a tile on -1 to 1, (3, height, width)."""
        scaled = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
        return (scaled - 0.5) / 0.5

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return probabilities, (tiles, classes)."""
        return torch.softmax(self.network(tiles), 1)

    @staticmethod
    def infer_batch(model: torch.nn.Module, batch_data: torch.Tensor, device: str) -> np.ndarray:
        """Return probabilities of a batch."""
        model.eval()
        with torch.inference_mode():
            return np.asarray(model(batch_data.to(device)).cpu())

    @staticmethod
    def postproc(image: np.ndarray) -> np.ndarray:
        """Return each tile's likeliest class."""
        return np.asarray(np.argmax(image, axis=-1))


def main() -> None:
    """Classify the job's tiles."""
    job, watch = Job.of_call(), Stopwatch()
    torch.set_num_threads(job.threads)
    config = IOPatchPredictorConfig(
        patch_input_shape=(job.tile_px, job.tile_px),
        stride_shape=(job.tile_px, job.tile_px),
        input_resolutions=[{"units": "baseline", "resolution": 1.0}],
    )
    out = Path(job.out) / "results"
    network = Network(job)
    with watch.running():
        predictor = PatchPredictor(
            network, batch_size=job.batch, num_workers=int(job.settings["workers"]), verbose=False
        )
        written = predictor.run(
            images=[Path(job.slide)],
            masks=[Path(job.mask)],
            ioconfig=config,
            patch_mode=False,
            save_dir=out,
            output_type="zarr",
            return_probabilities=True,
        )
    group = zarr.open_group(str(written[Path(job.slide)]), mode="r")
    corners = np.asarray(group["coordinates"])[:, :2]
    report(job, watch.seconds, tiatoolbox.__version__, corners, np.asarray(group["probabilities"]))


if __name__ == "__main__":
    main()
