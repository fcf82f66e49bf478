"""The tables of tiles that tests of several rooms start from."""

from tile_tables import make_table

__all__ = ["make_table"]
