"""Priors of all coefficients together: their densities by hand, and the facts that their authors derive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pytest
import scipy.stats as st
import xarray as xr
import yaml

from bayesrun.language.declaration import Container, Declaration, Deterministic, Likelihood
from bayesrun.language.operations import evaluate
from bayesrun.language.values import node_of
from bayesrun.models import regression
from bayesrun.models.base import NewRows
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.predict.fitted_model import fitted_model
from tests.conftest import Command
from tests.contract.numpy_engine.engine import log_densities

MODEL = regression.MODEL
ROWS, RNG = 50, np.random.default_rng(7)
X = RNG.normal([5, -20, 0], [1, 4, 0.1], size=(ROWS, 3))
Y = 3 + X @ [0.5, 0.1, 2.0] + RNG.normal(size=ROWS)
R2D2 = {"dist": "R2D2", "mean_R2": 0.3, "prec_R2": 5, "cons_D2": 0.7}
HORSESHOE = {"dist": "Horseshoe", "par_ratio": 0.4, "scale_slab": 3, "df_slab": 6}
OWN = {"Intercept": {"dist": "Normal", "mu": 1, "sigma": 9}, "sigma": {"dist": "HalfNormal", "sigma": 3}}
INTERCEPT, SIGMA, Z = 0.8, 0.6, np.array([0.3, -1.2, 2.0])
LOCALS, TAU, SLAB = np.array([0.2, 1.5, 40.0]), 0.07, 1.3
PHI, R2 = np.array([0.2, 0.5, 0.3]), 0.4


def data(**variables: Any) -> xr.Dataset:
    given = {"y": Y, "a": X[:, 0], "b": X[:, 1], "c": X[:, 2], **variables}
    made = xr.Dataset({n: ("obs", v) for n, v in given.items()}, coords={"obs": np.arange(ROWS)})
    return made.assign_attrs(dim="obs")


def spec(default: Any, formula: Any = "y ~ a + b + c", form: str = "direct", **keys: Any) -> RegressionSpec:
    priors = {**OWN, "default": default, **keys.pop("priors", {})}
    return RegressionSpec(
        name="m",
        type="regression",
        formula=formula,
        priors=priors,
        options={"form": form, **keys.pop("options", {})},
        **keys,
    )


def built(*args: Any, **keys: Any) -> Declaration:
    this = spec(*args, **keys)
    assert not MODEL.static_check(this) and not MODEL.check(data(), this)
    return MODEL.build(data(), this)


def test_r2d2_has_the_density_that_is_written_by_hand() -> None:
    point = {"coefficients_0": INTERCEPT, "R2D2_R2": R2, "R2D2_phi": PHI, "R2D2_z_offset": Z, "sigma": SIGMA}
    got = sum(log_densities(built(R2D2), point).values())
    b = Z / X.std(axis=0) * SIGMA * np.sqrt(PHI * R2 / (1 - R2))
    wanted = st.norm.logpdf(INTERCEPT, 1, 9) + st.halfnorm.logpdf(SIGMA, scale=3) + st.norm.logpdf(Z).sum()
    wanted += st.beta.logpdf(R2, 1.5, 3.5) + st.dirichlet.logpdf(PHI, [0.7] * 3)
    assert got == pytest.approx(wanted + st.norm.logpdf(Y, INTERCEPT + X @ b, SIGMA).sum(), rel=1e-9)


def _half_t(x: Any, nu: float, scale: float = 1.0) -> float:
    return float(np.sum(np.log(2) + st.t.logpdf(x, nu, scale=scale)))


def _shrunk(scale: float) -> Any:
    c2 = (3 * scale) ** 2 * SLAB
    return Z / X.std(axis=0) * TAU * np.sqrt(c2 * LOCALS**2 / (c2 + TAU**2 * LOCALS**2))


HORSESHOE_AT = {"hs_global": TAU, "hs_slab": SLAB, "hs_local": LOCALS, "hs_z_offset": Z, "coefficients_0": INTERCEPT}


def test_the_horseshoe_has_the_density_that_is_written_by_hand() -> None:
    got = sum(log_densities(built(HORSESHOE), {**HORSESHOE_AT, "sigma": SIGMA}).values())
    wanted = st.norm.logpdf(INTERCEPT, 1, 9) + st.halfnorm.logpdf(SIGMA, scale=3) + st.norm.logpdf(Z).sum()
    wanted += _half_t(LOCALS, 1) + _half_t(TAU, 1, 0.4 / np.sqrt(ROWS) * SIGMA) + st.invgamma.logpdf(SLAB, 3, scale=3)
    wanted += st.norm.logpdf(Y, INTERCEPT + X @ _shrunk(Y.std()), SIGMA).sum()
    assert got == pytest.approx(wanted, rel=1e-9)


def test_without_a_sigma_the_unit_is_the_scale_of_the_link() -> None:
    counts = RNG.poisson(2, size=ROWS)
    this = spec(HORSESHOE, "k ~ a + b + c", family="poisson")
    got = sum(log_densities(MODEL.build(data(k=counts), this), HORSESHOE_AT).values())
    wanted = st.norm.logpdf(INTERCEPT, 1, 9) + st.norm.logpdf(Z).sum() + st.invgamma.logpdf(SLAB, 3, scale=3)
    wanted += _half_t(LOCALS, 1) + _half_t(TAU, 1, 0.4 / np.sqrt(ROWS))
    wanted += st.poisson.logpmf(counts, np.exp(INTERCEPT + X @ _shrunk(1.0))).sum()
    assert got == pytest.approx(wanted, rel=1e-9)


def test_what_is_sampled_has_the_same_density_with_the_intercept_at_the_means() -> None:
    sampled = built(R2D2, form="whitened")
    assert "coefficients_0_at_means" in sampled.helpers and sampled.reported is not None
    b = Z / X.std(axis=0) * SIGMA * np.sqrt(PHI * R2 / (1 - R2))
    point = {"R2D2_R2": R2, "R2D2_phi": PHI, "R2D2_z_offset": Z, "sigma": SIGMA}
    direct = sum(log_densities(built(R2D2), {**point, "coefficients_0": INTERCEPT}).values())
    moved = {**point, "coefficients_0_at_means": INTERCEPT + X.mean(axis=0) @ b}
    assert sum(log_densities(sampled, moved).values()) == pytest.approx(direct, rel=1e-9)


def test_terms_with_their_own_prior_and_other_parameters_stand_beside() -> None:
    formula = {"mu": "y ~ a + b + c", "sigma": "~ a + b"}
    declared = built(R2D2, formula, priors={"b": {"dist": "Normal", "mu": 0, "sigma": 1}, "sigma_default": HORSESHOE})
    found = {item.name: item for item in declared.items if isinstance(item, Deterministic)}
    values = {"R2D2_R2": R2, "R2D2_phi": PHI[:2] / PHI[:2].sum(), "coefficients_0": 1.0, "coefficients_2": 7.0}
    values |= {"R2D2_z_offset": Z[:2], "sigma_coefficients_0": -1.0, "sigma_hs_local": LOCALS[:2]}
    values |= {"sigma_hs_z_offset": Z[:2], "sigma_hs_global": TAU, "sigma_hs_slab": SLAB}
    for name, item in found.items():
        values[name] = evaluate(node_of(item.value), values.__getitem__)
    a = Z[0] / X[:, 0].std() * Y.std() * np.sqrt(values["R2D2_phi"][0] * R2 / (1 - R2))  # sigma is not one number
    assert values["coefficients"][[0, 2]].tolist() == [1.0, 7.0] and values["a"] == pytest.approx(a)
    assert values["sigma_Intercept"] == -1.0 and values["sigma_b"] == pytest.approx(values["sigma_coefficients"][2])


def test_the_effective_number_of_coefficients_is_that_of_piironen_and_vehtari() -> None:
    """With `tau = p0 / (D - p0) sigma / sqrt(n)` the prior mean of `sum 1 - kappa_j` is `p0` (their section 3.3)."""
    columns, nonzero = 20, 5.0
    rows = data(**{f"x{k}": RNG.normal(2, 3, size=ROWS) for k in range(columns)})
    default = {"dist": "Horseshoe", "par_ratio": nonzero / (columns - nonzero), "scale_slab": 1e8}
    this = spec(default, "y ~ " + " + ".join(f"x{k}" for k in range(columns)))
    declared = MODEL.build(rows, this)
    (tau,) = [item for item in declared.items if item.name == "hs_global"]
    width = float(evaluate(node_of(tau.plan.values["sigma"]), {"sigma": SIGMA}.__getitem__))  # type: ignore[union-attr]
    (widths,) = [i for i in declared.items if isinstance(i, Deterministic) and i.name == "hs_widths"]
    locals_ = st.halfcauchy.ppf((np.arange(200_000) + 0.5) / 200_000)
    values = {"hs_global": width, "hs_slab": 1.0, "hs_local": locals_, "sigma": SIGMA}
    sds = evaluate(node_of(widths.value), values.__getitem__)
    kept = 1 - 1 / (1 + ROWS * sds**2 / SIGMA**2)
    assert columns * kept.mean() == pytest.approx(nonzero, rel=1e-4)


def test_prior_draws_have_the_r2_that_a_sweep_declares(tmp_path: Path, bayesrun: Command) -> None:
    table = {"y": Y.tolist(), "a": X[:, 0].tolist(), "b": X[:, 1].tolist(), "c": X[:, 2].tolist()}
    model = {"defaults": [{"/data@_global_.data": "rows"}, "_self_"], "name": "m", "type": "regression"}
    model |= {"formula": "y ~ a + b + c", "priors": {**OWN, "default": {"dist": "R2D2", "mean_R2": 0.5, "prec_R2": 5}}}
    for group, name, content in (
        ("model", "m", model),
        ("data", "rows", {"name": "rows", "source": "inline", "values": table}),
    ):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text(yaml.safe_dump(content))
    words = ("model=m", "sampler=prior", "sampler.draws=2000", "sampler.chains=1", "tracking=none", "model.figures=[]")
    swept = ("-m", "model.priors.default.mean_R2=0.2,0.5")
    done = bayesrun(f"--config-dir={tmp_path}", *words, *swept, f"paths.outputs={tmp_path}/out")
    assert done.returncode in (0, 3), done.stderr
    runs = sorted(tmp_path.glob("out/sweeps/*/*/[01]/posterior.nc"), key=str)
    assert len(runs) == 2
    for path in runs:
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        mean = config["model"]["priors"]["default"]["mean_R2"]
        draws = az.from_netcdf(path).posterior
        assert set(draws.data_vars) == {"R2D2_R2", "sigma", "Intercept", "a", "b", "c"}
        r2, sigma = draws["R2D2_R2"].values.ravel(), draws["sigma"].values.ravel()
        assert st.kstest(r2, st.beta(5 * mean, 5 - 5 * mean).cdf).pvalue > 1e-3
        explained = sum((draws[n].values.ravel() * sd) ** 2 for n, sd in zip("abc", X.std(axis=0), strict=True))
        ratio = explained / (sigma**2 * r2 / (1 - r2))  # its mean is 1 whatever R2 and the shares are
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(ratio.size)


def test_new_rows_take_the_coefficients_of_the_fit_beside_new_groups() -> None:
    from bayesrun.data.design import FittedDesign

    this = spec(R2D2, "y ~ a + b + (1 | g)", form="whitened")
    fit = MODEL.build(data(g=np.tile(list("pqrst"), 10)), this)
    kept = fitted_model(fit, FittedDesign("obs", {}, {}, {}, {}, {}, {}, {}, xr.Dataset()), None, None)
    rows = xr.Dataset({"a": ("obs", [6.0]), "b": ("obs", [2.0]), "g": ("obs", ["new"])}, {"obs": [0]})
    assert MODEL.at_rows is not None
    over = MODEL.at_rows(NewRows(rows, kept.model, kept.quantities, kept.likelihoods, {}, True), this)
    values: dict[str, Any] = {"Intercept": 1.0, "a": 2.0, "b": 3.0, "r_g": np.zeros((6, 1)), "sigma": SIGMA}
    values |= {item.name: item.numbers for item in over.items if isinstance(item, Container)}
    for item in over.items:
        if isinstance(item, Deterministic):
            values[item.name] = evaluate(node_of(item.value), values.__getitem__)
    (likelihood,) = [item for item in over.items if isinstance(item, Likelihood)]
    assert evaluate(node_of(likelihood.plan.values["mu"]), values.__getitem__) == pytest.approx([1 + 12 + 6])


@pytest.mark.parametrize(
    ("default", "keys", "told"),
    [
        ({"dist": "R2D2", "mean_R2": 1.5}, {}, "model.priors.default.mean_R2: must be between 0 and 1"),
        ({"dist": "R2D2", "mean": 0.5}, {}, "R2D2 has no parameter 'mean'"),
        ({"dist": "R2D2", "cons_D2": [1, 2]}, {}, "model.priors.default.cons_D2: must have one number for each of 3"),
        ({"dist": "Horseshoe", "par_ratio": 0.1, "scale_global": 1}, {}, "can't be given with scale_global"),
        ({"dist": "Horseshoe", "df": 0}, {}, "model.priors.default.df: must be a number above 0"),
        (OWN["Intercept"], {"priors": {"a": R2D2}}, "R2D2 is a prior of all coefficients together"),
        (R2D2, {"formula": "y ~ a + mi(b)"}, "R2D2 does not cover 'mi(b)': it needs its own prior"),
    ],
)  # fmt: skip
def test_errors_name_the_key_and_what_is_allowed(default: Any, keys: dict[str, Any], told: str) -> None:
    this = spec(default, **keys)
    assert told in "\n".join(map(str, MODEL.static_check(this) or MODEL.check(data(), this)))
