"""Data sources: one file a source; `base` says what a source is."""
