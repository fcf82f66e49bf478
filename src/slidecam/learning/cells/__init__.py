"""Cells on a graph of look-alikes: the leukaemia study, its baselines and its report."""
