"""The command line: parses, calls the pipeline, draws progress; no logic of its own."""

from slidecam.cli import evaluating, explaining, exporting, runs, serving, teaching, training
from slidecam.cli.app import main

__all__ = [
    "evaluating",
    "explaining",
    "exporting",
    "main",
    "runs",
    "serving",
    "teaching",
    "training",
]
