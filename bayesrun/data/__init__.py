"""Data sources, one file per source; `base` defines what a source is."""
