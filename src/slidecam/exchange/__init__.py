"""What other programs read: tables, GeoJSON, OME-Zarr, NIfTI.

Each module writes one kind of file from plain data and loads no model. Every file appears whole or
not at all.
"""
