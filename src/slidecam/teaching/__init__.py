"""What a person says of a slide, and a classifier that learns it: annotations, corrections, training, suggestions."""

from slidecam.exchange.annotations import Annotation, read_annotations, write_annotations
from slidecam.teaching.corrections import CORRECTIONS_FILE, Corrections, SavedCorrections, read_corrections
from slidecam.teaching.labelling import LabelledTiles, label_tiles
from slidecam.teaching.painted import PaintedLabels, paint_labels

__all__ = [
    "CORRECTIONS_FILE",
    "Annotation",
    "Corrections",
    "LabelledTiles",
    "PaintedLabels",
    "SavedCorrections",
    "label_tiles",
    "paint_labels",
    "read_annotations",
    "read_corrections",
    "write_annotations",
]
