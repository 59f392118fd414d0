"""Pictures of a saved posterior: one file a figure; `base` says what a figure is."""
