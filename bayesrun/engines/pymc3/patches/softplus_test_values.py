"""Let NumPy compute test values of softplus: Theano's own Python goes number by number.

Models of a million rows with a logit link wait for it.

Versions: Theano-PyMC 1.1.2.
Buys: 0.4 s per logit link over 300,000 rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import theano.tensor as tt

from bayesrun.engines.pymc3.patches.base import Patch, Undo


def _softplus(x: Any) -> Any:
    return np.logaddexp(0.0, x)


_softplus.nout = 1  # type: ignore[attr-defined]  # what Theano asks of NumPy's functions


def _apply() -> Undo:
    operation = tt.nnet.softplus
    had, original = "ufunc" in vars(operation), getattr(operation, "ufunc", None)
    operation.ufunc = _softplus

    def undo() -> None:
        if had:
            operation.ufunc = original
        else:
            del operation.ufunc

    return undo


PATCH = Patch(_apply, "process")
