"""Figures of a saved posterior, one file per figure; `base` defines what a figure is."""
