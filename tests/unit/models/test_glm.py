"""A GLM's config, what it asks of the data, and that its density is the family's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import scipy.stats as st
import theano
import xarray as xr
from scipy.special import expit

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.build import metadata
from bayesrun.errors import UserError
from bayesrun.language.formula_grammar import RESERVED
from bayesrun.models.regression import glm_type as glm
from bayesrun.models.regression.families import FAMILY_TABLE
from bayesrun.models.regression.glm_model import HELPER

ROWS = 40
RNG = np.random.default_rng(5)
X, Z = RNG.normal(size=ROWS), RNG.uniform(1, 3, size=ROWS)
GROUP = np.array(list("abcd") * 10)
NORMAL = {"dist": "Normal", "mu": 0, "sigma": 2}
PRIORS = {"Intercept": NORMAL, "default": NORMAL}


def built(data: Any, spec: Any) -> pm.Model:
    return pymc3_model(glm.build(data, spec))


@pytest.fixture(autouse=True)
def _no_c() -> Iterator[None]:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        yield


def _data(**variables: Any) -> xr.Dataset:
    given = {"x": X, "z": Z, "g": GROUP, **variables}
    return xr.Dataset({n: ("row", v) for n, v in given.items()}, coords={"row": np.arange(10, 10 + ROWS)})


def _spec(formula: str, form: str = "direct", **keys: Any) -> glm.GlmSpec:
    options = {"form": form, **keys.pop("options", {})}
    return glm.GlmSpec(name="mine", type="glm", formula=formula, options=options, **keys)


def _faults(spec: glm.GlmSpec, data: xr.Dataset | None = None) -> str:
    problems = glm.static_check(spec) if data is None else glm.check(data, spec)
    return "\n".join(map(str, problems))


LINEAR = 1 + 0.5 * X
FAMILIES = [
    ("normal", LINEAR, {"sigma": 0.7}, lambda m, y: st.norm.logpdf(y, m, 0.7)),
    ("student", LINEAR, {"sigma": 0.7, "nu": 4.0}, lambda m, y: st.t.logpdf(y, 4.0, m, 0.7)),
    ("binomial", (LINEAR > 1).astype(int), {}, lambda m, y: st.bernoulli.logpmf(y, expit(m))),
    ("poisson", np.round(np.exp(LINEAR)), {}, lambda m, y: st.poisson.logpmf(y, np.exp(m))),
    (
        "negative_binomial",
        np.round(np.exp(LINEAR)),
        {"alpha": 3.0},
        lambda m, y: st.nbinom.logpmf(y, 3.0, 3.0 / (3.0 + np.exp(m))),
    ),
]


@pytest.mark.parametrize(("family", "y", "auxiliaries", "expected"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_likelihood_is_the_familys(family: str, y: Any, auxiliaries: dict[str, float], expected: Any) -> None:
    known = {name: {"dist": "HalfNormal", "sigma": 3.0} for name in auxiliaries}
    model = built(_data(y=y), _spec("y ~ x", family=family, priors={**PRIORS, **known}))
    logs = {f"{name}_log__": np.log(value) for name, value in auxiliaries.items()}
    got = model["y_obs"].logp_elemwise({"Intercept": np.array(0.3), "x": np.array(-0.8), **logs})
    np.testing.assert_allclose(got, expected(0.3 - 0.8 * X, y), rtol=1e-9)
    prior = sum(st.norm.logpdf(v, 0, 2) for v in (0.3, -0.8))
    prior += sum(st.halfnorm.logpdf(v, scale=3.0) + np.log(v) for v in auxiliaries.values())
    whole = model.fastfn(model.logpt)({"Intercept": np.array(0.3), "x": np.array(-0.8), **logs})
    assert whole == pytest.approx(float(np.sum(expected(0.3 - 0.8 * X, y)) + prior), rel=1e-9)


@pytest.mark.parametrize(("family", "y", "auxiliaries", "expected"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_the_whitened_form_is_the_same_density_up_to_a_constant(
    family: str, y: Any, auxiliaries: dict[str, float], expected: Any
) -> None:
    """Also with predictors that are far from 0 and correlated, and with imputed responses."""
    data = _data(y=y, w=3950 + 30 * X + 3 * Z)
    spec = _spec("y ~ x + w + C(g)", family=family, form="whitened", priors={"x": {"dist": "Laplace", "mu": 1, "b": 2}})
    model = built(data, spec)
    direct = metadata(model).reported
    assert direct is not None and metadata(model).helpers == {HELPER}
    terms = ["Intercept", "x", "w", "C(g)"]
    coefficients, density = model.fastfn([model[t] for t in terms]), model.fastfn(model.logpt)
    plain = direct.fastfn(direct.logpt)
    rng, differences = np.random.default_rng(1), []
    for _ in range(8):
        logs = {f"{name}_log__": np.log(value) + 0.1 * rng.normal() for name, value in auxiliaries.items()}
        point = {HELPER: 0.3 * rng.normal(size=6), **logs}
        there = dict(zip(terms, coefficients({**model.test_point, **point}), strict=True))
        differences.append(density(point) - plain({**there, **logs}))
    np.testing.assert_allclose(differences, differences[0], atol=1e-6)


def test_whitened_coefficients_have_the_spherical_posterior_that_they_are_made_for() -> None:
    """With weak priors and sigma = sd of the response, the curvature of z is the unit matrix."""
    w = 3950 + 30 * X + 10 * RNG.normal(size=ROWS)
    y = LINEAR + RNG.normal(size=ROWS)
    model = built(_data(y=y, w=w), _spec("y ~ x + w + z + C(g)", form="whitened"))
    gradient = model.dlogp([model[HELPER]])
    at = {"sigma_log__": np.log(y.std())}
    columns = [gradient({**at, HELPER: h}) for h in np.eye(7)]
    curvature = np.array(columns) - gradient({**at, HELPER: np.zeros(7)})
    np.testing.assert_allclose(curvature, -np.eye(7), atol=0.05)


def test_a_constrained_prior_is_sampled_as_it_is() -> None:
    spec = _spec("y ~ x", form="whitened", priors={"x": {"dist": "HalfNormal", "sigma": 1}})
    model = built(_data(y=LINEAR), spec)
    assert "x_log__" in {v.name for v in model.free_RVs} and metadata(model).reported is None


def test_means_beyond_any_count_can_still_be_predicted_from_the_prior() -> None:
    model = pymc3_model(
        glm.build(_data(y=RNG.poisson(3, size=ROWS)), _spec("y ~ x", family="poisson", form="whitened"))
    )
    reported = metadata(model).reported
    assert reported is not None
    drawn = pm.sample_prior_predictive(200, model=reported, random_seed=1)
    assert drawn["y_obs"].shape == (200, ROWS) and drawn["y_obs"].min() >= 0


def test_counts_of_successes_have_trials() -> None:
    trials, y = np.full(ROWS, 5), RNG.integers(0, 6, size=ROWS)
    spec = _spec("y ~ x", family="binomial", priors=PRIORS, options={"trials": "n"})
    assert not _faults(spec) and not _faults(spec, _data(y=y, n=trials))
    got = built(_data(y=y, n=trials), spec)["y_obs"].logp_elemwise({"Intercept": np.array(0.1), "x": np.array(0.5)})
    np.testing.assert_allclose(got, st.binom.logpmf(y, 5, expit(0.1 + 0.5 * X)), rtol=1e-9)


def test_offset_is_added_to_the_predictor() -> None:
    y = RNG.poisson(3, size=ROWS)
    spec = _spec("y ~ x", family="poisson", priors=PRIORS, options={"offset": "log(z)"})
    got = built(_data(y=y), spec)["y_obs"].logp_elemwise({"Intercept": np.array(0.1), "x": np.array(0.5)})
    np.testing.assert_allclose(got, st.poisson.logpmf(y, Z * np.exp(0.1 + 0.5 * X)), rtol=1e-9)


def test_terms_are_variables_with_dims_and_labels() -> None:
    model = built(_data(y=LINEAR), _spec("y ~ x * C(g)"))
    assert {v.name for v in model.unobserved_RVs} >= {"Intercept", "x", "C(g)", "x:C(g)", "sigma"}
    (dim,) = model.RV_dims["C(g)"]
    assert list(model.coords[dim]) == ["b", "c", "d"]
    assert model.RV_dims["y_obs"] == ("row",) and list(model.coords["row"]) == list(range(10, 10 + ROWS))
    assert model.RV_dims["design"] == ("row", "column")


def test_a_condition_on_the_left_is_a_binary_response() -> None:
    model = built(_data(y=LINEAR), _spec("y > median(y) ~ z", family="binomial"))
    median = np.median(LINEAR)
    np.testing.assert_array_equal(model["y_obs"].observations, np.where(median < LINEAR, 1, 0))


def test_missing_responses_are_imputed_and_labelled_also_under_a_condition() -> None:
    y = LINEAR.copy()
    y[[2, 5]] = np.nan
    for formula, family in (("y ~ x", "normal"), ("y > median(y) ~ z", "binomial")):
        model = built(_data(y=y), _spec(formula, family=family))
        assert model["y_obs_missing"].tag.test_value.shape == (2,)
        assert list(metadata(model).coords["row_missing"]) == [12, 15]
    known = y[~np.isnan(y)]
    kept = np.delete(model["y_obs"].tag.test_value, [2, 5])
    np.testing.assert_array_equal(kept, known > np.median(known))


def test_priors_not_given_are_filled_in_and_scale_with_the_data() -> None:
    spec = _spec("y ~ x")
    assert spec.priors.keys() == {"default", "Intercept", "sigma"}
    for unit in (1.0, 1e4):
        model = built(_data(y=LINEAR * unit), spec)
        assert float(model["x"].distribution.sigma.eval()) == pytest.approx(10 * unit * LINEAR.std() / X.std())


def test_own_prior_of_a_term_goes_before_the_default() -> None:
    priors = {"default": NORMAL, "I( x ** 2 )": {"dist": "Laplace", "mu": 0, "b": 1}}
    model = built(_data(y=LINEAR), _spec("y ~ x + I(x**2)", priors=priors))
    assert isinstance(model["I(x**2)"].distribution, pm.Laplace)
    assert isinstance(model["x"].distribution, pm.Normal)


def test_roles_follow_from_the_formula() -> None:
    spec = _spec("y > median(y) ~ log(x) + C(g) + z", family="binomial", options={"offset": "log(w)"})
    found = {(r.variable, r.kind, r.domain) for r in glm.roles(spec)}
    assert found == {
        ("y", "observed", "real"),
        ("x", "predictor", "number_or_date"),
        ("g", "predictor", "any"),
        ("z", "predictor", "any"),
        ("w", "predictor", "real"),
    }
    assert glm.roles(_spec("y ~ x", family="poisson"))[0].domain == "count"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (_spec("y ~ x", priors={"xx": NORMAL}), "model.priors.xx: .* no term 'xx'.*\n.*did you mean 'x'"),
        (_spec("y ~ x + foo(z)"), "unknown function 'foo'"),
        (_spec("y + ~ x"), "model.formula"),
        (_spec("y ~ x", family="poisson", options={"link": "logit"}), "poisson has no link 'logit'"),
        (_spec("y ~ x", options={"trials": "n"}), "only binomial has trials"),
        (_spec("y ~ x", options={"offset": "open('x')"}), "model.options.offset"),
    ],
)
def test_what_needs_no_data_is_found_without(spec: glm.GlmSpec, message: str) -> None:
    import re

    assert re.search(message, _faults(spec)), _faults(spec)


COUNTS = np.arange(ROWS) % 4


@pytest.mark.parametrize(
    ("spec", "variables", "message"),
    [
        (_spec("y ~ x + w + z"), {"y": LINEAR, "w": 2 * X}, "collinear: x, w$"),
        (_spec("y ~ x + one"), {"y": LINEAR, "one": np.ones(ROWS)}, "collinear: Intercept, one"),
        (_spec("y ~ x + z", family="binomial"), {"y": (X > 0).astype(int)}, "complete separation: x separates"),
        (_spec("y ~ x", family="binomial"), {"y": np.ones(ROWS)}, "every row of the response is 1"),
        (_spec("y ~ x", family="binomial"), {"y": COUNTS}, "must be 0 or 1"),
        (_spec("y ~ x", family="poisson"), {"y": LINEAR}, "must be counts"),
        (
            _spec("y ~ x", family="binomial", options={"trials": "n"}),
            {"y": COUNTS, "n": np.full(ROWS, 2)},
            "counts from 0 to n",
        ),
        (_spec("y ~ log(x)"), {"y": LINEAR}, "not finite"),
        (_spec("y ~ when"), {"y": LINEAR, "when": np.arange(ROWS).astype("M8[D]")}, "holds dates"),
        (_spec("y ~ x", options={"offset": "log(x)"}), {"y": LINEAR}, "one finite number per row"),
    ],
)
def test_what_the_data_show_is_named_before_sampling(spec: glm.GlmSpec, variables: Any, message: str) -> None:
    import re

    found = _faults(spec, _data(**variables))
    assert re.search(message, found, re.MULTILINE), found


def test_columns_called_as_variables_of_the_model_are_terms_of_their_own() -> None:
    columns = {"sigma": X, "Intercept": np.cos(X), "y_obs": np.sin(X), "y": LINEAR}
    made = built(_data(**columns), _spec("y ~ sigma + `Intercept` + y_obs", priors={"`sigma`": NORMAL}))
    assert {"sigma", "`sigma`", "Intercept", "`Intercept`", "`y_obs`", "y_obs"} <= set(made.named_vars)
    assert not hasattr(made["`sigma`"], "transformed") and hasattr(made["sigma"], "transformed")  # of the sd alone
    assert {name for family in FAMILY_TABLE.values() for name in family.parameters} - {"mu"} <= RESERVED
    assert HELPER in RESERVED


def test_a_degenerate_design_can_be_left_to_the_priors() -> None:
    data = _data(y=(X > 0).astype(int))
    assert _faults(_spec("y ~ x", family="binomial"), data)
    assert not _faults(_spec("y ~ x", family="binomial", options={"check_design": False}), data)


def test_variables_of_another_dim_are_refused() -> None:
    data = _data(y=LINEAR).assign(other=("site", np.arange(3.0)))
    with pytest.raises(UserError, match="must be over the rows"):
        built(data, _spec("y ~ other"))


def test_unknown_family_is_an_error_with_the_choices() -> None:
    with pytest.raises(ValueError, match="normal"):
        _spec("y ~ x", family="gaussian")
