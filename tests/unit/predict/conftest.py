"""The small models of the samplers' tests."""

from tests.unit.samplers.conftest import line

__all__ = ["line"]
