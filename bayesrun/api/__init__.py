"""bayesrun in Python and notebooks: `run`, `load`, `sweep` and `fit`, and what they return (docs/python.md)."""
