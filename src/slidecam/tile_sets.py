"""Tiles of slides as files to learn from."""
