"""Fold constants by NumPy: Theano compiles C for each operation whose inputs are all constant.

An operation with a method `python_constant_folding` decides it; here all have one. That of elementwise operations says
no where there are more numbers than one.

Versions: Theano-PyMC 1.1.2.
Buys: 1.6 s of 11.0 s where nothing is compiled yet.
"""

from __future__ import annotations

from typing import Any

from theano.graph.op import Op
from theano.tensor.elemwise import Elemwise

from bayesrun.engines.pymc3.patches.base import Patch, Undo


def _apply() -> Undo:
    elementwise = Elemwise.python_constant_folding
    Op.python_constant_folding = lambda self, node: True
    Elemwise.python_constant_folding = _in_python

    def undo() -> None:
        del Op.python_constant_folding
        Elemwise.python_constant_folding = elementwise

    return undo


def _in_python(self: Any, node: Any) -> bool:
    """NumPy takes at most 31 arrays."""
    return len(node.inputs) + len(node.outputs) < 32


PATCH = Patch(_apply, "process")
