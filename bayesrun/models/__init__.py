"""Model builders: one file a model type; `base` says what a builder is."""
