"""Published regressions have the posteriors of brms under the same priors: means and sds within Monte Carlo error.

`published/brms.csv` holds the means, sds and Monte Carlo errors of brms 2.18.0 (2 chains of 4,000 draws each), which
`published/brms.R` makes; `published/smooths.csv` those of `published/smooths.R`, and `published/bugs.csv` those of an
example of BUGS. `published/README.md` names the sources of
the data. One sweep fits all cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from bayesrun.models.regression.linear_terms import Rows
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec
from tests.conftest import Command

HERE = Path(__file__).parent
REFERENCES = pd.concat(pd.read_csv(HERE / f"published/{name}.csv") for name in ("brms", "smooths", "bugs")).set_index(
    "fit"
)
DRAWS = 8000  # of brms
FEW = (
    "sampler.chains=2",
    "sampler.tune=500",
    "sampler.draws=1000",
    "predictive.prior=0",
    "predictive.posterior=false",
    "model.figures=[]",
)
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """A published fit.

    Parameters
    ----------
    table
        The data: a file of `published`, or one that another reference test has.
    names
        The reference's names of the quantities to ours: a variable, or a variable with a label or a position.
    model
        The regression.
    data
        Further keys of the data set.
    shift
        What the reference's intercepts have beyond ours, as multiples of coefficients: our predictors are centred.
    """

    table: str
    names: Mapping[str, str | tuple[str, str | int]]
    model: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)
    shift: Mapping[str, float] = field(default_factory=dict)


def normal(sigma: float) -> dict[str, Any]:
    return {"dist": "Normal", "mu": 0, "sigma": sigma}


def half_normal(sigma: float) -> dict[str, Any]:
    return {"dist": "HalfNormal", "sigma": sigma}


def gamma(alpha: float, beta: float) -> dict[str, Any]:
    return {"dist": "Gamma", "alpha": alpha, "beta": beta}


def coefficients(sigma: float) -> dict[str, Any]:
    """Return the same prior of the intercept and of all coefficients."""
    return {"Intercept": normal(sigma), "default": normal(sigma)}


def same(*names: str) -> dict[str, str]:
    """Return coefficients that brms calls `b_NAME`."""
    return {f"b_{name}": name for name in names}


def shares(reference: str, ours: str, number: int) -> dict[str, tuple[str, str | int]]:
    """Return the simplex of a monotonic effect."""
    return {f"simo_{reference}1[{k + 1}]": (f"simo_{ours}", k) for k in range(number)}


def thresholds(number: int) -> dict[str, tuple[str, str | int]]:
    return {f"b_Intercept[{k + 1}]": ("cutpoints", k) for k in range(number)}


# 1 / sd, as that of an sd whose precision is Gamma(0.001, 0.001), within a share of 1e-3 of any sd here
PRECISION_GAMMA = {"dist": "LogNormal", "mu": 1, "sigma": 10, "initval": 2.0}
ORDINAL = {"cutpoints": normal(10), "default": normal(5)}
TIMES = ("5", "10", "15", "20", "25", "30", "35", "40", "50")  # at which the curve of mcycle is compared
INHALER = same("treat", "period", "carry")
GAPS = np.flatnonzero(pd.read_csv(HERE / "published/imputed.csv")["x"].isna())
CASES: Mapping[str, Case] = {
    # Reaction ~ Days + (Days | Subject): Bates et al. 2015, doi:10.18637/jss.v067.i01
    "sleepstudy": Case(
        "data/sleepstudy.csv",
        {
            **same("Intercept", "Days"),
            "sd_Subject__Intercept": ("sd_Subject", "Intercept"),
            "sd_Subject__Days": ("sd_Subject", "Days"),
            "cor_Subject__Intercept__Days": ("cor_Subject", 0),
            "sigma": "sigma",
        },
        {
            "formula": "Reaction ~ Days + (Days | Subject)",
            "priors": {
                **coefficients(500),
                "sd": half_normal(50),
                "sigma": half_normal(50),
                "cor": {"dist": "LKJ", "eta": 2},
            },
        },
    ),
    # incidence | trials(size) ~ period + (1 | herd), binomial: lme4's ?cbpp
    "cbpp": Case(
        "data/cbpp.csv",
        {
            **same("Intercept"),
            **{f"b_period{k}": ("C(period)", str(k)) for k in (2, 3, 4)},
            "sd_herd__Intercept": ("sd_herd", "Intercept"),
        },
        {
            "formula": "incidence | trials(size) ~ C(period) + (1 | herd)",
            "family": "binomial",
            "priors": {**coefficients(5), "sd": half_normal(2)},
        },
    ),
    # count ~ zAge + zBase * Trt + (1 | patient), poisson: brms' ?epilepsy
    "epilepsy": Case(
        "published/epilepsy.csv",
        {
            **same("Intercept", "zAge", "zBase"),
            "b_Trt1": "Trt",
            "b_zBase:Trt1": "zBase:Trt",
            "sd_patient__Intercept": ("sd_patient", "Intercept"),
        },
        {
            "formula": "count ~ zAge + zBase * Trt + (1 | patient)",
            "family": "poisson",
            "priors": {**coefficients(5), "sd": half_normal(2)},
        },
    ),
    # ordered(rating) ~ temp + contact + (1 | judge), cumulative: ordinal's ?wine, clmm. brms' prior is that of the
    # thresholds at the means of the predictors, where half the bottles are warm and half had contact
    "wine": Case(
        "published/wine.csv",
        {
            **thresholds(4),
            "b_tempwarm": "warm",
            "b_contactyes": "skin",
            "sd_judge__Intercept": ("sd_judge", "Intercept"),
        },
        {
            "formula": "rating ~ warm + skin + (1 | judge)",
            "family": "cumulative",
            "priors": {**ORDINAL, "sd": half_normal(3)},
        },
        {"derive": {"warm": "where(temp == 'warm', 0.5, -0.5)", "skin": "where(contact == 'yes', 0.5, -0.5)"}},
        {"warm": 0.5, "skin": 0.5},
    ),
    # Sat | weights(Freq) ~ Infl + Type + Cont, cumulative: MASS's ?housing, polr
    "housing": Case(
        "published/housing.csv",
        {
            **thresholds(2),
            **{f"b_Infl{level}": ("Infl", level) for level in ("Medium", "High")},
            **{f"b_Type{level}": ("Type", level) for level in ("Apartment", "Atrium", "Terrace")},
            "b_ContHigh": ("Cont", "High"),
        },
        {"formula": "Sat | weights(Freq) ~ Infl + Type + Cont", "family": "cumulative", "priors": ORDINAL},
        {
            "levels": {
                "Sat": ["Low", "Medium", "High"],
                "Infl": ["Low", "Medium", "High"],
                "Type": ["Tower", "Apartment", "Atrium", "Terrace"],
                "Cont": ["Low", "High"],
            }
        },
    ),
    # time | cens(1 - status) ~ celltype + karno, weibull: survival's ?veteran, Kalbfleisch and Prentice 1980
    "veteran": Case(
        "published/veteran.csv",
        {
            **same("Intercept", "karno"),
            **{f"b_celltype{cell}": ("celltype", cell) for cell in ("large", "smallcell", "squamous")},
            "shape": "alpha",
        },
        {
            "formula": "time | cens(1 - status) ~ celltype + karno",
            "family": "weibull",
            "priors": {**coefficients(10), "alpha": gamma(2, 1)},
        },
    ),
    # time | cens(censored) ~ age + sex + (1 | patient), lognormal: brms' ?kidney, McGilchrist and Aisbett 1991
    "kidney": Case(
        "published/kidney.csv",
        {
            **same("Intercept", "age"),
            "b_sexmale": ("sex", "male"),
            "sd_patient__Intercept": ("sd_patient", "Intercept"),
            "sigma": "sigma",
        },
        {
            "formula": "time | cens(censored) ~ age + sex + (1 | patient)",
            "family": "lognormal",
            "priors": {**coefficients(10), "sd": half_normal(2), "sigma": half_normal(5)},
        },
    ),
    # body_mass_g ~ species + sex + flipper_length_mm, sigma ~ sex: palmerpenguins
    "penguins": Case(
        "published/penguins.csv",
        {
            **same("Intercept", "flipper_length_mm"),
            "b_speciesChinstrap": ("species", "Chinstrap"),
            "b_speciesGentoo": ("species", "Gentoo"),
            "b_sexmale": ("sex", "male"),
            "b_sigma_Intercept": "sigma_Intercept",
            "b_sigma_sexmale": ("sigma_sex", "male"),
        },
        {
            "formula": {"mu": "body_mass_g ~ species + sex + flipper_length_mm", "sigma": "~ sex"},
            "priors": {**coefficients(5000), "sigma_Intercept": normal(10), "sigma_default": normal(10)},
        },
    ),
    # y ~ roach100 + treatment + senior + offset(log(exposure2)), zero-inflated: rstanarm's ?roaches, Gelman and Hill
    "roaches": Case(
        "published/roaches.csv",
        {**same("Intercept", "roach100", "treatment", "senior"), "shape": "alpha", "zi": "zi"},
        {
            "formula": "y ~ roach100 + treatment + senior + offset(log(exposure2))",
            "family": "zero_inflated_negative_binomial",
            "priors": {**coefficients(5), "alpha": gamma(2, 2), "zi": {"dist": "Beta", "alpha": 1, "beta": 1}},
        },
        {"derive": {"roach100": "roach1 / 100"}},
    ),
    # log_radon ~ floor + log_uranium + (floor | county): rstanarm's ?radon, Gelman and Hill 2007, chapter 12
    "radon": Case(
        "published/radon.csv",
        {
            **same("Intercept", "floor", "log_uranium"),
            "sd_county__Intercept": ("sd_county", "Intercept"),
            "sd_county__floor": ("sd_county", "floor"),
            "cor_county__Intercept__floor": ("cor_county", 0),
            "sigma": "sigma",
        },
        {
            "formula": "log_radon ~ floor + log_uranium + (floor | county)",
            "priors": {
                **coefficients(5),
                "sd": half_normal(2),
                "sigma": half_normal(2),
                "cor": {"dist": "LKJ", "eta": 2},
            },
        },
    ),
    # ordered(rating) ~ treat + period + carry + (1 | subject): brms' ?inhaler, Ezzet and Whitehead 1991
    "inhaler_cumulative": Case(
        "published/inhaler.csv",
        {**thresholds(3), **INHALER, "sd_subject__Intercept": ("sd_subject", "Intercept")},
        {
            "formula": "rating ~ treat + period + carry + (1 | subject)",
            "family": "cumulative",
            "priors": {**ORDINAL, "sd": half_normal(3)},
        },
    ),
    "inhaler_sratio": Case(
        "published/inhaler.csv",
        {**thresholds(3), **INHALER},
        {"formula": "rating ~ treat + period + carry", "family": "sequential", "priors": ORDINAL},
    ),
    # accel ~ s(times): MASS's ?mcycle, Silverman 1985; the curve at some times, and the sd of what bends
    "mcycle": Case(
        "published/mcycle.csv",
        {"sigma": "sigma", "sds_stimes_1": "sds_s_times", **{f"curve[{at}]": ("curve", at) for at in TIMES}},
        {
            "formula": "accel ~ s(times)",
            "priors": {**coefficients(1000), "sds": half_normal(100), "sigma": half_normal(100)},
        },
    ),
    # ncases | trials(n) ~ mo(age) + mo(alc) + mo(tob): R's ?esoph, Breslow and Day 1980
    "esoph": Case(
        "published/esoph.csv",
        {
            **same("Intercept"),
            **{f"bsp_mo{name}": f"mo({name})" for name in ("age", "alc", "tob")},
            **shares("moage", "mo_age", 5),
            **shares("moalc", "mo_alc", 3),
            **shares("motob", "mo_tob", 3),
        },
        {
            "formula": "ncases | trials(n) ~ mo(age) + mo(alc) + mo(tob)",
            "family": "binomial",
            "priors": coefficients(5),
        },
    ),
    "esoph_interaction": Case(
        "published/esoph.csv",
        {
            **same("Intercept", "tob"),
            **{"bsp_moage": "mo(age)", "bsp_moalc": "mo(alc)", "bsp_moalc:tob": "mo(alc):tob"},
            **shares("moage", "mo_age", 5),
            **shares("moalc", "mo_alc", 3),
            **shares("moalc:tob", "mo_alc_tob", 3),
        },
        {
            "formula": "ncases | trials(n) ~ mo(age) + mo(alc) * tob",
            "family": "binomial",
            "priors": coefficients(5),
        },
    ),
    # y ~ x1 + ... + x12 with R2D2(0.5, 2, 0.5), of standardised columns
    "sparse_r2d2": Case(
        "published/sparse.csv",
        {**same("Intercept", *(f"x{k}" for k in range(1, 13))), "sigma": "sigma", "R2D2_R2": "R2D2_R2"},
        {
            "formula": "y ~ " + " + ".join(f"x{k}" for k in range(1, 13)),
            "priors": {
                "default": {"dist": "R2D2", "mean_R2": 0.5, "prec_R2": 2, "cons_D2": 0.5},
                "Intercept": {"dist": "StudentT", "nu": 3, "mu": 0, "sigma": 2.5},
                "sigma": {"dist": "HalfStudentT", "nu": 3, "sigma": 2.5},
            },
        },
    ),
    # bf(y ~ mi(x) * z) + bf(x | mi() ~ z), with imputed values
    "imputed": Case(
        "published/imputed.csv",
        {
            **{"b_y_Intercept": "Intercept", "b_y_z": "z", "bsp_y_mix": "mi(x)", "bsp_y_mix:z": "mi(x):z"},
            **{"b_x_Intercept": "x_Intercept", "b_x_z": "x_z", "sigma_y": "sigma", "sigma_x": "x_sigma"},
            **{f"Ymi_x[{row + 1}]": ("x_missing", k) for k, row in enumerate(GAPS)},
        },
        {
            "formula": {"mu": "y ~ mi(x) * z", "x": "x | mi() ~ z"},
            "priors": {
                **coefficients(5),
                "sigma": half_normal(2),
                "x_default": normal(5),
                "x_Intercept": normal(5),
                "x_sigma": half_normal(2),
            },
        },
    ),
    # OpenBUGS' example Rats, which prints alpha0 = 106.6 (sd 3.66) and beta.c = 6.186 (0.109): Gelfand et al. 1990
    "rats": Case(
        "published/rats.csv",
        {
            "alpha0": "Intercept",
            "beta.c": "days",
            "sigma": "sigma",
            "sd_alpha": ("sd_rat", "Intercept"),
            "sd_beta": ("sd_rat", "days"),
        },
        {
            "formula": "weight ~ days + (days || rat)",
            "priors": {**coefficients(1000), "sd": PRECISION_GAMMA, "sigma": PRECISION_GAMMA},
        },
        {"derive": {"days": "age - 22"}},
        {"days": -22.0},
    ),
}


def write(folder: Path, name: str, case: Case) -> None:
    """Write a case's model and its data set below a folder of configs."""
    sections = {
        "model": {"defaults": [{"/data@_global_.data": name}, "_self_"], "name": name, "type": "regression"},
        "data": {"name": name, "source": "csv", "path": str(HERE / case.table), **case.data},
    }
    sections["model"] |= case.model
    for group, content in sections.items():
        (folder / group).mkdir(parents=True, exist_ok=True)
        (folder / group / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def posteriors(tmp_path_factory: pytest.TempPathFactory, bayesrun: Command) -> Mapping[str, xr.Dataset]:
    """Fit all cases in one sweep and return their posteriors by name."""
    folder = tmp_path_factory.mktemp("published")
    for name, case in CASES.items():
        write(folder / "conf", name, case)
    # an sd's error is estimated from the same draws: with seed 14 of seven, that of wine's judges is 4.4 too small
    sweep = ("-m", f"model={','.join(CASES)}", "tracking=none", f"paths.outputs={folder}/out", "seed=15")
    done = bayesrun(f"--config-dir={folder}/conf", *sweep, *FEW, timeout=900)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    found = {}
    for path in (folder / "out").rglob("posterior.nc"):
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        found[str(config["model"]["name"])] = az.from_netcdf(path).posterior
    found["mcycle"] = with_curve(found["mcycle"])
    return found


def with_curve(posterior: xr.Dataset) -> xr.Dataset:
    """Add the curve of mcycle at some times, from the posterior's coefficients and weights."""
    case = CASES["mcycle"]
    table = pd.read_csv(HERE / case.table)
    data = xr.Dataset(
        {name: ("obs", table[name].values) for name in table}, {"obs": np.arange(len(table))}, {"dim": "obs"}
    )
    spec = RegressionSpec.model_validate({"name": "mcycle", "type": "regression", **case.model})
    (_, smooth) = expansion_of(data, spec).terms["mu"]
    at = xr.Dataset({"times": ("obs", np.array(TIMES, float))}, {"obs": list(TIMES)})
    columns = smooth.columns(Rows(at, "obs", "key")).rename(obs="time").assign_coords(time=list(TIMES))
    return posterior.assign(curve=posterior["Intercept"] + smooth.curve(columns, posterior))


def draws_of(posterior: xr.Dataset, ours: str | tuple[str, str | int]) -> np.ndarray[Any, Any]:
    """Return the draws of a quantity over (chain, draw)."""
    if isinstance(ours, str):
        return np.asarray(posterior[ours].squeeze().values)
    values = posterior[ours[0]]
    dim = next(str(d) for d in values.dims if d not in ("chain", "draw"))
    one = values.isel({dim: ours[1]}) if isinstance(ours[1], int) else values.sel({dim: ours[1]})
    return np.asarray(one.values)


def compared(case: Case, posterior: xr.Dataset, reference: pd.DataFrame) -> Iterator[tuple[str, float, float]]:
    """Yield how far mean and sd of each quantity are from the reference, in Monte Carlo errors of their difference.

    The Monte Carlo variance of an sd is (m4 - m2^2) / (4 m2 ess), with m2 and m4 the central moments and the ess of the
    squares. The reference's is known for the values alone; they may be antithetic, their squares not: it is taken as
    half of the draws at most.
    """
    shift = sum(factor * draws_of(posterior, name) for name, factor in case.shift.items())
    for theirs, ours in case.names.items():
        values = draws_of(posterior, ours) + (shift if ours == "Intercept" or ours[0] == "cutpoints" else 0.0)
        of = reference.loc[theirs]
        mean_error = np.hypot(float(az.mcse(values, method="mean")), of["mcse"])
        squares = (values - values.mean()) ** 2
        per_draw = squares.var() / (4.0 * squares.mean())
        sd_error = np.sqrt(per_draw / float(az.ess(squares)) + per_draw / min(of["ess"], DRAWS / 2))
        yield theirs, (values.mean() - of["mean"]) / mean_error, (values.std() - of["sd"]) / sd_error


@pytest.mark.parametrize("name", CASES)
def test_posterior_is_the_published_one(name: str, posteriors: Mapping[str, xr.Dataset]) -> None:
    reference = REFERENCES.loc[name].set_index("variable")
    assert set(CASES[name].names) == set(reference.index)  # every quantity of the fit is compared
    found = list(compared(CASES[name], posteriors[name], reference))
    assert all(abs(mean) < 4 and abs(sd) < 4 for _, mean, sd in found), found
