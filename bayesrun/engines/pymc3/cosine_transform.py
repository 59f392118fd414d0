"""The orthonormal discrete cosine transform as a Theano operation; import PyMC3 before this module."""

from __future__ import annotations

from typing import Any

import scipy.fft
import theano.tensor as tt
from numpy.typing import NDArray
from theano.graph.basic import Apply
from theano.graph.op import Op


class Cosine(Op):  # type: ignore[misc]
    """DCT-II (`inverse=False`) or its inverse, DCT-III, of a vector.

    The transform is orthonormal, so its transpose, which is what a gradient needs, is its inverse.

    Parameters
    ----------
    inverse
        Whether this is the inverse.
    """

    __props__ = ("inverse",)

    def __init__(self, inverse: bool) -> None:
        self.inverse = inverse
        self._transform = scipy.fft.idct if inverse else scipy.fft.dct

    def make_node(self, vector: Any) -> Apply:
        """Take any float vector, make a float64 vector."""
        vector = tt.cast(tt.as_tensor_variable(vector), "float64")
        return Apply(self, [vector], [tt.dvector()])

    def perform(self, node: Apply, inputs: list[NDArray[Any]], outputs: list[list[NDArray[Any]]]) -> None:
        """Transform."""
        outputs[0][0] = self._transform(inputs[0], type=2, norm="ortho")

    def grad(self, inputs: list[Any], gradients: list[Any]) -> list[Any]:
        """Return the transposed transform of the gradient."""
        return [Cosine(not self.inverse)(gradients[0])]

    def R_op(self, inputs: list[Any], directions: list[Any]) -> list[Any]:
        """Return the transform of the direction: the operation is linear."""
        return [self(directions[0])]

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """The transform is as long as its input."""
        return shapes
