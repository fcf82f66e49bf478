"""What a person says of a slide, and a classifier that learns it.

Annotations, corrections, training, suggestions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.exchange.geojson import Annotation, read_annotations, write_annotations
from slidecam.registry import looked_up

if TYPE_CHECKING:
    from slidecam.exchange.geojson import Annotation, read_annotations, write_annotations
    from slidecam.teaching.corrections import (
        CORRECTIONS_FILE,
        Corrections,
        SavedCorrections,
        read_corrections,
    )
    from slidecam.teaching.fine_tuning import FineTuned, fine_tune
    from slidecam.teaching.labelling import (
        ExportSpec,
        LabelledTiles,
        export_training,
        label_tiles,
    )
    from slidecam.teaching.painted import PaintedLabels, paint_labels
    from slidecam.teaching.suggestions import Suggestion, SuggestionSpec, suggest
    from slidecam.teaching.tuning_task import FineTuneSpec, TaughtRun

__getattr__ = looked_up(
    __name__,
    {
        "CORRECTIONS_FILE": "corrections",
        "Corrections": "corrections",
        "ExportSpec": "labelling",
        "FineTuneSpec": "tuning_task",
        "FineTuned": "fine_tuning",
        "LabelledTiles": "labelling",
        "PaintedLabels": "painted",
        "SavedCorrections": "corrections",
        "Suggestion": "suggestions",
        "TaughtRun": "tuning_task",
        "SuggestionSpec": "suggestions",
        "export_training": "labelling",
        "fine_tune": "fine_tuning",
        "label_tiles": "labelling",
        "paint_labels": "painted",
        "read_corrections": "corrections",
        "suggest": "suggestions",
    },
)

__all__ = [
    "CORRECTIONS_FILE",
    "Annotation",
    "Corrections",
    "ExportSpec",
    "FineTuneSpec",
    "FineTuned",
    "LabelledTiles",
    "PaintedLabels",
    "SavedCorrections",
    "Suggestion",
    "SuggestionSpec",
    "TaughtRun",
    "export_training",
    "fine_tune",
    "label_tiles",
    "paint_labels",
    "read_annotations",
    "read_corrections",
    "suggest",
    "write_annotations",
]
