"""Thresholds over raw heatmap values."""
