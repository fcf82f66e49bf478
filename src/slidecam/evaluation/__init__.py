"""Predictions on slides and heatmaps of volumes, held against what a person drew."""
