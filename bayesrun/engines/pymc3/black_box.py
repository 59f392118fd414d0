"""A Python function as a Theano op that has no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import theano.tensor as tt
from theano.graph.basic import Apply
from theano.graph.op import Op

from bayesrun.models.functions.base import Function


class BlackBox(Op):  # type: ignore[misc]  # Theano has no type hints
    """`function` of each element of a tensor. It has no gradient, so NUTS can't move what it depends on.

    Parameters
    ----------
    name
        Registered name, for graphs and messages.
    function
        The registered function.
    """

    __props__ = ("name", "function")

    def __init__(self, name: str, function: Function) -> None:
        self.name = name
        self.function = function

    def __str__(self) -> str:
        return self.name

    def make_node(self, value: Any) -> Apply:
        """Make the node; the result has the shape of `value`."""
        given = tt.as_tensor_variable(value)
        whole = self.function.takes == "integer"
        if whole and given.dtype not in tt.discrete_dtypes:
            raise TypeError(f"'{self.name}' takes whole numbers (got {given.dtype})")
        dtype = "int64" if self.function.gives == "integer" else "float64"
        return Apply(self, [given], [tt.TensorType(dtype, given.broadcastable)()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Call the function once for each element."""
        convert = int if self.function.takes == "integer" else float
        values = [self.function.call(convert(v)) for v in np.ravel(inputs[0])]
        outputs[0][0] = np.asarray(values, dtype=node.outputs[0].dtype).reshape(np.shape(inputs[0]))

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shape of the result: that of the argument."""
        return [shapes[0]]

    def grad(self, inputs: list[Any], output_gradients: list[Any]) -> list[Any]:
        """Refuse: there is no gradient."""
        raise NotImplementedError(f"'{self.name}' is a Python function without a gradient")
