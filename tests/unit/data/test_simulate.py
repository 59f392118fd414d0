from __future__ import annotations

import numpy as np

REGRESSION = {"source": "simulate", "generator": "linear_regression"}


def test_linear_regression_draws_the_tutorials_numbers(load_data):
    # the tutorial's own lines
    np.random.seed(8927)
    x1 = np.random.randn(100)
    x2 = np.random.randn(100) * 0.2
    y = 1 + 1 * x1 + 2.5 * x2 + np.random.randn(100) * 1
    data = load_data(**REGRESSION, seed=8927)
    np.testing.assert_array_equal(data["X1"], x1)
    np.testing.assert_array_equal(data["X2"], x2)
    np.testing.assert_array_equal(data["Y"], y)


def test_other_seeds_of_numpy_do_not_change_the_data(load_data):
    np.random.seed(1)
    first = load_data(**REGRESSION)
    np.random.seed(2)
    state = np.random.get_state()[1].copy()
    assert first.identical(load_data(**REGRESSION))
    assert (np.random.get_state()[1] == state).all()


def test_parameters_and_seed_count(load_data):
    data = load_data(**REGRESSION, parameters={"size": 7, "sigma": 0, "beta": [2, 0], "alpha": 5})
    assert data.sizes["obs"] == 7
    np.testing.assert_allclose(data["Y"], 5 + 2 * data["X1"])
    assert not data.identical(load_data(**REGRESSION, seed=1, parameters={"size": 7}))


def test_wrong_generator_and_parameters_are_reported_before_reading(faults):
    assert "did you mean 'linear_regression'?" in faults(source="simulate", generator="linear")["data.generator"]
    found = faults(**REGRESSION, parameters={"sizes": 3, "sigma": -1})
    assert "did you mean 'size'?" in found["data.parameters.sizes"]
    assert "data.parameters.sigma" in found
