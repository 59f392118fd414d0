"""A graph compiled as one C module computes what Theano's usual way does, or is not used."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pymc3 as pm
import pytest

from bayesrun.engines.pymc3.compiled_functions import compile_function
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building, import_pymc3

import_pymc3()
import theano  # noqa: E402
import theano.tensor as tt  # noqa: E402
from theano.graph.basic import Apply  # noqa: E402
from theano.graph.op import COp  # noqa: E402
from theano.link.c.basic import CLinker  # noqa: E402

POINT = np.linspace(-1.0, 2.0, 6)


@pytest.fixture(autouse=True)
def _no_test_values() -> Any:
    with theano.config.change_flags(compute_test_value="off"):
        yield


def _is_one_module(function: Any) -> bool:
    return isinstance(function.maker.linker, CLinker)


GRAPHS: dict[str, Callable[[Any], Any]] = {
    "alloc": lambda x: tt.alloc(tt.exp(x[0]), 4) + x[1],
    "subtensor": lambda x: tt.exp(x)[1:4][::-1],
    "set part": lambda x: tt.set_subtensor(tt.exp(x)[1:3], 2.0 * x[:2]),
    "add to part": lambda x: tt.inc_subtensor(tt.exp(x)[1:3], x[:2]),
    "take": lambda x: tt.exp(x)[np.array([0, 0, 3])],
    "add to taken": lambda x: tt.inc_subtensor(tt.exp(x)[np.array([0, 0, 3])], x[:3]),
    "cumulated": lambda x: tt.cumsum(tt.exp(x)),
    "reduced": lambda x: tt.stack([tt.max(x), tt.sum(tt.sqr(x)), tt.prod(x), tt.mean(x)]),
    "table": lambda x: (x.reshape((2, 3)) * np.arange(3.0)).T.sum(axis=0),
    "matrix by vector": lambda x: tt.dot(np.arange(18.0).reshape(3, 6), tt.exp(x)),
    "strided matrix by part": lambda x: tt.dot(np.arange(36.0).reshape(6, 6)[:, ::2], tt.exp(x)[::2]),
    "vector by matrix": lambda x: tt.dot(tt.exp(x), np.arange(18.0).reshape(3, 6).T),
    "two vectors": lambda x: tt.dot(tt.exp(x), x[::-1]) + x,
    "matrix of parameters": lambda x: tt.dot(tt.exp(x).reshape((2, 3)), x[:3]) + tt.dot(x[3:5], x.reshape((2, 3)))[1],
    "outer": lambda x: tt.outer(tt.exp(x), x) - 0.5 * tt.outer(x, x),
    "residual": lambda x: 2.0 * x[:3] - 3.0 * tt.dot(np.arange(18.0).reshape(3, 6), x),
    "two matrices": lambda x: tt.dot(x.reshape((2, 3)), tt.exp(x).reshape((3, 2))) - x[:4].reshape((2, 2)),
    "outer product added": lambda x: tt.dot(x[:3].reshape((3, 1)), x[3:].reshape((1, 3))) + np.eye(3) * x[0],
    "factorized": lambda x: tt.dot(tt.slinalg.cholesky(tt.diag(tt.exp(x)) + tt.outer(x, x)), x),
    "nothing": lambda x: tt.dot(np.zeros((6, 0)), x[:0]) + x,
    "special": lambda x: tt.gammaln(3 + x) + tt.erf(x) + tt.switch(x > 0, tt.log1p(abs(x)), 0.0),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_and_its_gradient_agree_with_python(name: str) -> None:
    x = tt.dvector("x")
    value = GRAPHS[name](x)
    outputs = [value, tt.grad(tt.sum(tt.sqr(value)), x)]
    expected = theano.function([x], outputs, mode=theano.Mode("py", None))
    function = compile_function([x], outputs, [[POINT]])
    assert _is_one_module(function)
    for point in (POINT, POINT[::-1].copy(), 2 * POINT + 0.1):
        for got, wanted in zip(function(point), expected(point), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-8)


def test_inputs_and_outputs_of_any_kind() -> None:
    inputs = [tt.dscalar("a"), tt.lscalar("n"), tt.lvector("k"), tt.dmatrix("m"), tt.dtensor3("t")]
    a, n, k, m, t = inputs
    outputs = [a, n, k + n, m[k].sum(axis=0) * a, tt.exp(t[0]) + m.T, tt.constant(2.0) * n, m]
    values = [np.array(0.5), np.array(3), np.array([1, 0]), np.arange(6.0).reshape(3, 2), np.ones((2, 2, 3))]
    other = [np.array(1.5), np.array(4), np.array([2, 2]), -np.arange(6.0).reshape(3, 2), np.zeros((2, 2, 3))]
    expected = theano.function(inputs, outputs, mode=theano.Mode("py", None), on_unused_input="ignore")
    function = compile_function(inputs, outputs, [values])
    assert _is_one_module(function)
    for point in (values, other):
        for got, wanted in zip(function(*point), expected(*point), strict=True):
            np.testing.assert_array_equal(got, wanted)
            assert np.asarray(got).dtype == wanted.dtype


class Half(COp):  # type: ignore[misc]
    """Halves a vector in Python; its C code does so only when it is right."""

    __props__ = ("right",)

    def __init__(self, right: bool) -> None:
        self.right = right

    def make_node(self, vector: Any) -> Apply:
        return Apply(self, [vector], [tt.dvector()])

    def perform(self, node: Apply, inputs: Any, outputs: Any) -> None:
        outputs[0][0] = inputs[0] / 2

    def c_code(self, node: Apply, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        (x,), (z,), factor = inputs, outputs, 0.5 if self.right else 0.7
        return f"""
        Py_XDECREF({z});
        {z} = (PyArrayObject*) PyArray_NewCopy({x}, NPY_CORDER);
        for (npy_intp i = 0; i < PyArray_DIMS({z})[0]; i++) ((double*) PyArray_DATA({z}))[i] *= {factor};
        """


@pytest.mark.parametrize("right", [True, False])
def test_what_differs_from_python_is_not_used(right: bool, caplog: pytest.LogCaptureFixture) -> None:
    x = tt.dvector("x")
    with caplog.at_level(logging.WARNING, logger="bayesrun.theano"):
        function = compile_function([x], [tt.exp(Half(right)(tt.exp(x)))], [[POINT]])
    assert _is_one_module(function) is right
    assert ("different results" in caplog.text) is not right


def test_a_loop_takes_the_usual_way() -> None:
    x = tt.dvector("x")
    sums, _ = theano.scan(lambda value, total: value + total, sequences=[x], outputs_info=[tt.zeros_like(x[0])])
    function = compile_function([x], [sums], [[POINT]])
    assert not _is_one_module(function)
    np.testing.assert_allclose(function(POINT)[0], np.cumsum(POINT))


def test_c_code_passes_on_what_a_called_operation_raises() -> None:
    x = tt.dvector("x")
    factor = tt.slinalg.cholesky(tt.diag(x))
    function = compile_function([x], [tt.sum(factor) * x], [[POINT + 2.0]])
    assert _is_one_module(function)
    with pytest.raises(np.linalg.LinAlgError):
        function(-POINT)
    expected = np.sum(np.sqrt(POINT + 2.0)) * (POINT + 2.0)
    np.testing.assert_allclose(function(POINT + 2.0)[0], expected)  # and works again


def test_calls_from_c_keep_no_arrays() -> None:
    """A missing or superfluous reference would leak the results of each call, or free them while they are used."""
    from bayesrun.engines.pymc3.python_operations import Cosine

    x = tt.dvector("x")
    function = compile_function([x], [Cosine(inverse=False)(tt.exp(x)), tt.sum(x)], [[POINT]])
    assert _is_one_module(function)
    first, _ = function(POINT)
    kept = first.copy()
    for _ in range(100):
        function(2 * POINT)
    np.testing.assert_array_equal(first, kept)
    del function
    assert sys.getrefcount(first) == 2


def test_large_data_take_the_usual_way_which_frees_memory_early() -> None:
    x = tt.dvector("x")
    function = compile_function([x], [tt.sum(x[0] * theano.shared(np.ones(200_000)))], [[POINT]])
    assert not _is_one_module(function)


def test_gradient_is_pymc3s() -> None:
    with building(), pm.Model() as model:
        mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
        weights = pm.Dirichlet("weights", np.ones(3))
        pm.Normal("y", mu + tau * weights, 2.0, observed=np.arange(12.0).reshape(4, 3))
    gradient, theirs = PyMC3Model(model).log_density(), model.logp_dlogp_function(mode=theano.Mode("py", None))
    theirs.set_extra_values({})
    rng = np.random.default_rng(1)
    for _ in range(5):
        point = rng.normal(size=gradient.size)
        by_name = {p.name: point[p.begin : p.end].reshape(p.shape) for p in gradient.blocks}
        value, slope = theirs(theirs.dict_to_array(by_name))
        ours, ours_slope = gradient.evaluate(point)
        assert ours == pytest.approx(float(value))
        slopes = theirs.array_to_dict(slope)
        np.testing.assert_allclose(ours_slope, np.concatenate([np.ravel(slopes[p.name]) for p in gradient.blocks]))


COMPILES = """
from bayesrun.engines.pymc3.theano_setup import import_pymc3
import_pymc3()
import numpy as np, theano, theano.tensor as tt
from bayesrun.engines.pymc3.compiled_functions import compile_function
x = tt.dvector("x")
with theano.config.change_flags(compute_test_value="off"):
    compile_function([x], [tt.alloc(tt.exp(x[0]), x.shape[0]) + tt.outer(x, x).sum(axis=0)], [[np.ones(3)]])
"""


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    modules = []
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", COMPILES],
            env={**os.environ, "PYTHONHASHSEED": seed, "THEANO_FLAGS": f"base_compiledir={tmp_path}"},
            capture_output=True,
            check=True,
        )
        modules.append({path.parent.name: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/*.so")})
    assert modules[0]
    assert modules[0] == modules[1]
