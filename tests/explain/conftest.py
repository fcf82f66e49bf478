"""The small networks and tiles that tests of explanations share with those of faithfulness."""

from small_networks import as_theirs, hooked, sample_tiles, small

__all__ = ["as_theirs", "hooked", "sample_tiles", "small"]
