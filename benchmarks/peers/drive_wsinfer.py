"""WSInfer: its own dataset, loader, TorchScript and CSV, on tiles that are given."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from job import Job, Stopwatch, report
from wsinfer.modellib.models import LocalModelTorchScript
from wsinfer.modellib.run_inference import run_inference
from wsinfer.patchlib import save_hdf5
from wsinfer_zoo.client import ModelConfiguration


def main() -> None:
    """Classify the job's tiles."""
    job, watch = Job.of_call(), Stopwatch()
    torch.set_num_threads(job.threads)
    out, folder = Path(job.out), Path(job.model)
    slides = out / "slides"
    slides.mkdir(parents=True)
    (slides / Path(job.slide).name).symlink_to(job.slide)
    (out / "patches").mkdir()
    save_hdf5(
        out / "patches" / f"{Path(job.slide).stem}.h5",
        job.corners,
        patch_size=job.tile_px,
        patch_spacing_um_px=0.5,
        compression="gzip",
    )
    config = ModelConfiguration.from_dict(json.loads((folder / "config.json").read_text("utf-8")))
    model = LocalModelTorchScript(config=config, model_path=str(folder / "torchscript_model.pt"))
    with watch.running():
        workers = int(job.settings["workers"])
        run_inference(slides, out, model, batch_size=job.batch, num_workers=workers)
    rows = pd.read_csv(out / "model-outputs-csv" / f"{Path(job.slide).stem}.csv")
    report(
        job, watch.seconds, version("wsinfer"), rows[["minx", "miny"]], rows.filter(like="prob_")
    )
    shutil.rmtree(slides)


if __name__ == "__main__":
    main()
