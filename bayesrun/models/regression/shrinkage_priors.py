"""Priors of all coefficients of a linear predictor together: R2D2, and the regularised horseshoe.

With `b_j` the coefficient of a column with sd `s_j`, and `v` the sd of the noise around the linear predictor,

    R2D2:       s_j b_j ~ Normal(0, v sqrt(phi_j R2 / (1 - R2))),    R2 ~ Beta(mean prec, (1 - mean) prec),
                phi ~ Dirichlet(cons_D2)
    Horseshoe:  s_j b_j ~ Normal(0, tau l_j),    l_j = c t_j / sqrt(c^2 + tau^2 t_j^2),    t_j ~ HalfStudentT(df),
                tau ~ HalfStudentT(df_global, scale_global v),
                c^2 ~ scale_slab^2 InverseGamma(df_slab / 2, df_slab / 2)

(Zhang, Naughton, Bondell and Reich 2022, doi:10.1080/01621459.2020.1825449; Piironen and Vehtari 2017,
doi:10.1214/17-EJS1337SI). `R2` is the share of the response's variance that uncorrelated columns explain. `par_ratio`,
the expected ratio of nonzero to zero coefficients, stands for `scale_global = par_ratio / sqrt(rows)`, and `c` is in
units of the response's sd. For standardised columns and response both are those of brms.

`v` is the family's `sigma` if that is one number for all rows, otherwise the natural scale of the linear predictor
(`s` in `term_scale`). Everything is sampled non-centred.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem, did_you_mean, fail
from bayesrun.language.declaration import Declaration, Deterministic, Item, Random
from bayesrun.language.distributions import LOCATION_SCALE
from bayesrun.language.functions import dot
from bayesrun.language.plan import of_values
from bayesrun.language.values import constant, variable

SHRINKAGE: Mapping[str, Mapping[str, float | None]] = {
    "R2D2": {"mean_R2": 0.5, "prec_R2": 2.0, "cons_D2": 0.5},
    "Horseshoe": {
        "df": 1.0,
        "scale_global": 1.0,
        "df_global": 1.0,
        "scale_slab": 2.0,
        "df_slab": 4.0,
        "par_ratio": None,
    },
}
"""Name of a prior to its parameters and their defaults, which are those of brms."""


def is_shrinkage(prior: Any) -> bool:
    """Return whether a prior in YAML is one of all coefficients together."""
    dist = prior.get("dist") if isinstance(prior, Mapping) else None
    return isinstance(dist, str) and dist in SHRINKAGE


def shrinkage_problems(key: str, prior: Mapping[str, Any]) -> Iterator[Problem]:
    """Find unknown parameters and values out of range.

    Parameters
    ----------
    key
        Config key of the prior.
    prior
        The prior in YAML.
    """
    name = prior["dist"]
    for parameter, value in prior.items():
        where = f"{key}.{parameter}"
        if parameter == "dist" or (value is None and parameter in SHRINKAGE[name]):
            continue
        if parameter not in SHRINKAGE[name]:
            yield Problem(where, f"{name} has no parameter '{parameter}'", did_you_mean(parameter, SHRINKAGE[name]))
        elif not all(map(_is_positive, value if parameter == "cons_D2" and isinstance(value, list) else [value])):
            yield Problem(where, f"must be a number above 0 (got {value!r})")
        elif parameter == "mean_R2" and not value < 1:
            yield Problem(where, f"must be between 0 and 1 (got {value!r})", "it is the prior mean of R2")
    if prior.get("par_ratio") is not None and prior.get("scale_global") is not None:
        hint = "par_ratio stands for scale_global = par_ratio / sqrt(rows); keep one of them"
        yield Problem(f"{key}.par_ratio", "can't be given with scale_global", hint)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


@dataclass(frozen=True)
class Shrunk:
    """Coefficients with a common prior, in YAML.

    Parameters
    ----------
    name
        Name of their vector.
    dim
        Its dim.
    priors, deterministics
        Entries of these sections of the model.
    helpers
        Auxiliary variables: all but the global ones.
    """

    name: str
    dim: str
    priors: Mapping[str, Any]
    deterministics: Mapping[str, Any]
    helpers: frozenset[str]


def shrunk(
    prior: Mapping[str, Any], key: str, prefix: str, sds: NDArray[Any], scale: float, noise: str | None, rows: int
) -> Shrunk:
    """Declare coefficients with a common prior.

    Parameters
    ----------
    prior
        The prior in YAML.
    key
        Config key of the prior.
    prefix
        Prefix of the names of its variables.
    sds
        Sds of their columns, over (shrunk).
    scale
        Natural scale of the linear predictor.
    noise
        Name of the sd of the noise; None if there is none.
    rows
        Number of rows of the fit.
    """
    given = {**SHRINKAGE[prior["dist"]], **{name: value for name, value in prior.items() if value is not None}}
    dim, name = f"{prefix}shrunk", f"{prefix}shrunk_coefficients"
    unit = noise or f"{scale!r}"
    if given["dist"] == "R2D2":
        return _r2d2(given, key, prefix, name, dim, sds, unit)
    return _horseshoe(given, prefix, name, dim, sds, unit, scale, rows)


def _standard(sds: NDArray[Any], dim: str) -> dict[str, Any]:
    """Return the prior of coefficients whose contribution to the linear predictor has sd 1."""
    scales = [float(f"{1.0 / sd:.12g}") for sd in sds]
    sigma = scales[0] if all(value == scales[0] for value in scales) else scales
    return {"dist": "Normal", "mu": 0.0, "sigma": sigma, "dims": [dim], "parameterization": "noncentered"}


def _r2d2(given: Mapping[str, Any], key: str, prefix: str, name: str, dim: str, sds: NDArray[Any], unit: str) -> Shrunk:
    total, share, base = f"{prefix}R2D2_R2", f"{prefix}R2D2_phi", f"{prefix}R2D2_z"
    mean, precision, concentration = float(given["mean_R2"]), float(given["prec_R2"]), given["cons_D2"]
    weights = concentration if isinstance(concentration, list) else [concentration] * len(sds)
    if len(weights) != len(sds):
        message = f"must have one number for each of {len(sds)} coefficients (got {len(weights)})"
        raise fail(f"{key}.cons_D2", message, "give one number for all")
    priors: dict[str, Any] = {total: {"dist": "Beta", "alpha": mean * precision, "beta": (1.0 - mean) * precision}}
    if len(sds) > 1:
        priors[share] = {"dist": "Dirichlet", "a": [float(weight) for weight in weights], "dims": [dim]}
    priors[base] = _standard(sds, dim)
    ratio = f"{share} * {total} / (1 - {total})" if len(sds) > 1 else f"{total} / (1 - {total})"
    expression = {"expr": f"{base} * {unit} * sqrt({ratio})", "dims": [dim]}
    return Shrunk(name, dim, priors, {name: expression}, frozenset({share, base, f"{base}_offset", name}))


def _horseshoe(
    given: Mapping[str, Any],
    prefix: str,
    name: str,
    dim: str,
    sds: NDArray[Any],
    unit: str,
    scale: float,
    rows: int,
) -> Shrunk:
    tau, slab = f"{prefix}hs_global", f"{prefix}hs_slab"
    local, base, widths = f"{prefix}hs_local", f"{prefix}hs_z", f"{prefix}hs_widths"
    ratio = given["par_ratio"]
    width = float(given["scale_global"]) if ratio is None else float(ratio) / math.sqrt(rows)
    half = 0.5 * float(given["df_slab"])
    priors = {
        tau: {"dist": "HalfStudentT", "nu": float(given["df_global"]), "sigma": f"{width!r} * {unit}"},
        slab: {"dist": "InverseGamma", "alpha": half, "beta": half},
        local: {"dist": "HalfStudentT", "nu": float(given["df"]), "sigma": 1.0, "dims": [dim]},
        base: _standard(sds, dim),
    }
    square = f"{(float(given['scale_slab']) * scale) ** 2!r} * {slab}"
    # c l / sqrt(c^2 + (tau l)^2) in a form that does not overflow for a local scale in the Cauchy's tail
    deterministics = {
        widths: {"expr": f"{tau} / sqrt(1 / {local} ** 2 + {tau} ** 2 / ({square}))", "dims": [dim]},
        name: {"expr": f"{base} * {widths}", "dims": [dim]},
    }
    return Shrunk(name, dim, priors, deterministics, frozenset({local, base, f"{base}_offset", widths, name}))


def with_intercept_at_means(
    declared: Declaration, intercept: str, coefficients: str, means: NDArray[Any], joined: str
) -> Declaration:
    """Return a declaration of the same model that samples an intercept at the columns' means instead of at 0.

    The intercept at 0 and the coefficients of columns far from 0 are strongly correlated. The map is a shift, so the
    density is the same.

    Parameters
    ----------
    declared
        The model; it is reported as it is.
    intercept
        Name of the intercept's variable.
    coefficients
        Name of the vector of the columns' coefficients.
    means
        Means of those columns, over (shrunk).
    joined
        Name of the first item that depends on both.
    """
    item = next((one for one in declared.items if isinstance(one, Random) and one.name == intercept), None)
    if item is None or not item.plan.unconstrained or item.plan.truncated or not np.any(means):
        return declared
    location = LOCATION_SCALE.get(item.plan.family.name, (None, ""))[0]
    if location is None or item.initial is not None:
        return declared
    (dim,) = [one.dims for one in declared.items if isinstance(one, Deterministic) and one.name == coefficients]
    shift = dot(constant(means, dim), variable(coefficients, dim, means.shape))
    name = f"{intercept}_at_means"
    values = {**item.plan.values, location: item.plan.values[location] + shift}
    moved = Random(of_values(name, item.plan.family.name, values, (), ()))
    items: list[Item] = []
    for one in declared.items:
        if one.name == joined:
            items += [moved, Deterministic(intercept, variable(name, (), ()) - shift)]
        if one is not item:
            items.append(one)
    helpers = declared.helpers | {name}
    return replace(declared, items=tuple(items), helpers=helpers, reported=declared.reported or declared)
