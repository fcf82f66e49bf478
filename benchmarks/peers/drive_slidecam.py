"""slidecam: every output and heatmap written, or predictions alone, as the job says."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from job import Job, Stopwatch, report

from slidecam.events import Finished
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec

LATER = (
    "openvino",
    "timm",
    "slidecam.inference",
    "slidecam.streaming",
    "slidecam.prediction.outputs",
    "slidecam.prediction.preparation",
)
"""What slidecam imports when it is needed, so that its help answers at once; peers import first."""


def main() -> None:
    """Classify the job's tiles."""
    job, watch = Job.of_call(), Stopwatch()
    for name in LATER:
        import_module(name)
    torch.set_num_threads(job.threads)
    spec = PredictSpec(mask=Path(job.mask), batch=job.batch, **job.settings)  # type: ignore[arg-type]
    with watch.running():
        for event in predict(job.slide, Path(job.model) / "bundle", job.out, spec):
            if isinstance(event, Finished) and event.exit_code:
                raise SystemExit(f"slidecam ended with {event.exit_code}")
    (table,) = Path(job.out).glob("*/tiles.csv")
    rows = pd.read_csv(table)
    report(
        job,
        watch.seconds,
        version("slidecam"),
        rows[["minx", "miny"]],
        rows.filter(like="prob_"),
    )


if __name__ == "__main__":
    main()
