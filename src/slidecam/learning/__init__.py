"""Training and measuring classifiers: pictures on disk in, a bundle and honest figures out.

Figures (`metrics`, `intervals`, `calibration`) stand under four rooms: `data`, `recipes` and
`training`, `evaluation`, and `cells` for classifiers on a graph of cells.
"""
