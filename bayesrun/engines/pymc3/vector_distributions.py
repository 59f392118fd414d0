"""Multivariate normal and t distributions of PyMC3, some of whose elements may be missing.

See `bayesrun.language.incomplete_vectors`. The density of short normal vectors by a Cholesky factor is one loop:
PyMC3's own solves a triangular system, a call into a threaded library that costs more than the rest of a group model's
gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc3 as pm
import theano.tensor as tt
from numpy.typing import NDArray
from theano.graph.basic import Apply
from theano.graph.op import Op

from bayesrun.engines.pymc3.factored_normal import LARGEST, factored_normal

Array = NDArray[Any]


class ObservedParts(Op):  # type: ignore[misc]  # Theano has no type hints
    """`(residuals, matrix) -> (q, d)` of the observed elements `o` of each row, with `S` the matrix.

    `q = r_o' S_oo^-1 r_o` and `d = log det S_oo` are vectors over the rows. A matrix that is not positive definite
    gives NaN. With `a = S_oo^-1 r_o`, `q` has the gradients `2 a` by the residuals and `-a a'` by the matrix, and `d`
    has `S_oo^-1` by the matrix.

    Parameters
    ----------
    mask
        True where an element is missing: (row, element).
    backwards
        Whether it is the gradient, `(residuals, matrix, by q, by d) -> (by residuals, by matrix)`.
    """

    __props__ = ("key", "backwards")

    def __init__(self, mask: Array, backwards: bool = False) -> None:
        self.mask, self.backwards = mask, backwards
        self.key = (mask.shape, mask.tobytes())
        kinds, self.kind = np.unique(mask, axis=0, return_inverse=True)
        self.seen = np.ones(mask.shape) - mask
        # in each pattern the missing elements have the identity, which adds nothing
        self.both = (~kinds)[:, :, None] & (~kinds)[:, None, :]
        self.rest = kinds[:, :, None] * np.eye(mask.shape[1])

    def make_node(self, *given: Any) -> Apply:
        """Declare the types of inputs and outputs."""
        inputs = [tt.cast(tt.as_tensor_variable(x), "float64") for x in given]
        return Apply(self, inputs, [tt.dmatrix(), tt.dmatrix()] if self.backwards else [tt.dvector(), tt.dvector()])

    def perform(self, node: Apply, inputs: list[Array], outputs: list[list[Array]]) -> None:
        """Compute it: a factor for each pattern of missing elements, then a product for each row."""
        matrix, residuals = inputs[1], inputs[0] * self.seen
        try:
            factors = np.linalg.cholesky(np.where(self.both, matrix, self.rest))
        except np.linalg.LinAlgError:
            shapes = (residuals.shape, matrix.shape) if self.backwards else (residuals.shape[:1], residuals.shape[:1])
            for output, shape in zip(outputs, shapes, strict=True):
                output[0] = np.full(shape, np.nan)
            return
        inverses = np.linalg.inv(factors)
        half = (inverses[self.kind] @ residuals[:, :, None])[:, :, 0]
        if not self.backwards:
            logs = 2.0 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
            outputs[0][0], outputs[1][0] = np.sum(half**2, axis=1), logs[self.kind]
            return
        by_q, by_d = inputs[2:]
        solved = (half[:, None, :] @ inverses[self.kind])[:, 0, :]
        of_kind = np.bincount(self.kind, by_d, len(inverses))
        whole = np.einsum("p,pki,pkj->ij", of_kind, inverses * self.both, inverses * self.both)
        outputs[0][0] = 2.0 * solved * by_q[:, None]
        outputs[1][0] = whole - solved.T @ (solved * by_q[:, None])

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes of the outputs."""
        return list(shapes[:2]) if self.backwards else [(shapes[0][0],), (shapes[0][0],)]

    def L_op(self, inputs: list[Any], outputs: list[Any], gradients: list[Any]) -> list[Any]:
        """Return the gradients by the residuals and the matrix."""
        return list(ObservedParts(self.mask, backwards=True)(*inputs, *gradients))


def observed_parts(distribution: Any, value: Any, mask: Array) -> tuple[Any, Any, Array]:
    """Return `q` and `d` of each row of a distribution of vectors, and its number of observed elements.

    Parameters
    ----------
    distribution
        One of PyMC3's distributions with a mean and a covariance (or scale) matrix.
    value
        The vectors: (..., element).
    mask
        True where an element is missing, of the same shape.
    """
    if distribution._cov_type == "tau":
        matrix = tt.nlinalg.matrix_inverse(distribution.tau)
    elif distribution._cov_type == "cov":
        matrix = distribution.cov
    else:
        matrix = tt.dot(distribution.chol_cov, distribution.chol_cov.T)
    apart = (tt.as_tensor_variable(value) - distribution.mu).reshape((-1, mask.shape[-1]))
    squares, log_determinant = ObservedParts(mask.reshape(-1, mask.shape[-1]))(apart, matrix)
    seen = mask.shape[-1] - mask.sum(axis=-1)
    whole = tuple(int(n) for n in seen.shape)
    return squares.reshape(whole), log_determinant.reshape(whole), seen.astype(float)


class _MayMissElements:
    """A distribution of vectors of which some elements may be missing.

    Parameters
    ----------
    missing
        True where an element is missing: (..., element); None if all are observed.
    """

    def __init__(self, *arguments: Any, missing: Array | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.missing = missing

    def logp(self, value: Any) -> Any:
        """Return the log density of each vector, -inf where the matrix is not positive definite.

        Parameters
        ----------
        value
            The vectors: (..., element).
        """
        if self.missing is None:
            return self._of_whole(value)
        density = self._of_observed(*observed_parts(self, value, self.missing))
        return tt.switch(tt.isnan(density), -np.inf, density)

    def _of_whole(self, value: Any) -> Any:
        return super().logp(value)  # type: ignore[misc]  # of PyMC3's class

    def _of_observed(self, squares: Any, log_determinant: Any, seen: Array) -> Any:
        raise NotImplementedError


class MvNormal(_MayMissElements, pm.MvNormal):  # type: ignore[misc]
    """`pm.MvNormal`, whose density by a small lower Cholesky factor is one operation."""

    def _of_whole(self, value: Any) -> Any:
        size = int(np.atleast_1d(self.shape)[-1])
        if self._cov_type != "chol" or size > LARGEST:
            return super()._of_whole(value)
        apart = tt.as_tensor_variable(value) - self.mu
        rows = apart.reshape((-1, size)) if apart.ndim != 2 else apart
        density = factored_normal(rows, self.chol_cov)
        return density if apart.ndim == 2 else density.reshape(apart.shape[:-1], ndim=apart.ndim - 1)

    def _of_observed(self, squares: Any, log_determinant: Any, seen: Array) -> Any:
        return -0.5 * (seen * np.log(2 * np.pi) + squares + log_determinant)


class MvStudentT(_MayMissElements, pm.MvStudentT):  # type: ignore[misc]
    """`pm.MvStudentT`."""

    def _of_observed(self, squares: Any, log_determinant: Any, seen: Array) -> Any:
        norm = tt.gammaln((self.nu + seen) / 2.0) - tt.gammaln(self.nu / 2.0) - 0.5 * seen * tt.log(self.nu * np.pi)
        return norm - (self.nu + seen) / 2.0 * tt.log1p(squares / self.nu) - 0.5 * log_determinant
