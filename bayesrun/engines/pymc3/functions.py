"""Theano functions, compiled as one C module where that is possible and correct.

One module (`patches.one_module`) is quicker to compile and to call than one for each operation. An operation without
C code can't be part of it: then Theano's usual linker is taken. A function that was made as one module is compared
with Theano's Python implementation before it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray
from theano.compile.mode import Mode
from theano.graph.basic import Constant, ancestors, graph_inputs
from theano.graph.op import COp

from bayesrun.engines.pymc3.function_cache import compiled
from bayesrun.engines.pymc3.patches.base import applied, is_chosen
from bayesrun.engines.pymc3.patches.one_module import is_product, one_module_mode
from bayesrun.engines.pymc3.theano_setup import compiler, compiling

Point = Sequence[NDArray[Any]]

log = logging.getLogger("bayesrun.theano")

_LARGE = 100_000
"""Elements of a constant from which on temporaries are freed after use, as the usual linker does."""
_TOLERANCE = 1e-8


def compile_function(inputs: Sequence[Any], outputs: Sequence[Any], points: Sequence[Point]) -> Any:
    """Compile a function.

    Parameters
    ----------
    inputs
        Theano variables; arrays.
    outputs
        Theano variables.
    points
        Values of the inputs at which one module's results are compared with Python's.

    Returns
    -------
    theano.Function
        Takes its inputs without checks (`trust_input`).
    """
    return compiled(inputs, outputs, partial(_make, points=points))


def _make(inputs: Sequence[Any], outputs: Sequence[Any], points: Sequence[Point]) -> Any:
    whole = is_chosen("one_module") and compiler() and _all_in_c(outputs) and not _large(outputs)
    function = _one_module(inputs, outputs, points) if whole else None
    if function is None:
        function = _compile(inputs, outputs)
    function.trust_input = True
    return function


def _one_module(inputs: Sequence[Any], outputs: Sequence[Any], points: Sequence[Point]) -> Any:
    """Return the function as one module, or None when that is impossible or does not agree with Python."""
    try:
        with applied("one_module"):
            function = _compile(inputs, outputs, one_module_mode())
            expected = _compile(inputs, outputs, Mode(linker="py", optimizer=None))
            if all(_agree(function(*point), expected(*point)) for point in points):
                return function
        log.warning("one C module for the whole graph gives different results from Python: compiled by operation")
    except NotImplementedError as reason:
        log.debug("compiled by operation: %s", reason)
    except Exception as reason:  # Theano's linker may fail in many ways, and there is another
        log.debug("compiled by operation: %s: %s", type(reason).__name__, reason)
    return None


def _compile(inputs: Sequence[Any], outputs: Sequence[Any], mode: Mode | None = None) -> Any:
    with compiling():
        return theano.function(list(inputs), list(outputs), mode=mode, on_unused_input="ignore")


def _agree(ours: Sequence[Any], expected: Sequence[Any]) -> bool:
    return all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
        for a, b in zip(ours, expected, strict=True)
    )


def _all_in_c(outputs: Sequence[Any]) -> bool:
    """Return whether every operation may have C code, so that no graph is optimized in vain."""
    nodes = [v.owner for v in ancestors(outputs) if v.owner is not None]
    return all(isinstance(node.op, COp) or is_product(node) for node in nodes)


def _large(outputs: Sequence[Any]) -> bool:
    inputs = graph_inputs(outputs)
    values = [v.data if isinstance(v, Constant) else v.get_value(borrow=True) for v in inputs if _has_value(v)]
    return any(getattr(value, "size", 0) > _LARGE for value in values)


def _has_value(variable: Any) -> bool:
    return isinstance(variable, Constant) or hasattr(variable, "get_value")
