"""Compile functions in C also while graphs are made without it (`graphs_in_python`).

PyMC3 makes graphs and functions together, for example in `pm.sample`: `theano.function` switches the compiler back on
for itself, and test values off.

Versions: Theano-PyMC 1.1.2, PyMC3 3.11.6.
Buys: see `graphs_in_python`, which builds models only where this one is off.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import theano

from bayesrun.engines.pymc3.patches.base import Patch, Undo


def _apply() -> Undo:
    original, config = theano.function, theano.config
    in_c = {"cxx": config.cxx, "optimizer": config.optimizer, "compute_test_value": "off"}

    @wraps(original)
    def function(*args: Any, **settings: Any) -> Any:
        with config.change_flags(**in_c):
            # Theano's default mode is that of `graphs_in_python`
            mode = settings.pop("mode", None) or theano.Mode(config.linker, config.optimizer)
            return original(*args, mode=mode, **settings)

    theano.function = function

    def undo() -> None:
        theano.function = original

    return undo


PATCH = Patch(_apply, "compile")
