"""Functions that `arbitrary_deterministic` may compute a variable with: one file a function."""
