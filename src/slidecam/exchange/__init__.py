"""What other programs and people read: tables, GeoJSON, OME-Zarr, pictures and reports.

Each module writes one kind of file from plain data and loads no model. Every file appears whole or
not at all.
"""
