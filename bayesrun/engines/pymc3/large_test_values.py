"""Theano's test values of long vectors, without their memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LARGE = 10_000
"""Numbers above which a test value is not kept."""


@contextmanager
def one_for_all() -> Iterator[None]:
    """Keep one number in the place of each large test value that is computed in here, with the shape of all.

    PyMC3 computes a test value of every step of a likelihood, of which only shapes and types are used, and keeps them
    as long as the model: for a million rows almost twice the data. Only for steps that go element by element: those of
    linear algebra may not take equal numbers.
    """
    from theano.graph import op

    compute = op.compute_test_value

    def compute_and_reduce(node: Any) -> None:
        compute(node)
        for output in node.outputs:
            _reduce(output)

    op.compute_test_value = compute_and_reduce
    try:
        yield
    finally:
        op.compute_test_value = compute


def _reduce(variable: Any) -> None:
    import numpy as np

    value = getattr(variable.tag, "test_value", None)
    if isinstance(value, np.ndarray) and value.size > _LARGE:
        variable.tag.test_value = np.broadcast_to(value.flat[0], value.shape)
