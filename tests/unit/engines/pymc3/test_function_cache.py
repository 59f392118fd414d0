"""Functions of graphs that differ in numbers only are compiled once a process, and never mix their numbers up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bayesrun.engines.base import LogDensity
from bayesrun.engines.pymc3 import evaluate
from bayesrun.engines.pymc3.compiled_functions import begin_run, compiled, count_kept, forget
from bayesrun.engines.pymc3.compiled_functions import replaceable_number as number
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.engines.pymc3.theano_setup import building, import_pymc3

pm = import_pymc3()


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    import theano

    forget()
    with theano.config.change_flags(compute_test_value="off"):
        yield


def density_of(made: Any) -> LogDensity:
    return PyMC3Model(made).log_density()


def model(lam: float, data: list[float], power: int = 2) -> Any:
    import theano

    with building(), theano.config.change_flags(compute_test_value="raise"), pm.Model() as made:
        x = pm.Exponential("x", number(lam))
        pm.Normal("y", x**power, 1.0, observed=np.array(data))
    return made


def expected(lam: float, data: list[float], power: int = 2) -> float:
    """Log density at x = 1: Exponential with the Jacobian of log, and Normals."""
    residuals = np.array(data) - 1.0
    return float(np.log(lam) - lam + np.sum(-0.5 * residuals**2 - 0.5 * np.log(2 * np.pi)))


@pytest.mark.parametrize("other", [(2.5, [1.0, 2.0]), (0.5, [4.0, -3.0]), (1.0, [0.0, 0.5])])
def test_other_numbers_use_the_compiled_function(other: tuple[float, list[float]]) -> None:
    begin_run()
    first = density_of(model(0.5, [1.0, 2.0]))
    assert first.evaluate(np.zeros(1))[0] == pytest.approx(expected(0.5, [1.0, 2.0]), rel=1e-12)
    begin_run()
    second = density_of(model(*other))
    assert count_kept() == 1
    assert second.evaluate(np.zeros(1))[0] == pytest.approx(expected(*other), rel=1e-12)


def test_the_gradient_is_that_of_the_new_numbers() -> None:
    begin_run()
    density_of(model(0.5, [1.0, 2.0]))
    begin_run()
    reused = density_of(model(3.0, [5.0, 6.0])).evaluate
    # d/dz at z = log x = 0: 1 - lam + 2 sum(y - 1)
    assert reused(np.zeros(1))[1] == pytest.approx([1 - 3.0 + 2 * (4.0 + 5.0)], rel=1e-12)


def test_another_formula_or_another_size_is_compiled() -> None:
    for made in (model(0.5, [1.0, 2.0]), model(0.5, [1.0, 2.0], power=3), model(0.5, [1.0, 2.0, 3.0])):
        begin_run()
        density_of(made)
    assert count_kept() == 3


def test_one_run_may_hold_two_functions_that_differ_in_numbers() -> None:
    begin_run()
    first, second = density_of(model(0.5, [1.0, 2.0])), density_of(model(2.0, [1.0, 2.0]))
    assert first.evaluate(np.zeros(1))[0] == pytest.approx(expected(0.5, [1.0, 2.0]), rel=1e-12)
    assert second.evaluate(np.zeros(1))[0] == pytest.approx(expected(2.0, [1.0, 2.0]), rel=1e-12)
    begin_run()
    again = density_of(model(7.0, [0.0, 1.0]))
    assert again.evaluate(np.zeros(1))[0] == pytest.approx(expected(7.0, [0.0, 1.0]), rel=1e-12)
    assert count_kept() == 2


def test_a_shared_variable_keeps_its_own_value() -> None:
    import theano
    import theano.tensor as tt

    begin_run()
    ours, theirs, x = theano.shared(np.array([1.0, 2.0])), theano.shared(np.array([3.0, 4.0])), tt.dscalar()
    make = lambda inputs, outputs: theano.function(list(inputs), list(outputs))  # noqa: E731
    compiled([x], [x * ours], make)
    begin_run()
    assert list(compiled([x], [x * theirs], make)(2.0)[0]) == [6.0, 8.0]
    assert list(ours.get_value()) == [1.0, 2.0]


def test_what_depends_on_data_alone_is_computed_once() -> None:
    import theano
    import theano.tensor as tt

    x, counts = tt.dscalar(), tt.constant(np.array([1.0, 2.0, 5.0]))
    function = compiled([x], [x * tt.gammaln(counts + 1)], lambda i, o: theano.function(list(i), list(o)))
    assert not any("ammaln" in str(node.op) for node in function.maker.fgraph.apply_nodes)
    assert function(1.0)[0] == pytest.approx(np.log([1.0, 2.0, 120.0]))


def test_pointwise_terms_are_compiled_once_per_run_and_keep_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    compilations = []
    compile_once = evaluate.compile_function

    def counted(*arguments: Any) -> Any:
        compilations.append(arguments)
        return compile_once(*arguments)

    monkeypatch.setattr(evaluate, "compile_function", counted)
    draws = {"x": np.array([[0.5, 1.0, 2.0]])}
    ours, others = (PyMC3Model(model(0.5, data)) for data in ([1.0, 2.0], [4.0, -3.0]))
    terms = {
        one: -0.5 * (np.array(data) - draws["x"][..., None] ** 2) ** 2 - 0.5 * np.log(2 * np.pi)
        for one, data in ((ours, [1.0, 2.0]), (others, [4.0, -3.0]))
    }
    for asked, is_new_run, count in (
        (ours, True, 1),
        (ours, False, 1),
        (others, True, 2),
        (ours, True, 3),
        (ours, False, 3),
    ):
        if is_new_run:
            begin_run()  # in which the function of the other model may be given again, with other numbers
        found = asked.log_likelihood(["y"], draws)["y"]
        np.testing.assert_allclose(found, terms[asked], rtol=1e-12)
        assert len(compilations) == count
