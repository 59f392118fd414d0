"""Functions with which `arbitrary_deterministic` may compute a variable: one file per function."""
