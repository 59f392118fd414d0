"""Keep test values of long vectors without their memory: one number with the shape of the whole vector.

PyMC3 computes a test value of every step of a likelihood, of which only shapes and types are used, and keeps them as
long as the model: for a million rows almost twice the data. Only applied to steps that go element by element: those of
linear algebra may not take equal numbers.

Versions: Theano-PyMC 1.1.2.
Buys: no time: memory of almost twice the data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from theano.graph import op

from bayesrun.engines.pymc3.patches.base import Patch, Undo

LARGE = 10_000
"""Numbers above which a test value is not kept."""


def _apply() -> Undo:
    compute = op.compute_test_value

    def compute_and_reduce(node: Any) -> None:
        compute(node)
        for output in node.outputs:
            _reduce(output)

    op.compute_test_value = compute_and_reduce

    def undo() -> None:
        op.compute_test_value = compute

    return undo


def _reduce(variable: Any) -> None:
    value = getattr(variable.tag, "test_value", None)
    if isinstance(value, np.ndarray) and value.size > LARGE:
        variable.tag.test_value = np.broadcast_to(value.flat[0], value.shape)


PATCH = Patch(_apply, "compile")
