"""Compile a function as one C module, instead of one for each of its operations.

Theano's usual linker compiles every operation by itself and calls them one after another: 30 to 70 runs of the
compiler on a cold cache, and some 0.2 µs of overhead per operation in each call. Its linker `c` writes the whole graph
as one C function: one run of the compiler, a third of the time per call for small models. Three things are in its way:

- `Alloc` and a few others ask for the Python object of an input, which only inputs of the whole graph have: fixed here
  while a function is compiled;
- it has C code for products of vectors, and of a matrix and a vector, and takes it only where it may link a BLAS.
  Without one the code calls NumPy, which brings its own: the same numbers, and the graph has no Python in it;
- a single operation without C code forbids it: a product of matrices, a factorization, a sum over many rows. Here C
  code calls the Python of such an operation (`CalledFromC`).

Versions: Theano-PyMC 1.1.2.
Buys: 7 s of 17 s where nothing is compiled yet, and two thirds of the time of each call of a small model.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from theano.compile.mode import Mode
from theano.graph.op import COp, Op
from theano.graph.opt import local_optimizer
from theano.graph.utils import MethodNotDefined
from theano.tensor import basic, extra_ops, subtensor
from theano.tensor.basic import Dot
from theano.tensor.blas import GemmRelated, Gemv
from theano.tensor.blas_c import CGemv
from theano.tensor.opt import in2out

from bayesrun.engines.pymc3.calls_from_c import CalledFromC
from bayesrun.engines.pymc3.patches.base import Patch, Undo
from bayesrun.engines.pymc3.python_operations import BlackBox

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


def may_be_called(node: Any) -> bool:
    """Return whether a node computes its outputs from its inputs in C code or by a call of `perform`.

    Loops and lazy operations have functions of their own. A function that a user has registered is not called: it may
    be slow, and results of one module are compared with Python's.

    Parameters
    ----------
    node
        Of a graph.
    """
    plain = type(node.op).make_thunk in (Op.make_thunk, COp.make_thunk)
    return plain and not isinstance(node.op, BlackBox)


def one_module_mode() -> Any:
    """Return the mode that compiles one module, whose products are C, and which calls what has no C code."""
    early, late = in2out(_outer, name="outer_products"), in2out(_in_c, name="products_in_c")
    rest = in2out(_called, ignore_newtrees=True, name="calls_from_c")
    mode = Mode(linker="c", optimizer="fast_run")
    return mode.register((early, _BEFORE_BLAS), (late, _LAST), (rest, _LAST + 1))


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


@local_optimizer(None)  # type: ignore[untyped-decorator]
def _called(fgraph: Any, node: Any) -> list[Any] | None:
    if _has_code(node):
        return None
    made: list[Any] = CalledFromC(node)(*node.inputs, return_list=True)
    return made


def _has_code(node: Any) -> bool:
    """Return whether a node has C code; an operation that is written to have some may turn out to have none."""
    if not isinstance(node.op, COp) or isinstance(node.op, GemmRelated):
        return False  # products of matrices: their code, which calls NumPy too, can't stand beside that of `CGemv`
    names = {v: f"v{i}" for i, v in enumerate([*node.inputs, *node.outputs])}  # one name for an input given twice
    inputs, outputs = ([names[v] for v in of] for of in (node.inputs, node.outputs))
    try:
        node.op.c_code(node, "node", inputs, outputs, {"fail": "", "params": "params"})
    except (NotImplementedError, MethodNotDefined):
        return False
    return True


PATCH = Patch(_apply, "compile")
