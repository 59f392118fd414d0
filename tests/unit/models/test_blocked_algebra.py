"""Tall matrices block by block: the numbers of the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest

from bayesrun.models.regression.blocked_algebra import BLOCK, moments, triangular

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("rows", [2, 5, BLOCK, BLOCK + 1, 2 * BLOCK + 37])
def test_blocks_give_what_the_whole_matrix_gives(rows: int) -> None:
    matrix = np.asfortranarray(RNG.normal(size=(rows, 3)) * [1.0, 1e-3, 1e4] + [0.0, 5.0, 1e6])
    lengths = np.linalg.norm(matrix, axis=0)
    means, sds = moments(matrix)
    np.testing.assert_allclose(means, matrix.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sds, matrix.std(axis=0), rtol=1e-10)
    factor, scaled = triangular(matrix, lengths), matrix / lengths
    np.testing.assert_allclose(factor.T @ factor, scaled.T @ scaled, atol=1e-10)
    assert np.allclose(factor, np.triu(factor))
