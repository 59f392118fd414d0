"""Regressions with group effects: their density is the one that is written by hand, and their parts are named."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats as st
import xarray as xr
from scipy.special import expit

from bayesrun.data.roles import settle
from bayesrun.errors import UserError
from bayesrun.language.declaration import Declaration, Deterministic, Likelihood, Random
from bayesrun.language.formulas import Formula
from bayesrun.language.operations import evaluate
from bayesrun.language.values import node_of
from bayesrun.models import regression
from bayesrun.models.base import NewRows
from bayesrun.models.regression import design_matrix, group_effects, population_term
from bayesrun.models.regression.expansion import Expansion, expand
from bayesrun.models.regression.group_terms import split
from bayesrun.models.regression.regression_plan import plan
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.pipeline import prepare
from bayesrun.predict.fitted_model import FittedModel, fitted_model
from tests.composing import parsed
from tests.contract.numpy_engine.engine import log_densities

MODEL = regression.MODEL
ROWS = 40
RNG = np.random.default_rng(5)
X, Z = RNG.normal(size=ROWS), RNG.uniform(1, 3, size=ROWS)
GROUP = np.array(list("abcd") * 10)
OTHER = np.array(["u", "v"] * 5 + ["w", "u"] * 15)
N = np.full(ROWS, 7)
CODE, OTHER_CODE = np.unique(GROUP, return_inverse=True)[1], np.unique(OTHER, return_inverse=True)[1]
NORMAL = {"dist": "Normal", "mu": 0, "sigma": 2}
HALF = {"dist": "HalfNormal", "sigma": 3}
Y = 1 + 0.5 * X + RNG.normal(size=ROWS)


def data(**variables: Any) -> xr.Dataset:
    given = {"x": X, "z": Z, "g": GROUP, "h": OTHER, "n": N, "y": Y, **variables}
    made = xr.Dataset({n: ("obs", v) for n, v in given.items()}, coords={"obs": np.arange(10, 10 + ROWS)})
    return made.assign_attrs(dim="obs")


def spec(formula: Any, **keys: Any) -> RegressionSpec:
    priors = {"default": NORMAL, "Intercept": NORMAL, "sigma": HALF, **keys.pop("priors", {})}
    options = {"form": "direct", **keys.pop("options", {})}
    return RegressionSpec(name="m", type="regression", formula=formula, priors=priors, options=options, **keys)


def expanded(formula: Any, rows: xr.Dataset | None = None, **keys: Any) -> Expansion:
    this = spec(formula, **keys)
    assert not MODEL.static_check(this)
    return expand(data() if rows is None else rows, this, plan(this))


def density(formula: Any, point: dict[str, Any], rows: xr.Dataset | None = None, **keys: Any) -> float:
    """Log density of the whole model at a point on the variables' own scale."""
    rows = data() if rows is None else rows
    this = spec(formula, **keys)
    assert not MODEL.static_check(this) and not MODEL.check(rows, this)
    return sum(log_densities(MODEL.build(rows, this), point).values())


def normal(x: Any, sigma: Any = 1.0) -> float:
    return float(np.sum(st.norm.logpdf(x, 0, sigma)))


def half_t(x: Any, scale: Any) -> float:
    return float(np.sum(np.log(2) + st.t.logpdf(x, 3, scale=scale)))


def test_a_group_intercept_has_the_density_that_is_written_by_hand() -> None:
    b, sd, u, sigma = np.array([0.4, -0.3]), np.array([0.8]), RNG.normal(size=(4, 1)), 0.6
    got = density("y ~ x + (1 | g)", {"coefficients": b, "sd_g": sd, "r_g_offset": u, "sigma": sigma})
    mu = b[0] + b[1] * X + (sd * u)[CODE, 0]
    wanted = normal(b, 2) + half_t(sd, 2.5 * Y.std()) + normal(u) + st.halfnorm.logpdf(sigma, scale=3)
    assert got == pytest.approx(wanted + st.norm.logpdf(Y, mu, sigma).sum(), rel=1e-10)


def test_columns_of_any_name_stand_in_back_ticks() -> None:
    b, u = np.array([0.4, -0.3]), RNG.normal(size=(4, 1))
    point = {"coefficients": b, "sigma": 0.6}
    wanted = density("y ~ x + offset(log(z)) + (1 | g)", {**point, "sd_g": np.array([0.8]), "r_g_offset": u})
    odd = data().rename(y="y/kg", x="a~b | c", z="z z", g="the g")
    text = "`y/kg` ~ `a~b | c` + offset(log(`z z`)) + (1 | `the g`)"
    got = density(text, {**point, "sd_the_g": np.array([0.8]), "r_the_g_offset": u}, odd)
    assert got == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("column", "grouping"), [("site_", "site"), ("a  (m)", "a_m"), ("2nd", "X2nd"), ("%", "X"), ("g\u0301", "\u01f5")]
)
def test_groupings_of_any_name_are_called_by_an_identifier(column: str, grouping: str) -> None:
    rows = data(**{column: GROUP})
    made = expanded(f"y ~ x + (1 | `{column}`) + s(x, by=`{column}`, k=4)", rows)
    assert f"r_{grouping}" in made.model["priors"]


def test_an_offset_that_is_not_finite_names_its_rows() -> None:
    exposure = np.where(np.arange(ROWS) == 3, 0.0, 2.0)
    with pytest.raises(UserError, match=r"'log\(e\)' must give one finite number per row \(not in obs 13\)"):
        expanded("y ~ x + offset(log(e)) + (1 | g)", data(e=exposure))


def test_groupings_that_would_have_one_name_are_refused() -> None:
    told = "\n".join(map(str, MODEL.static_check(spec("y ~ x + (1 | `a b`) + (1 | a:b)"))))
    assert "the groupings 'a b' and 'a:b' would both be called r_a_b" in told, told


def test_levels_of_a_response_that_are_no_words_have_predictors_of_their_own() -> None:
    levels = np.array(["a", "+", "-", "b c", "b-c"] * 8)
    made = expanded("kind ~ x", data(kind=levels), family="categorical")
    assert set(made.model["priors"]) == {f"{name}_coefficients" for name in ("a", "b_c", "b_c_4", "level_1")}


def test_uncorrelated_slopes_nested_and_crossed_groups() -> None:
    b, sigma = np.array([0.4, -0.3]), 0.6
    sd_g, sd_gh = np.array([0.8, 0.3]), np.array([0.5])
    labels, codes = np.unique(np.char.add(np.char.add(GROUP, ":"), OTHER), return_inverse=True)
    u, v = RNG.normal(size=(4, 2)), RNG.normal(size=(len(labels), 1))
    point = {"coefficients": b, "sd_g": sd_g, "r_g_offset": u, "sd_g_h": sd_gh, "r_g_h_offset": v, "sigma": sigma}
    got = density("y ~ x + (x || g) + (1 | g:h)", point)
    r = u * sd_g
    mu = b[0] + b[1] * X + r[CODE, 0] + r[CODE, 1] * X + (sd_gh * v)[codes, 0]
    wanted = normal(b, 2) + half_t(sd_g, 2.5 * Y.std() / np.array([1, X.std()])) + half_t(sd_gh, 2.5 * Y.std())
    wanted += normal(u) + normal(v) + st.halfnorm.logpdf(sigma, scale=3) + st.norm.logpdf(Y, mu, sigma).sum()
    assert got == pytest.approx(wanted, rel=1e-10)
    nested = expanded("y ~ x + (1 | g/h)")
    assert nested.columns["g_h"].values.tolist() == labels.tolist() and "r_g" in nested.model["priors"]


def test_correlated_effects_are_the_factor_times_standard_normal_numbers() -> None:
    declared = MODEL.build(data(), spec("y ~ x + (x | g)"))
    factor, u = np.array([[0.8, 0], [0.2, 0.5]]), RNG.normal(size=(4, 2))
    point = {"coefficients": np.array([0.4, -0.3]), "chol_g": factor, "r_g_offset": u, "sigma": 0.6}
    found = log_densities(declared, point)
    effects = u @ factor.T
    mu = 0.4 - 0.3 * X + effects[CODE, 0] + effects[CODE, 1] * X
    assert found["y_obs"] == pytest.approx(st.norm.logpdf(Y, mu, 0.6).sum(), rel=1e-10)
    assert found["r_g_offset"] == pytest.approx(normal(u), rel=1e-10)
    names = {item.name for item in declared.items if isinstance(item, Deterministic)}
    assert {"Intercept", "x", "sd_g", "cor_g", "r_g"} <= names
    assert {"chol_g", "coefficients", "r_g_offset"} <= declared.helpers
    assert declared.coords["g_pair"] == ["Intercept, x"] or list(declared.coords["g_pair"]) == ["Intercept, x"]


def test_effects_of_a_response_that_does_not_vary_have_reliability_0() -> None:
    rows = data(y=np.full(ROWS, 0.25))
    assert expanded("y ~ 1 + (1 | g)", rows, family="beta").notes[0].endswith("(reliability 0.00)")


def test_two_ordered_levels_have_a_cutpoint_without_an_order() -> None:
    rows = data(y=np.arange(ROWS) % 2)
    made = expanded("y ~ x", rows, family="cumulative").model["priors"]["cutpoints"]
    assert "transform" not in made and made["dims"] == ["cutpoint"]
    several = expanded("y ~ x", data(y=np.arange(ROWS) % 3), family="cumulative").model["priors"]["cutpoints"]
    assert several["transform"] == "ordered"


@pytest.mark.parametrize("model", ["regression", "glm_logistic"])
def test_a_run_evaluates_the_design_once(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    for module in (design_matrix, group_effects, population_term):
        counted = partial(_counted, seen, module.design)
        monkeypatch.setattr(module, "design", counted)
    prepare(parsed(f"model={model}", "tracking=none"))
    assert seen and len(seen) == len(set(seen))


def _counted(seen: list[str], design: Callable[..., Any], formula: Formula, *rest: Any) -> Any:
    seen.append(formula.text)
    return design(formula, *rest)


def test_the_centered_form_is_chosen_where_rows_tell_the_effects_of_their_groups() -> None:
    few = expanded("y ~ x + (1 | g)")
    assert few.model["priors"]["r_g"]["parameterization"] == "noncentered" and "non-centred" in few.notes[0]
    apart = expanded("y ~ x + (1 | g)", data(y=Y + 3.0 * CODE))
    assert apart.model["priors"]["r_g"]["parameterization"] == "centered"
    # one form for all effects: that of the least reliable
    steep = data(y=Y + 3.0 * CODE + 4.0 * (CODE - 1.5) * X)
    assert expanded("y ~ x + (x | g)", steep).model["priors"]["r_g"]["parameterization"] == "centered"
    alike = expanded("y ~ z + (z | g)", data(y=Y + 3.0 * CODE))
    assert alike.model["priors"]["r_g"]["parameterization"] == "noncentered"


def test_coefficients_of_groups_columns_belong_to_the_groups_effects() -> None:
    size = np.array([0.5, 0.0, 2.5, 1.0])
    rows = data(y=Y + 9.0 * CODE + 5.0 * (CODE - 1.5) * X + 9.0 * OTHER_CODE, size=size[CODE])
    declared = MODEL.build(rows, spec("y ~ x * size + z + (x | g)", options={"form": "whitened"}))
    shifted = next(i for i in declared.items if isinstance(i, Random) and i.name == "r_g_shifted")
    b = np.array([0.3, -0.7, 1.1, 0.4, 5.0])
    names = ["Intercept", "x", "size", "z", "x:size"]
    made = expanded("y ~ x * size + z + (x | g)", rows)
    order = [names.index(str(one)) for one in made.columns["column"].values]
    of = {"coefficients": b[order]}
    zero = {"coefficients": np.zeros(5)}
    mu = node_of(shifted.plan.values["mu"])
    # the intercepts are those at the groups' means of z, which is no effect
    means = np.array([Z[code == CODE].mean() for code in range(4)])
    wanted = np.stack([b[0] + b[2] * size + b[3] * means, b[1] + b[4] * size], axis=1)
    np.testing.assert_allclose(evaluate(mu, of.__getitem__) - evaluate(mu, zero.__getitem__), wanted, atol=1e-12)


@pytest.mark.parametrize(
    "groups",
    ["(1 | g/part)", "(1 | g:part) + (1 | g)", "(x | g/part)", "(1 | g:part) + (x || g)", "(x | g:part) + (1 | g)"],
)
def test_effects_of_parts_are_sampled_around_those_of_the_larger_groups(groups: str) -> None:
    part = np.repeat(["k", "l"], ROWS // 2)
    level = np.array([2.0, -2.0, 1.5, -1.5])[CODE] + np.where(part == "k", 3.0, -3.0)
    slopes = "(x | g:part)" in groups or "(x | g/part)" in groups
    rows = data(y=level * (1.0 + slopes * X) + 0.3 * Y, part=part)
    declared = MODEL.build(rows, spec(f"y ~ x + {groups}", options={"form": "whitened"}))
    names = [item.name for item in declared.items]
    shifted = next(i for i in declared.items if isinstance(i, Random) and i.name == "r_g_part_shifted")
    above = "r_g_shifted" if "r_g_shifted" in names else "r_g"
    assert names.index(above) < names.index("r_g_part_shifted") < names.index("r_g_part")
    larger = [
        effect for effect in ("Intercept", "x") if effect == "Intercept" or "(x | g)" in groups or "|| g" in groups
    ]
    larger = ["Intercept", "x"] if "(x | g/part)" in groups else larger
    own = ["Intercept", "x"] if slopes else ["Intercept"]
    effects = np.arange(1.0, 1.0 + 4 * len(larger)).reshape(4, len(larger))
    nothing = {"coefficients": np.zeros(2), above: 0.0 * effects}
    mu = node_of(shifted.plan.values["mu"])
    moved = evaluate(mu, {**nothing, above: effects}.__getitem__) - evaluate(mu, nothing.__getitem__)
    wanted = [effects[np.arange(8) // 2, larger.index(one)] if one in larger else np.zeros(8) for one in own]
    np.testing.assert_allclose(np.broadcast_to(moved, (8, len(own))), np.column_stack(wanted), atol=1e-12)


def test_groups_that_are_parts_of_others_are_known_by_their_labels() -> None:
    part = np.repeat(["k", "l"], ROWS // 2)
    level = np.array([2.0, -2.0, 1.5, -1.5])[CODE] + np.where(part == "k", 3.0, -3.0)
    rows = data(y=level + 0.3 * Y, part=part, both=np.char.add(GROUP, part))
    by_names, by_labels = expanded("y ~ 1 + (1 | g/part)", rows), expanded("y ~ 1 + (1 | g) + (1 | both)", rows)
    assert [note.split("(")[1] for note in by_labels.notes] == [note.split("(")[1] for note in by_names.notes]


def test_effects_of_larger_groups_are_no_variation_of_their_parts() -> None:
    part = np.repeat(["k", "l"], ROWS // 2)
    rows = data(y=Y + 30.0 * CODE, part=part)
    nested = expanded("y ~ 1 + (1 | g/part)", rows).model["priors"]
    assert nested["r_g_part"]["parameterization"] == "noncentered"


def test_known_standard_errors_tell_how_well_single_rows_determine_effects() -> None:
    rows = data(y=np.random.default_rng(3).normal(0, 1, ROWS), study=np.arange(ROWS), small=np.full(ROWS, 0.3))
    rows = rows.assign(large=rows["small"] * 20)
    forms = [expanded(f"y | se({of}) ~ 1 + (1 | study)", rows).model["priors"]["r_study"] for of in ("small", "large")]
    assert [form["parameterization"] for form in forms] == ["centered", "noncentered"]


def test_groups_within_a_group_are_noise_of_its_effect() -> None:
    part = np.repeat(["k", "l"], ROWS // 2)
    level = np.array([2.0, -2.0, 1.5, -1.5])[CODE] + np.where(part == "k", 3.0, -3.0)
    rows = data(y=level + 0.3 * Y, part=part)
    assert expanded("y ~ 1 + (1 | g)", rows).model["priors"]["r_g"]["parameterization"] == "centered"
    nested = expanded("y ~ 1 + (1 | g/part)", rows).model["priors"]
    assert nested["r_g"]["parameterization"] == "noncentered" and nested["r_g_part"]["parameterization"] == "centered"


def test_successes_of_trials_and_offsets() -> None:
    successes = RNG.integers(0, 8, size=ROWS)
    rows = data(s=successes, f=N - successes)
    b, sd, u = np.array([0.4, -0.3]), np.array([0.8]), RNG.normal(size=(4, 1))
    point = {"coefficients": b, "sd_g": sd, "r_g_offset": u}
    p = expit(b[0] + b[1] * X + (sd * u)[CODE, 0] + np.log(Z))
    wanted = normal(b, 2) + half_t(sd, 2.5) + normal(u) + st.binom.logpmf(successes, 7, p).sum()
    for left in ("cbind(s, f)", "s | trials(n)", "p(s, n)", "cbind(s, n - s)"):
        got = density(f"{left} ~ x + (1 | g) + offset(log(z))", point, rows, family="binomial")
        assert got == pytest.approx(wanted, rel=1e-10)


def test_weights_censoring_and_truncation_beside_the_response() -> None:
    b, sd, u, sigma = np.array([0.4, -0.3]), np.array([0.8]), RNG.normal(size=(4, 1)), 0.6
    point = {"coefficients": b, "sd_g": sd, "r_g_offset": u, "sigma": sigma}
    at = st.norm(b[0] + b[1] * X + (sd * u)[CODE, 0], sigma)
    status = np.array(["none", "left", "right", "interval"] * 10)
    rows = data(c=status, w=Z, top=Y + 0.5, code=np.array([0, -1, 1, 2] * 10))

    def likelihood(left: str) -> float:
        declared = MODEL.build(rows, spec(f"{left} ~ x + (1 | g)"))
        return log_densities(declared, point)["y_obs"]

    terms = [at.logpdf(Y), at.logcdf(Y), at.logsf(Y), np.log(at.cdf(Y + 0.5) - at.cdf(Y))]
    censored = np.choose([0, 1, 2, 3] * 10, terms)
    assert likelihood("y | cens(c, top)") == pytest.approx(censored.sum(), rel=1e-8)
    assert likelihood("y | cens(code, y2 = top) + weights(w)") == pytest.approx((Z * censored).sum(), rel=1e-8)
    # only intervals need an upper end
    ends = np.where(status == "interval", Y + 0.5, np.nan)
    rows = data(c=status, top=ends)
    assert likelihood("y | cens(c, top)") == pytest.approx(censored.sum(), rel=1e-8)
    settled, notes = settle(rows, MODEL.roles(spec("y | cens(c, top) ~ x + (1 | g)")), "rows")
    assert settled.sizes["obs"] == ROWS and not notes
    rows = data(c=status, top=np.where(np.arange(ROWS) == 7, np.nan, ends))
    (problem,) = MODEL.check(rows, spec("y | cens(c, top) ~ x + (1 | g)"))
    assert "'top' is missing in rows that are censored as intervals: obs 17" in problem.message
    rows = data(c=status)
    inside = at.logpdf(Y) - np.log(at.cdf(9.0) - at.cdf(-4.0))
    assert likelihood("y | trunc(lb = -4, ub = 9)") == pytest.approx(inside.sum(), rel=1e-8)


def test_missing_predictors_and_responses_are_imputed() -> None:
    x, y = X.copy(), Y.copy()
    x[[3, 7]], y[5] = np.nan, np.nan
    b, slope, sd, u, sigma = np.array([0.4, 0.2]), -0.3, np.array([0.8]), RNG.normal(size=(4, 1)), 0.6
    point = {"coefficients": b, "slope_of_x": slope, "x_mean": 0.1, "x_sd": 1.2, "sd_g": sd, "r_g_offset": u}
    point |= {"sigma": sigma, "x_missing": np.array([0.5, -1.0]), "y_obs_missing": np.array([2.0])}
    declared = MODEL.build(data(x=x, y=y), spec("y | mi() ~ mi(x) + z + (1 | g)"))
    found = log_densities(declared, point)
    x[[3, 7]], y[5] = [0.5, -1.0], 2.0
    mu = b[0] + b[1] * Z - 0.3 * x + (sd * u)[CODE, 0]
    assert found["y_obs"] == pytest.approx(st.norm.logpdf(y, mu, sigma).sum(), rel=1e-10)
    assert found["x"] == pytest.approx(st.norm.logpdf(x, 0.1, 1.2).sum(), rel=1e-10)
    assert "mi(x)" in {item.name for item in declared.items} and "slope_of_x" in declared.helpers


def test_a_formula_predicts_other_parameters_as_well() -> None:
    b, c, sd, u = np.array([0.4, -0.3]), np.array([-0.2, 0.1]), np.array([0.8]), RNG.normal(size=(4, 1))
    point = {"coefficients": b, "sigma_coefficients": c, "sd_sigma_g": sd, "r_sigma_g_offset": u}
    got = density({"mu": "y ~ x", "sigma": "~ z + (1 | g)"}, point, priors={"sigma_default": NORMAL})
    sigma = np.exp(c[0] + c[1] * Z + (sd * u)[CODE, 0])
    wanted = normal(b, 2) + normal(c, 2) + half_t(sd, 2.5) + normal(u)
    assert got == pytest.approx(wanted + st.norm.logpdf(Y, b[0] + b[1] * X, sigma).sum(), rel=1e-10)


def test_whitened_coefficients_have_the_same_density_up_to_a_constant() -> None:
    rows = data(w=3950 + 30 * X + 3 * Z)
    written = "y ~ x + w + C(h) + (1 | g)"
    declared = MODEL.build(rows, spec(written, options={"form": "whitened"}))
    direct = declared.reported
    assert direct is not None and direct.helpers == {"coefficients", "r_g_offset"}
    (basis,) = [i.value for i in declared.items if isinstance(i, Deterministic) and i.name == "coefficients"]
    differences = []
    for _ in range(5):
        z = RNG.normal(size=5)
        rest = {"sd_g": np.array([0.5]), "r_g_offset": RNG.normal(size=(4, 1)), "sigma": 0.7}
        there = evaluate(node_of(basis), {"coefficients_whitened": z}.__getitem__)
        whole = sum(log_densities(declared, {"coefficients_whitened": z, **rest}).values())
        differences.append(whole - sum(log_densities(direct, {"coefficients": there, **rest}).values()))
    np.testing.assert_allclose(differences, differences[0], atol=1e-6)


@pytest.mark.parametrize(
    "right",
    ["x + (x | g)", "x + (x || g) + (1 | h)", "z + (x | g)", "x * size + (x | g)", "size + (x || g)"],
)
def test_centered_effects_are_sampled_around_the_population_with_the_same_density(right: str) -> None:
    size = np.array([0.5, 0.0, 2.5, 1.0])[CODE]
    rows = data(y=Y + 9.0 * CODE + 5.0 * (CODE - 1.5) * X + 9.0 * OTHER_CODE, size=size)
    declared = MODEL.build(rows, spec(f"y ~ {right}", options={"form": "whitened"}))
    direct = declared.reported
    assert direct is not None and "r_g_shifted" in declared.helpers
    values = {item.name: item.value for item in declared.items if isinstance(item, Deterministic)}
    plans = {item.name: item.plan for item in declared.items if isinstance(item, Random)}
    differences = []
    for _ in range(4):
        point = {
            name: 0.3 * RNG.normal(size=of.shape) for name, of in plans.items() if of.family.name != "LKJCholeskyCov"
        }
        point |= {name: np.exp(point[name]) for name in point if name == "sigma" or name.startswith("sd_")}
        point |= {"chol_g": np.array([[0.8, 0], [0.2, 0.5]])} if "chol_g" in plans else {}
        whole = sum(log_densities(declared, point).values())
        there = dict(point)
        for name in ("coefficients", "r_g", "r_h"):
            if name in values:
                there[name] = evaluate(node_of(values[name]), there.__getitem__)
        differences.append(whole - sum(log_densities(direct, there).values()))
    np.testing.assert_allclose(differences, differences[0], atol=1e-6)


def test_priors_are_given_by_grouping_and_effect() -> None:
    priors = {
        "sd": {"g": {"dist": "Exponential", "lam": 2}, "h": {"Intercept": HALF, "x": {**HALF, "sigma": 1}}},
        "cor": {"g": {"dist": "LKJ", "eta": 2}},
    }
    made = expanded("y ~ x + (x | g) + (x || h)", priors=priors).model["priors"]
    assert made["chol_g"] == {
        "dist": "LKJCholeskyCov",
        "n": 2,
        "eta": 2.0,
        "sd_dist": {"dist": "Exponential", "lam": 2},
    }
    assert made["sd_h"] == {"dist": "HalfNormal", "sigma": [3, 1], "dims": ["h_effect"]}


def test_a_prior_of_another_family_is_the_terms_own() -> None:
    made = expanded("y ~ x + C(h) + (1 | g)", priors={"x": {"dist": "Laplace", "mu": 0, "b": 1}}).model
    assert {"dist": "Laplace", "mu": 0, "b": 1} in made["priors"].values()
    assert (
        made["deterministics"]["coefficients"]["expr"] == "concatenate(coefficients_0, coefficients_1, coefficients_2)"
    )


def test_the_defaults_of_group_effects_stay_without_effect_where_there_are_none() -> None:
    priors = {"sd": {"default": HALF}, "cor": {"default": {"dist": "LKJ", "eta": 2}}}
    for formula in ("y ~ x", "y ~ x + offset(z)"):
        this = spec(formula, priors=priors)
        assert not MODEL.static_check(this) and not MODEL.check(data(), this)


FAULTS = [
    ("y ~ x + 1 | g", {}, "needs parentheses"),
    ("y ~ (x | a b | g)", {}, "has 2 bars"),
    ("y ~ (1 | gr(g, by=h))", {}, "can't be a grouping"),
    ("y ~ ( | g)", {}, "both sides of the bar"),
    ("y ~ x - (1 | g)", {}, "removes a group term"),
    ("y ~ (x | g) + (0 + z | g)", {}, "several terms vary"),
    ("y ~ (1 | g) + (1 | g)", {}, "twice"),
    ("y ~ (__import__('os') | g)", {}, "can't be read"),
    ("y | weigths(w) ~ x", {}, "did you mean 'weights'"),
    ("y ~ x + (1 | g)", {"family": "beta_binomial"}, "needs the number of trials"),
    ("cbind(y, n) ~ x + (1 | g)", {"family": "poisson"}, "has no trials"),
    ("y ~ x + (1 | g)", {"family": "poison"}, "unknown family 'poison'"),
    ("y ~ x + (1 | g)", {"family": "gaussian"}, "here it is 'normal'"),
    ("y ~ x + (1 | g)", {"options": {"link": "probit"}}, "has no link 'probit'"),
    ("y ~ x + (1 | g)", {"priors": {"sd": {"k": HALF}}}, "no effects vary with 'k'"),
    ("y ~ x + (1 | g)", {"priors": {"sd": {"g": {"dist": "HalfNorml"}}}}, "unknown distribution 'HalfNorml'"),
    ("y ~ x + (1 | g)", {"priors": {"cor": {"g": {"dist": "Beta"}}}}, "LKJ"),
    ("y ~ x + (1 | g)", {"priors": {"w": NORMAL}}, "the model has no 'w'"),
    ({"mu": "y ~ x", "tau": "~ z"}, {}, "has no parameter 'tau'"),
    ({"mu": "y ~ x", "sigma": "y ~ z"}, {}, "a response of its own"),
]


@pytest.mark.parametrize(("formula", "keys", "told"), FAULTS, ids=[str(f[0]) + str(list(f[1])) for f in FAULTS])
def test_what_is_wrong_is_told_without_data(formula: Any, keys: dict[str, Any], told: str) -> None:
    assert told in "\n".join(map(str, MODEL.static_check(spec(formula, **keys))))


@pytest.mark.parametrize(
    ("formula", "keys", "told"),
    [
        ("y ~ x + (1 | g)", {"family": "poisson"}, "must be counts"),
        ("y ~ x + (1 | one)", {}, "a single group"),
        ("y ~ x + twice + (1 | g)", {}, "columns are collinear"),
    ],
)
def test_what_the_data_show_is_told_before_sampling(formula: str, keys: dict[str, Any], told: str) -> None:
    assert told in "\n".join(map(str, MODEL.check(data(one=np.full(ROWS, "k"), twice=2 * X), spec(formula, **keys))))


def test_group_terms_are_taken_out_of_the_formula() -> None:
    population, groups = split("x*z + (1 + x | g) + log(z) - 1 + (0 + z || h)", "key", "text")
    assert population == "x*z + log(z) - 1"
    assert [(g.columns, g.effects.terms, g.correlated) for g in groups] == [
        (("g",), ("Intercept", "x"), True),
        (("h",), ("z",), False),
    ]
    assert [g.columns for g in split("(1 | g/h)", "key", "text")[1]] == [("g",), ("g", "h")]
    ((merged,),) = [split("(1 | g) + (0 + x | g)", "key", "text")[1]]
    assert merged.effects.terms == ("Intercept", "x") and not merged.correlated


def _over(rows: xr.Dataset, this: RegressionSpec, new_levels: bool) -> tuple[Declaration, Declaration]:
    """Fit, keep and read what was learned, and declare over new rows."""
    from bayesrun.data.design import FittedDesign

    fit = MODEL.build(data(), this)
    design = FittedDesign("obs", {}, {}, {}, {}, {}, {}, {}, xr.Dataset())
    kept: FittedModel = fitted_model(fit, design, None, None)
    assert MODEL.at_rows is not None
    return fit, MODEL.at_rows(NewRows(rows, kept.model, kept.quantities, kept.likelihoods, {}, new_levels), this)


def test_new_rows_are_seen_through_the_fit_and_new_groups_are_refused_or_drawn() -> None:
    rows = xr.Dataset({"x": ("obs", [0.5, 2.0]), "g": ("obs", ["b", "q"])}, {"obs": [7, 8]})
    this = spec("y ~ standardize(x) + (x | g)")
    with pytest.raises(UserError, match="not fitted to 'q' of 'g'"):
        _over(rows, this, False)
    _, known = _over(rows.isel(obs=[0]), this, False)
    (likelihood,) = [item for item in known.items if isinstance(item, Likelihood)]
    names = {"Intercept": 0.4, "standardize(x)": -0.3, "sd_g": np.array([0.8, 0.5]), "cor_g": np.array([0.25])}
    effects = RNG.normal(size=(4, 2))
    values = {**names, "r_g": effects, **_numbers(known)}
    for item in known.items:
        if isinstance(item, Deterministic):
            values[item.name] = evaluate(node_of(item.value), values.__getitem__)
    got = evaluate(node_of(likelihood.plan.values["mu"]), values.__getitem__)
    wanted = 0.4 - 0.3 * (0.5 - X.mean()) / X.std(ddof=1) + effects[1, 0] + effects[1, 1] * 0.5
    np.testing.assert_allclose(got, [wanted], rtol=1e-10)
    np.testing.assert_allclose(values["chol_g"], [[0.8, 0], [0.125, 0.5 * np.sqrt(1 - 0.25**2)]], rtol=1e-10)
    _, drawn = _over(rows, this, True)
    (effect,) = [item for item in drawn.items if item.name == "r_g"]
    assert effect.plan.shape == (5, 2) and effect.plan.family.name == "MvNormal"


def _numbers(declared: Declaration) -> dict[str, Any]:
    from bayesrun.language.declaration import Container

    return {item.name: item.numbers for item in declared.items if isinstance(item, Container)}


PIECES = (
    *("y", "x", "z", "g", "h", "1", "0", "2", "~", "~", "+", "-", "*", ":", "/", "|", "|", "||", "(", ")", "(", ")"),
    *("(1 | g)", "(x | g)", "(0 + x || g/h)", "offset(", "log(", "cbind(", "trials(n)", "weights(w)", "cens(x)", ","),
    *(
        "mi(",
        "mi(x)",
        "C(g)",
        "poly(x, 2)",
        "'",
        '"',
        "`",
        "[",
        "]",
        "{",
        "}",
        "$",
        "\\",
        "**",
        "=",
        "==",
        ".",
        "I(x**2)",
    ),
    *("__import__('os').system('true')", "lambda: 0", "x.__class__", "\n", "\x00", "é", "%in%", "s(x)", "gr(g, by=h)"),
    *("I(", "factor(", "scale(log(x))", "^", "resp_weights(w)", "(poly(x, 2) | g:h)", "mm(g, h)", "–", "raw=TRUE", "#"),
    *("s(x, k=5)", "s(z, by=g)", "t2(x, z, k=3)", "hsgp(x)", "hsgp(", "mo(n)", "mo(", "by=", "k=", "s("),
    *("cs(x)", "cs(", "me(x, z)", "ar(p = 1)", "nl = TRUE", ", sigma ~ z", "(mo(n) | g)", "(1 | mm(g, h))", "mi()"),
    *("(x | gr(g, id = p, cor = F))", "gr(g, id=", "(x | p | g)", "(z | q | g)", "mvbind(y, z)", "log(x, 2)", "lf("),
    *("cens(x, z)", "se(z)", "trunc(lb = 0)", "`x", "x.1", "0.5", "1e400", "9**9", "data = d", "!"),
)


def test_whatever_is_written_is_read_or_refused_with_words() -> None:
    """Formulas of random pieces: no formula raises anything, and what passes can be expanded or is refused."""
    rng = np.random.default_rng(6)
    rows, passed = data(w=Z), 0
    for _ in range(4_000):
        text = " ".join(rng.choice(PIECES, size=rng.integers(1, 9)))
        family = str(rng.choice(["normal", "binomial", "sequential", "weibull"]))
        made = spec(f"y ~ {text}" if rng.random() < 0.6 else text, family=family)
        if problems := MODEL.static_check(made):
            assert all(p.key.startswith("model.") and len(p.message) > 10 for p in problems)
            continue
        assert all(role.key.startswith("model.") for role in MODEL.roles(made))
        if all(role.variable in rows for role in MODEL.roles(made)):
            passed += not MODEL.check(rows, made)
    assert passed > 20
