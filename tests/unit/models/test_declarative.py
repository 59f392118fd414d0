"""Declarative models as PyMC3 builds them: density, dims, missing values, initial points, helpers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano
import xarray as xr
import yaml
from scipy import stats

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.build import metadata
from bayesrun.engines.pymc3.model import PyMC3Model
from bayesrun.errors import UserError
from bayesrun.models.declarative import DeclarativeSpec, build, check, roles, static_check

RNG = np.random.default_rng(3)
N = 12


def data() -> xr.Dataset:
    rng = np.random.default_rng(4)
    gap, count = rng.normal(size=N), rng.poisson(2, N).astype(float)
    gap[[2, 5]], count[[5, 7]] = np.nan, np.nan
    return xr.Dataset(
        {
            "y": ("obs", rng.normal(size=N)),
            "x": ("obs", rng.normal(size=N)),
            "gap": ("obs", gap),
            "count": ("obs", count),
            "code": ("obs", np.arange(N) % 3),
            "X": (("obs", "feature"), rng.normal(size=(N, 2))),
            "Y": (("rat", "week"), rng.normal(size=(3, 4))),
            "t": ("week", np.arange(4.0)),
        },
        coords={"obs": np.arange(1900, 1900 + N), "school": list("ABC"), "feature": ["f1", "f2"]},
    )


def built(data: Any, spec: Any) -> pm.Model:
    return pymc3_model(build(data, spec))


@pytest.fixture(autouse=True)
def _quick() -> Any:
    """Run Theano without compiling C: these models are evaluated a few times only."""
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def model_of(text: str) -> pm.Model:
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})
    assert static_check(spec) == []
    assert check(data(), spec) == []
    return built(data(), spec)


def logp(model: pm.Model, **values: Any) -> float:
    """Log density at a point given on the variables' own scales, without Jacobians."""
    point = dict(model.test_point)
    for name, value in values.items():
        variable = model[name]
        if hasattr(variable, "transformation"):
            point[variable.transformed.name] = variable.transformation.forward_val(np.asarray(value, dtype=float))
        else:
            point[name] = np.asarray(value)
    return float(sum(model.fn(v.logp_nojact)(point) for v in [*model.basic_RVs]))


def test_a_regression_has_the_density_that_scipy_gives() -> None:
    model = model_of("""
    likelihood: {y: {dist: Normal, mu: 'a + dot(X, b)', sigma: s, observed: y}}
    priors: {s: {dist: HalfNormal, sigma: 2}, a: {dist: Normal, mu: 1, sigma: 3},
             b: {dist: StudentT, nu: 4, mu: 0, sigma: 2.5, dims: [feature]}}
    """)
    a, b, s = 0.3, np.array([0.5, -1.0]), 0.8
    expected = (
        stats.norm(1, 3).logpdf(a)
        + stats.t(4, 0, 2.5).logpdf(b).sum()
        + stats.halfnorm(scale=2).logpdf(s)
        + stats.norm(a + data()["X"].values @ b, s).logpdf(data()["y"].values).sum()
    )
    assert logp(model, a=a, b=b, s=s) == pytest.approx(expected, rel=1e-10)
    assert model.RV_dims["b"] == ("feature",)
    assert model.RV_dims["y"] == ("obs",)
    assert "X" in model.named_vars


def test_dims_meet_by_name_whatever_their_order() -> None:
    model = model_of("""
    priors: {a: {dist: Normal, sigma: 1, dims: [rat]}, b: {dist: Normal, sigma: 1, dims: [rat]}}
    likelihood: {obs_y: {dist: Normal, mu: b * t + a, sigma: 1, observed: Y}}
    """)
    a, b = np.array([1.0, 2, 3]), np.array([0.5, 0, -1])
    mu = a[:, None] + b[:, None] * np.arange(4.0)
    expected = stats.norm.logpdf(a).sum() + stats.norm.logpdf(b).sum() + stats.norm.logpdf(data()["Y"].values, mu).sum()
    assert logp(model, a=a, b=b) == pytest.approx(expected, rel=1e-10)


def test_noncentered_is_the_same_prior_and_its_offset_is_a_helper() -> None:
    model = model_of("""
    priors: {m: {dist: Normal, mu: 0, sigma: 1}, s: {dist: HalfNormal, sigma: 1},
             z: {dist: Normal, mu: m, sigma: s, dims: [school], parameterization: noncentered, initval: [1, 2, 3]}}
    """)
    assert metadata(model).helpers == {"z_offset"}
    point = {**model.test_point, "m": np.asarray(0.5), "z_offset": np.array([1.0, -1.0, 0.0])}
    s = np.exp(point["s_log__"])
    np.testing.assert_allclose(model.fn(model["z"])(point), 0.5 + s * point["z_offset"])
    np.testing.assert_allclose(model.fn(model["z"])(model.test_point), [1, 2, 3])
    assert model.RV_dims["z"] == ("school",)


NONCENTERED = "z: {dist: Normal, mu: 0, sigma: s, dims: [school], parameterization: noncentered}"


@pytest.mark.parametrize(
    ("prior", "scale", "of_prior"),
    [
        ("HalfNormal, sigma: 2", 2.0, stats.halfnorm(scale=2)),
        ("HalfCauchy, beta: 5", 5.0, stats.halfcauchy(scale=5)),
        ("HalfStudentT, nu: 1, sigma: 0.1", 0.1, stats.halfcauchy(scale=0.1)),
        ("Exponential, lam: 4", 0.25, stats.expon(scale=0.25)),
        ("HalfNormal, sigma: [1, 2, 30], dims: [school]", np.array([1.0, 2.0, 30.0]), None),
    ],
)
def test_a_scale_is_sampled_by_softplus_where_that_is_asked_for(prior: str, scale: Any, of_prior: Any) -> None:
    model = model_of(f"priors: {{s: {{dist: {prior}, transform: softplus}}, {NONCENTERED}}}")
    of_prior = of_prior or stats.halfnorm(scale=scale)
    for u in (-30.0, -2.0, 0.5, 40.0):
        at = np.full(np.shape(scale), u)
        s = scale * np.logaddexp(0.0, at)
        point = {**model.test_point, "s_softplus__": at, "z_offset": np.zeros(3)}
        np.testing.assert_allclose(model.fn(model["s"])(point), s, rtol=1e-12)
        np.testing.assert_allclose(model["s"].transformation.forward_val(s), at, rtol=1e-9)
        np.testing.assert_allclose(model["s"].transformation.forward(s).eval(), at, rtol=1e-9)
        # by the change of variables: ds / du = scale sigmoid(u)
        jacobian = np.log(scale) - np.logaddexp(0.0, -at)
        expected = np.sum(of_prior.logpdf(s) + jacobian) + 3 * stats.norm.logpdf(0.0)
        assert float(model.logp(point)) == pytest.approx(expected, rel=1e-9)


def test_softplus_can_be_asked_for_where_a_scale_is_known() -> None:
    model = model_of("priors: {s: {dist: Exponential, lam: 1 / mean(y ** 2), transform: softplus}}")
    assert [v.name for v in model.free_RVs] == ["s_softplus__"]
    for prior, message in (
        ("Gamma, alpha: 1, beta: 1", "softplus needs a family whose scale is given"),
        ("HalfNormal, tau: 1", "softplus needs a family whose scale is given"),
        ("HalfNormal, sigma: m", "softplus needs a sigma that is a number or computed from data"),
    ):
        text = f"priors: {{m: {{dist: HalfNormal, sigma: 1}}, s: {{dist: {prior}, transform: softplus}}}}"
        spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})
        problems = static_check(spec)
        if not problems:
            with pytest.raises(UserError) as error:
                built(data(), spec)
            problems = list(error.value.problems)
        assert [problem.key for problem in problems] == ["model.priors.s.transform"] and message in problems[0].message


@pytest.mark.parametrize(
    ("prior", "standard"),
    [
        ("StudentT, nu: 3, mu: 2, lam: 4", stats.t(3)),
        ("Cauchy, alpha: 2, beta: 0.5", stats.cauchy()),
        ("Laplace, mu: 2, b: 0.5", stats.laplace()),
        ("Logistic, mu: 2, s: 0.5", stats.logistic()),
        ("Gumbel, mu: 2, beta: 0.5", stats.gumbel_r()),
        ("HalfNormal, tau: 4", stats.halfnorm()),
    ],
)
def test_every_offset_is_of_the_standard_family(prior: str, standard: Any) -> None:
    model = model_of(f"priors: {{z: {{dist: {prior}, parameterization: noncentered}}}}")
    moved = 0.0 if "Half" in prior else 2.0
    assert logp(model, z_offset=0.7) == pytest.approx(standard.logpdf(0.7), rel=1e-6)
    variable = model["z_offset"]
    point = dict(model.test_point)
    if hasattr(variable, "transformation"):
        point[variable.transformed.name] = np.log(0.7)
    else:
        point["z_offset"] = np.asarray(0.7)
    assert model.fn(model["z"])(point) == pytest.approx(moved + 0.5 * 0.7)


def test_a_whitened_walk_reports_as_a_plain_one() -> None:
    model = model_of("""
    priors: {s: {dist: HalfNormal, sigma: 1},
             w: {dist: GaussianRandomWalk, sigma: s, dims: [obs], parameterization: whitened, initval: 2}}
    likelihood: {y: {dist: Normal, mu: w, sigma: 1, observed: y}}
    """)
    assert metadata(model).helpers == {"w_level", "w_waves"}
    reported = metadata(model).reported
    assert reported is not None and "w_level" not in reported.named_vars
    np.testing.assert_allclose(model.fn(model["w"])(model.test_point), 2.0)


def test_shapes_are_labelled_from_0() -> None:
    model = model_of("priors: {a: {dist: Normal, mu: 0, sigma: 1, shape: [2, 3]}, b: {dist: Dirichlet, a: [1, 1, 1]}}")
    assert model.RV_dims["a"] == ("a_dim_0", "a_dim_1")
    assert list(model.coords["a_dim_1"]) == [0, 1, 2]
    assert list(model.coords["b_dim_0"]) == [0, 1, 2]


@pytest.mark.parametrize("prior", ["Normal, mu: 0, sigma: 3", "Gamma, alpha: 2, beta: 1", "Beta, alpha: 1, beta: 1"])
def test_ordered_starts_are_apart_and_inside_the_support(prior: str) -> None:
    model = model_of(f"priors: {{a: {{dist: {prior}, shape: 4, transform: ordered}}}}")
    start = model.fn(model["a"])(model.test_point)
    assert np.all(np.diff(start) > 0.05)
    assert np.isfinite(model.logp(model.test_point))
    assert np.isfinite(model.dlogp()(model.test_point)).all()


@pytest.mark.parametrize("mu", ["0", "[0, 1, -0.5]"])
def test_prior_draws_of_an_ordered_vector_increase(mu: str) -> None:
    model = model_of(f"priors: {{a: {{dist: Normal, mu: {mu}, sigma: 1, shape: 3, transform: ordered}}}}")
    draws = PyMC3Model(model).draw_prior(2000, 5)["a"]
    assert draws.shape == (2000, 3) and np.all(np.diff(draws, axis=-1) > 0)
    free = np.random.default_rng(2).normal(yaml.safe_load(mu), 1, size=(200_000, 3))
    wanted = free[np.all(np.diff(free, axis=-1) > 0, axis=-1)]
    error = np.sqrt(draws.var(axis=0) / len(draws) + wanted.var(axis=0) / len(wanted))
    assert np.all(np.abs(draws.mean(axis=0) - wanted.mean(axis=0)) < 4.5 * error)


def test_gaps_are_imputed_under_their_labels() -> None:
    model = model_of("""
    priors: {r: {dist: Exponential, lam: 1}, b: {dist: Normal, sigma: 1}}
    likelihood:
      count: {dist: Poisson, mu: r, observed: count}
      gap: {dist: Normal, mu: 0, sigma: 1, observed: gap}
      y: {dist: Normal, mu: b * gap, sigma: 1, observed: y}
    """)
    note = metadata(model)
    dims = {name: note.dims[name] for name in ("count_missing", "gap_missing")}
    assert dims["count_missing"] == ("obs_missing",)
    assert list(note.coords["obs_missing"]) == [1905, 1907]
    assert list(note.coords[dims["gap_missing"][0]]) == [1902, 1905]
    point = {**model.test_point, "b": np.asarray(2.0), "gap_missing": np.array([0.3, -0.4])}
    filled = data()["gap"].values.copy()
    filled[[2, 5]] = point["gap_missing"]
    expected = stats.norm.logpdf(data()["y"].values, 2.0 * filled).sum()
    assert model.fn(model["y"].logpt)(point) == pytest.approx(expected, rel=1e-10)


def test_a_mixture_sums_its_components_out() -> None:
    weights = "priors: {p: {dist: Beta, alpha: 1, beta: 1}, m: {dist: Normal, sigma: 3, shape: 2, transform: ordered}}"
    forms = [
        "{dist: NormalMixture, w: 'stack(p, 1 - p)', mu: m, sigma: [1, 2], observed: y}",
        "{dist: Mixture, w: 'stack(p, 1 - p)', observed: y, comp_dists: "
        "[{dist: Normal, mu: 'm[0]', sigma: 1}, {dist: Normal, mu: 'm[1]', sigma: 2}]}",
        "{dist: Mixture, w: 'stack(p, 1 - p)', observed: y, comp_dists: "
        "[{dist: Normal, mu: 'm[0] + 0 * x', sigma: 1}, {dist: Normal, mu: 'm[1]', sigma: 2}]}",
    ]
    y, m = data()["y"].values, np.array([-1.0, 0.5])
    expected = np.log(0.3 * stats.norm.pdf(y, m[0], 1) + 0.7 * stats.norm.pdf(y, m[1], 2)).sum()
    expected += stats.norm(0, 3).logpdf(m).sum()
    for form in forms:
        model = model_of(f"{weights}\nlikelihood: {{out: {form}}}")
        assert logp(model, p=0.3, m=m) == pytest.approx(expected, rel=1e-9), form


def test_lkj_gives_the_whole_factor() -> None:
    model = model_of("""
    priors:
      c: {dist: LKJCholeskyCov, n: 2, eta: 2, sd_dist: {dist: HalfNormal, sigma: 1}, dims: [feature]}
      b: {dist: MvNormal, mu: 0, chol: c, dims: [school, feature]}
    deterministics: {v: "dot(c, transpose(c))", r: "c_corr[0, 1]"}
    """)
    assert model["b"].tag.test_value.shape == (3, 2)
    assert model["v"].tag.test_value.shape == (2, 2)
    assert model["r"].tag.test_value.shape == ()


def test_truncation_is_normalized_where_parameters_are_random() -> None:
    model = model_of("priors: {m: {dist: Normal, mu: 0, sigma: 1}, a: {dist: Normal, mu: m, sigma: 1, lower: 0}}")
    expected = stats.norm.logpdf(0.4) + stats.truncnorm(-0.4, np.inf, loc=0.4).logpdf(1.1)
    assert logp(model, m=0.4, a=1.1) == pytest.approx(expected, rel=1e-6)


def test_bounds_cut_a_fixed_distribution() -> None:
    model = model_of("priors: {a: {dist: Cauchy, alpha: 0, beta: 2, lower: 1, upper: 3}}")
    value = model.fn(model["a"])(model.test_point)
    assert 1 < value < 3


def test_garch_is_pymc3s_garch() -> None:
    model = model_of("""
    priors: {o: {dist: HalfNormal, sigma: 1}, a: {dist: Uniform, lower: 0, upper: 1},
             b: {dist: Uniform, lower: 0, upper: 1 - a}}
    likelihood: {out: {dist: GARCH11, omega: o, alpha_1: a, beta_1: b, initial_vol: 0.7, observed: y}}
    """)
    y = data()["y"].values
    o, a, b = 0.3, 0.2, 0.5
    variance = [0.7**2]
    for before in y[:-1]:
        variance.append(o + a * before**2 + b * variance[-1])
    expected = stats.norm.logpdf(y, 0, np.sqrt(variance)).sum() + stats.halfnorm.logpdf(o) - np.log(1 - a)
    point = dict(model.test_point)
    point["o_log__"], point["a_interval__"] = np.log(o), np.log(a / (1 - a))
    point["b_interval__"] = np.log(b / (1 - a - b))
    got = sum(float(model.fn(v.logp_nojact)(point)) for v in model.basic_RVs)
    assert got == pytest.approx(expected, rel=1e-8)
    gradient = model.dlogp()(point)
    step = 1e-6
    for place, name in enumerate(v.name for v in model.free_RVs):
        up, down = ({**point, name: np.asarray(point[name] + sign * step)} for sign in (1, -1))
        assert gradient[place] == pytest.approx((model.logp(up) - model.logp(down)) / (2 * step), rel=1e-4)


def test_deterministics_and_potentials() -> None:
    model = model_of("""
    priors: {a: {dist: Normal, sigma: 1, dims: [school]}}
    deterministics:
      total: sum(a)
      wide: {expr: total, dims: [school]}
      both: {expr: a + x, dims: [obs, school]}
      number: 3
    potentials: {soft: "-a ** 2", hard: "log(total < 5)"}
    """)
    a = np.array([1.0, 2.0, 0.5])
    point = {"a": a}
    assert model.fn(model["total"])(point) == pytest.approx(3.5)
    np.testing.assert_allclose(model.fn(model["wide"])(point), [3.5] * 3)
    np.testing.assert_allclose(model.fn(model["both"])(point), data()["x"].values[:, None] + a)
    assert model.logp(point) == pytest.approx(stats.norm.logpdf(a).sum() - (a**2).sum())
    assert model.logp({"a": a + 5}) == -np.inf


def test_roles_know_the_domain_of_the_family() -> None:
    text = "likelihood: {c: {dist: Poisson, mu: 1, observed: count}, g: {dist: Gamma, alpha: 1, beta: 1, observed: y}}"
    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **yaml.safe_load(text)})
    assert [(r.variable, r.kind, r.domain) for r in roles(spec)] == [
        ("count", "observed", "count"),
        ("y", "observed", "nonnegative"),
    ]


def test_a_model_without_data() -> None:
    spec = DeclarativeSpec(name="m", type="declarative", priors={"a": {"dist": "Normal", "mu": 0, "sigma": 1}})
    assert check(None, spec) == []
    assert built(None, spec).logp({"a": 0.0}) == pytest.approx(stats.norm.logpdf(0))
