"""The PyMC3 tutorial's arbitrary deterministic: a mod 3 for a > 0, else (1 - a) mod 3."""

from __future__ import annotations

from bayesrun.models.functions.base import Function


def modulo3(value: float) -> float:
    """Return `value` mod 3 when it is positive, `(1 - value)` mod 3 otherwise."""
    return value % 3 if value > 0 else (1 - value) % 3


FUNCTION = Function(modulo3, takes="integer", gives="integer")
