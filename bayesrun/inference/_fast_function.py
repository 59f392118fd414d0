"""Theano functions as one C module a graph, instead of one for each of its operations.

Theano's usual linker compiles every operation by itself and calls them one after another: 30 to 70 runs of the
compiler on a cold cache, and some 0.2 µs of overhead an operation in each call. Its linker `c` writes the whole graph
as one C function: one run of the compiler, a third of the time a call for small models. Three of Theano's defects
stand in its way:

- `Alloc` and a few others ask for the Python object of an input, which only inputs of the whole graph have: mended
  here while functions are compiled;
- its cache compiles some of them again and again: `_fast_cache` takes its place;
- products have C code that it does not take (`_fast_products`).

An operation without C code can't be part of it: then the usual linker is taken.

A function that was made this way is compared with Theano's Python implementation before it is used.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from bayesrun.inference._fast_products import is_product, with_products
from bayesrun.inference._function_cache import compiled
from bayesrun.inference.theano_setup import compiler, compiling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Point = Sequence[NDArray[Any]]

log = logging.getLogger("bayesrun.theano")

_LARGE = 100_000
"""Elements of a constant from which on temporaries should be freed once they are used, as the usual linker does."""
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
    whole = compiler() and _all_in_c(outputs) and not _large(outputs)
    function = _one_module(inputs, outputs, points) if whole else None
    if function is None:
        function = _compile(inputs, outputs)
    function.trust_input = True
    return function


def _one_module(inputs: Sequence[Any], outputs: Sequence[Any], points: Sequence[Point]) -> Any:
    """Return the function as one module, or None when that can't be or does not agree with Python."""
    try:
        with _mended():
            function = _compile(inputs, outputs, "c")
            expected = _compile(inputs, outputs, "py", optimizer=None)
            if all(_agree(function(*point), expected(*point)) for point in points):
                return function
        log.warning("one C module for the whole graph gives other results than Python: compiled by operation")
    except NotImplementedError as reason:
        log.debug("compiled by operation: %s", reason)
    except Exception as reason:  # Theano's linker may fail in many ways, and there is another
        log.debug("compiled by operation: %s: %s", type(reason).__name__, reason)
    return None


def _compile(
    inputs: Sequence[Any], outputs: Sequence[Any], linker: str | None = None, optimizer: str | None = "fast_run"
) -> Any:
    import theano
    from theano.compile.mode import Mode

    mode = Mode(linker=linker, optimizer=optimizer) if linker else None
    mode = with_products(mode) if linker == "c" else mode
    with compiling():
        return theano.function(list(inputs), list(outputs), mode=mode, on_unused_input="ignore")


def _agree(ours: Sequence[Any], expected: Sequence[Any]) -> bool:
    import numpy as np

    return all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
        for a, b in zip(ours, expected, strict=True)
    )


def _all_in_c(outputs: Sequence[Any]) -> bool:
    """Say whether every operation may have C code, before a graph is optimised that turns out to be for nothing."""
    from theano.graph.basic import ancestors
    from theano.graph.op import COp

    nodes = [v.owner for v in ancestors(outputs) if v.owner is not None]
    return all(isinstance(node.op, COp) or is_product(node) for node in nodes)


def _large(outputs: Sequence[Any]) -> bool:
    from theano.graph.basic import Constant, graph_inputs

    inputs = graph_inputs(outputs)
    values = [v.data if isinstance(v, Constant) else v.get_value(borrow=True) for v in inputs if _has_value(v)]
    return any(getattr(value, "size", 0) > _LARGE for value in values)


def _has_value(variable: Any) -> bool:
    from theano.graph.basic import Constant

    return isinstance(variable, Constant) or hasattr(variable, "get_value")


@contextmanager
def _mended() -> Iterator[None]:
    """Let operations name their inputs directly, not as Python objects, which only a graph's own inputs have."""
    from theano.tensor import basic, extra_ops, subtensor

    named = [basic.Alloc, extra_ops.CumOp, subtensor.Subtensor, subtensor.IncSubtensor, subtensor.AdvancedIncSubtensor1]
    originals = [(operation, operation.c_code) for operation in named]
    for operation, original in originals:
        operation.c_code = _directly(original)
    try:
        yield
    finally:
        for operation, original in originals:
            operation.c_code = original


def _directly(original: Callable[..., Any]) -> Callable[..., Any]:
    def code(*arguments: Any, **named: Any) -> Any:
        made = original(*arguments, **named)
        return re.sub(r"\bpy_(V\d+)\b", r"((PyObject*)\1)", made) if isinstance(made, str) else made

    return code
