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

import numpy as np
from numpy.typing import NDArray
from theano.compile.mode import Mode
from theano.graph.basic import Apply, NoParams
from theano.graph.op import COp, Op
from theano.graph.opt import local_optimizer
from theano.graph.type import generic
from theano.graph.utils import MethodNotDefined
from theano.tensor import basic, extra_ops, subtensor
from theano.tensor.basic import Dot
from theano.tensor.blas import GemmRelated, Gemv
from theano.tensor.blas_c import CGemv
from theano.tensor.opt import in2out

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


class CalledFromC(COp):  # type: ignore[misc]
    """An operation without C code of its own, which C code of other operations calls: a graph can be one module then.

    Parameters
    ----------
    node
        The node whose operation is called; that of this operation takes its place.
    """

    params_type = generic

    def __init__(self, node: Apply) -> None:
        self.called = node.op
        self._call = _Call(node)
        for kind in ("view_map", "destroy_map"):  # which outputs are made in the place of which inputs
            if getattr(node.op, kind, None):
                setattr(self, kind, getattr(node.op, kind))

    def __str__(self) -> str:
        return f"CalledFromC{{{self.called}}}"

    def make_node(self, *inputs: Any) -> Apply:
        """Make the node, with outputs of the same types as those of the operation."""
        return Apply(self, list(inputs), [kind() for kind in self._call.types])

    def get_params(self, node: Apply) -> Any:
        """Return what C calls."""
        return self._call

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Call the operation."""
        for output, value in zip(outputs, self._call(*inputs), strict=True):
            output[0] = value

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes that the operation gives."""
        shapes_of: list[Any] = self.called.infer_shape(fgraph, node, shapes)
        return shapes_of

    def c_code(self, node: Apply, name: str, inputs: list[str], outputs: list[str], sub: dict[str, Any]) -> str:
        """Call Python with the inputs; a failed call leaves its exception to Theano."""
        given = "".join(f", (PyObject*){one}" for one in inputs)
        taken = "".join(
            f"Py_XDECREF({one}); {one} = (PyArrayObject*)PyTuple_GET_ITEM(found, {place}); Py_INCREF({one});\n"
            for place, one in enumerate(outputs)
        )
        return f"""
        {{
            PyObject* found = PyObject_CallFunctionObjArgs({sub["params"]}{given}, NULL);
            if (!found) {{ {sub["fail"]} }}
            {taken}
            Py_DECREF(found);
        }}
        """

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Return the version of the C code."""
        return (1,)


class _Call:
    """`perform` of a node, as a function from arrays to a tuple of arrays."""

    def __init__(self, node: Apply) -> None:
        self.node, self.types = node, [v.type for v in node.outputs]
        node.op.prepare_node(node, None, None, "py")

    def __call__(self, *inputs: Any) -> tuple[NDArray[Any], ...]:
        outputs: list[list[Any]] = [[None] for _ in self.types]
        self.node.op.perform(self.node, list(inputs), outputs, *self._params())
        return tuple(np.asarray(found, kind.dtype) for (found,), kind in zip(outputs, self.types, strict=True))

    def _params(self) -> tuple[Any, ...]:
        params = self.node.run_params()
        return () if params is NoParams else (params,)


PATCH = Patch(_apply, "compile")
