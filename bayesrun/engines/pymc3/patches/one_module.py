"""Compile a function as one C module, instead of one for each of its operations.

Theano's usual linker compiles every operation by itself and calls them one after another: 30 to 70 runs of the
compiler on a cold cache, and some 0.2 µs of overhead per operation in each call. Its linker `c` writes the whole graph
as one C function: one run of the compiler, a third of the time per call for small models. Two defects stand in its way:

- `Alloc` and a few others ask for the Python object of an input, which only inputs of the whole graph have: fixed here
  while a function is compiled;
- it has C code for products of vectors, and of a matrix and a vector, and takes it only where it may link a BLAS.
  Without one the code calls NumPy, which brings its own: the same numbers, and the graph has no Python in it.

Versions: Theano-PyMC 1.1.2.
Buys: 7 s of 17 s where nothing is compiled yet, and two thirds of the time of each call of a small model.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from theano.compile.mode import Mode
from theano.graph.opt import local_optimizer
from theano.tensor import basic, extra_ops, subtensor
from theano.tensor.basic import Dot
from theano.tensor.blas import Gemv
from theano.tensor.blas_c import CGemv
from theano.tensor.opt import in2out

from bayesrun.engines.pymc3.patches.base import Patch, Undo

_BEFORE_BLAS = 1.6
"""Theano turns products into calls of BLAS at 1.7."""
_LAST = 100
"""After all of Theano's own steps: there is nothing left to be done in place."""
_OPERATIONS = (
    basic.Alloc,
    extra_ops.CumOp,
    subtensor.Subtensor,
    subtensor.IncSubtensor,
    subtensor.AdvancedIncSubtensor1,
)


def _apply() -> Undo:
    originals = [(operation, operation.c_code) for operation in _OPERATIONS]
    for operation, original in originals:
        operation.c_code = _directly(original)

    def undo() -> None:
        for operation, original in originals:
            operation.c_code = original

    return undo


def _directly(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let an operation name its inputs directly, not as Python objects."""

    def code(*arguments: Any, **named: Any) -> Any:
        made = original(*arguments, **named)
        return re.sub(r"\bpy_(V\d+)\b", r"((PyObject*)\1)", made) if isinstance(made, str) else made

    return code


def is_product(node: Any) -> bool:
    """Return whether a node is a product that has C code once the graph is optimized; two matrices' has not.

    Parameters
    ----------
    node
        Of a graph that is not optimized.
    """
    if not isinstance(node.op, Dot):
        return False
    is_one = [of_length_one for v in node.inputs for of_length_one in v.broadcastable]
    return all(v.dtype == "float64" for v in node.inputs) and is_one.count(False) <= 3


def one_module_mode() -> Any:
    """Return the mode that compiles one module, whose products are C."""
    early, late = in2out(_outer, name="outer_products"), in2out(_in_c, name="products_in_c")
    mode = Mode(linker="c", optimizer="fast_run")
    return mode.register((early, _BEFORE_BLAS), (late, _LAST))


@local_optimizer([Dot])  # type: ignore[untyped-decorator]
def _outer(fgraph: Any, node: Any) -> list[Any] | None:
    """A column by a row: every number by every other, for which NumPy has nothing."""
    if isinstance(node.op, Dot):
        left, right = node.inputs
        if left.broadcastable == (False, True) and right.broadcastable == (True, False):
            return [left * right]
    return None


@local_optimizer([Gemv])  # type: ignore[untyped-decorator]
def _in_c(fgraph: Any, node: Any) -> list[Any] | None:
    if isinstance(node.op, Gemv) and not isinstance(node.op, CGemv) and node.outputs[0].dtype == "float64":
        return [CGemv(inplace=node.op.inplace)(*node.inputs)]
    return None


PATCH = Patch(_apply, "compile")
