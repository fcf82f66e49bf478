"""Predictions on slides against annotations."""
