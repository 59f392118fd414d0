"""Products of vectors, and of a matrix and a vector, in C, for graphs that are one C module.

Theano has C code for them and takes it only where it may link a BLAS. Without one the code calls NumPy, which brings
its own: the same numbers, and the graph has no Python in it.
"""

from __future__ import annotations

from typing import Any

_BEFORE_BLAS = 1.6
"""Theano turns products into calls of BLAS at 1.7."""
_LAST = 100
"""After all of Theano's own steps: there is nothing left to be done in place."""


def is_product(node: Any) -> bool:
    """Say whether a node is a product that has C code once the graph is optimised; two matrices' has not.

    Parameters
    ----------
    node
        Of a graph that is not optimised.
    """
    from theano.tensor.basic import Dot

    if not isinstance(node.op, Dot):
        return False
    is_one = [of_length_one for v in node.inputs for of_length_one in v.broadcastable]
    return all(v.dtype == "float64" for v in node.inputs) and is_one.count(False) <= 3


def with_products(mode: Any) -> Any:
    """Return a mode whose products are C."""
    from theano.graph.opt import local_optimizer
    from theano.tensor.basic import Dot
    from theano.tensor.blas import Gemv
    from theano.tensor.blas_c import CGemv
    from theano.tensor.opt import in2out

    @local_optimizer([Dot])  # type: ignore[untyped-decorator]
    def outer(fgraph: Any, node: Any) -> list[Any] | None:
        """A column by a row: every number by every other, for which NumPy has nothing."""
        if isinstance(node.op, Dot):
            left, right = node.inputs
            if left.broadcastable == (False, True) and right.broadcastable == (True, False):
                return [left * right]
        return None

    @local_optimizer([Gemv])  # type: ignore[untyped-decorator]
    def in_c(fgraph: Any, node: Any) -> list[Any] | None:
        if isinstance(node.op, Gemv) and not isinstance(node.op, CGemv) and node.outputs[0].dtype == "float64":
            return [CGemv(inplace=node.op.inplace)(*node.inputs)]
        return None

    early, late = in2out(outer, name="outer_products"), in2out(in_c, name="products_in_c")
    return mode.register((early, _BEFORE_BLAS), (late, _LAST))
