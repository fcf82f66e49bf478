"""The command line: parses, calls the pipeline, draws progress; no logic of its own."""

from slidecam.cli import predicting

# isort: split
# After it, so that help lists first what is called most.
from slidecam.cli import inventory

# isort: split
from slidecam.cli import evaluating, explaining, runs, serving, teaching, training
from slidecam.cli.app import main

__all__ = [
    "evaluating",
    "explaining",
    "inventory",
    "main",
    "predicting",
    "runs",
    "serving",
    "teaching",
    "training",
]
