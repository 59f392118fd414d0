"""Figures of a saved posterior, by subject; `base` defines what a figure is."""
