"""Regressions with several responses: one model of all of them, with or without correlated residuals.

Each response is a regression of its own, whose variables bear its name: `tarsus_Intercept`, `sd_tarsus_g`,
`tarsus_sigma`. With `rescor` the rows of all responses are one likelihood,

    (y_1, ..., y_K)[row] ~ MvNormal((mu_1, ..., mu_K)[row], D R D),    D = diag(sigma_1, ..., sigma_K),    R ~ LKJ(eta),

or `MvStudentT` with one `nu`, as in brms (Zellner 1962, doi:10.1080/01621459.1962.10480664; Lewandowski, Kurowicka and
Joe 2009, doi:10.1016/j.jmva.2009.04.008). A predictor with missing values that has a formula of its own is a response
whose missing values the others use: `{mu: "y ~ mi(x)", x: "x | mi() ~ z"}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bayesrun.errors import Problem, UserError, fail
from bayesrun.language.declaration import Deterministic
from bayesrun.language.functions import stack
from bayesrun.language.values import Value, compute, variable
from bayesrun.lazy import xr
from bayesrun.models.regression.expansion import Expansion, expand, expand_at, merged
from bayesrun.models.regression.regression_plan import KEY, RegressionPlan, plan
from bayesrun.models.regression.regression_spec import RESCOR, RegressionSpec
from bayesrun.models.regression.shared_groups import with_joint_effects, with_joint_names
from bayesrun.models.regression.term_priors import DEFAULT, as_vector

JOINT = "responses"
"""Name of the observed rows of all responses, over (row, response)."""
_FACTOR = "chol_rescor"
_CORRELATED = {"Normal": ("normal", "MvNormal"), "StudentT": ("student", "MvStudentT")}


def plans_of(spec: RegressionSpec) -> dict[str, RegressionPlan]:
    """Return the parsed regressions by the name of their response, which is empty for a single one.

    Raises
    ------
    UserError
        For every part that can't be parsed.
    """
    several = spec.responses()
    if not several:
        return with_joint_names({"": plan(spec)})
    plans = {name: plan(one, name, [*several]) for name, one in several.items()}
    for name, this in plans.items():
        if this.response.imputed and name and this.response.text != name:
            hint = f"write {this.response.text}: '{this.response.text} | mi() ~ ...'"
            raise fail(f"{KEY}.{name}", f"the response with mi() is '{this.response.text}', its name '{name}'", hint)
        if this.response.imputed and name and this.family.values != "real":
            message = f"missing values of '{name}' can't be imputed from family {several[name].family}"
            raise fail(f"{KEY}.{name}", message, "a predictor with mi() is normal, student or skew_normal")
    return with_joint_names(plans)


def is_correlated(spec: RegressionSpec, plans: Mapping[str, RegressionPlan]) -> bool:
    """Return whether the residuals of several responses are correlated: as asked for, otherwise if they can be."""
    if len(plans) < 2 or "" in plans:
        return False
    return not list(_obstacles(spec, plans)) if spec.options.rescor is None else spec.options.rescor


def wrong_correlation(spec: RegressionSpec, plans: Mapping[str, RegressionPlan]) -> Iterator[Problem]:
    """Find why the residuals can't be correlated, where that is asked for."""
    key = "model.options.rescor"
    if spec.options.rescor and (len(plans) < 2 or "" in plans):
        yield Problem(key, "the formula has a single response", "write mvbind(a, b) ~ x, or set it to null")
    elif spec.options.rescor:
        for why in _obstacles(spec, plans):
            yield Problem(key, f"residuals can't be correlated: {why}", "set it to false")


def _obstacles(spec: RegressionSpec, plans: Mapping[str, RegressionPlan]) -> Iterator[str]:
    families = {one.family for one in spec.responses().values()}
    if families not in ({"normal"}, {"student"}):
        yield f"the families are {', '.join(sorted(families))}; all must be normal, or all student"
        return
    for name, this in plans.items():
        beside = [part for part in this.response.others()]
        if beside or this.response.imputed:
            yield f"'{name}' has additions after the bar"
        if len(this.predictors) > 1:
            others = [parameter for parameter in this.predictors if parameter != this.family.main]
            yield f"a formula predicts {', '.join(others)} of '{name}'"


def expanded(data: xr.Dataset, spec: RegressionSpec) -> Expansion:
    """Expand a regression of one response or of several for the fitted rows.

    Raises
    ------
    UserError
        For invalid data, and priors that do not fit.
    """
    several, plans = spec.responses(), plans_of(spec)
    if not several:
        return with_joint_effects(expand(data, spec, plans[""]), spec)
    try:
        parts = {name: expand(data, one, plans[name]) for name, one in several.items()}
    except UserError as error:
        raise UserError([_in_own_words(problem, spec, [*several]) for problem in error.problems]) from error
    return _joined(parts, spec, plans, data)


def expanded_at(
    data: xr.Dataset, spec: RegressionSpec, state: Mapping[str, Any], dim: str, new_levels: bool
) -> Expansion:
    """Expand a fitted regression for new rows, as `expand_at`."""
    several, plans = spec.responses(), plans_of(spec)
    if not several:
        return with_joint_effects(expand_at(data, spec, plans[""], state, dim, new_levels), spec)
    of = state["responses"]
    parts = {name: expand_at(data, one, plans[name], of[name], dim, new_levels) for name, one in several.items()}
    return _joined(parts, spec, plans, None)


def _in_own_words(problem: Problem, spec: RegressionSpec, names: list[str]) -> Problem:
    """Name the prior that the user wrote: that of all responses, if the response has none of its own."""
    for name in names:
        start = f"model.priors.{name}_"
        if name and problem.key.startswith(start) and problem.key.split(".")[2] not in spec.priors:
            return replace(problem, key=f"model.priors.{problem.key.removeprefix(start)}")
    return problem


def _joined(
    parts: Mapping[str, Expansion], spec: RegressionSpec, plans: Mapping[str, RegressionPlan], data: xr.Dataset | None
) -> Expansion:
    """Join the responses into one model."""
    first = next(iter(parts.values()))
    model: dict[str, Any] = {"name": spec.name, "type": "declarative", "priors": {}, "deterministics": {}}
    model["likelihood"] = {}
    columns = first.columns
    for one in parts.values():
        for section in ("priors", "deterministics", "likelihood"):
            model[section] |= one.model.get(section, {})
        columns = merged(columns, one.columns)
    found = with_joint_effects(_together(parts, plans, model, columns), spec)
    return _correlated(found, spec, plans, data) if is_correlated(spec, plans) else found


def _together(
    parts: Mapping[str, Expansion], plans: Mapping[str, RegressionPlan], model: Mapping[str, Any], columns: xr.Dataset
) -> Expansion:
    every = parts.values()
    return Expansion(
        {section: content for section, content in model.items() if content},
        columns,
        {f"{plans[name].prefix}{parameter}": of for name, one in parts.items() for parameter, of in one.terms.items()},
        {f"{plans[name].prefix}{parameter}": s for name, one in parts.items() for parameter, s in one.settings.items()},
        helpers=frozenset().union(*(one.helpers for one in every)),
        whitened=tuple(pair for one in every for pair in one.whitened),
        notes=tuple(note for one in every for note in one.notes),
        responses=dict(parts),
    )


def _correlated(
    separate: Expansion, spec: RegressionSpec, plans: Mapping[str, RegressionPlan], data: xr.Dataset | None
) -> Expansion:
    """Replace the likelihoods of the responses by one of their rows, with correlated residuals."""
    names, size = [*plans], len(plans)
    model = {section: dict(of) if isinstance(of, Mapping) else of for section, of in separate.model.items()}
    bodies = [model["likelihood"].pop(f"{name}_obs") for name in names]
    sigmas = [f"{name}_sigma" for name in names]
    sds = as_vector([model["priors"].pop(name) for name in sigmas], [1] * size)
    if sds is None:
        hint = "give all the same dist, or set model.options.rescor=false"
        raise fail("model.priors.sigma", "the sds of correlated residuals must have priors of one family", hint)
    eta = spec.priors[RESCOR].get(DEFAULT, spec.priors[RESCOR]).get("eta", 1.0)
    pairs = [(i, j) for i in range(size) for j in range(i)]
    labels = [f"{names[j]}, {names[i]}" for i, j in pairs]
    entries = ", ".join(f"{_FACTOR}_corr[{i}, {j}]" for i, j in pairs)
    model["priors"][_FACTOR] = {"dist": "LKJCholeskyCov", "n": size, "eta": float(eta), "sd_dist": sds}
    model["deterministics"] |= {name: f"{_FACTOR}_stds[{k}]" for k, name in enumerate(sigmas)}
    model["deterministics"][RESCOR] = {"expr": f"stack({entries})", "dims": ["response_pair"]}
    dist = _CORRELATED[bodies[0]["dist"]][1]
    body: dict[str, Any] = {"dist": dist, "mu": f"stack({', '.join(one['mu'] for one in bodies)})", "chol": _FACTOR}
    if dist == "MvStudentT":
        body["nu"] = "nu"
        model["priors"]["nu"] = next(model["priors"].pop(f"{name}_nu") for name in names)
        for name in names[1:]:
            model["priors"].pop(f"{name}_nu")
    model["likelihood"][f"{JOINT}_obs"] = {**body, "observed": JOINT}
    columns = separate.columns.assign_coords(response=names, response_pair=labels)
    if data is not None:
        values = np.stack([columns[name].values.astype(float) for name in names], axis=1)
        _check_complete(values, names)
        columns = columns.assign({JOINT: ((str(columns[names[0]].dims[0]), "response"), values)})
    columns = columns.drop_vars(names, errors="ignore")
    helpers = separate.helpers | {_FACTOR, f"{_FACTOR}_corr", f"{_FACTOR}_stds"}
    note = f"residuals of {', '.join(names)} are correlated (rescor)"
    recalled = tuple(_recalled(sigmas, len(pairs)))
    return replace(
        separate,
        model=model,
        columns=columns,
        helpers=helpers,
        notes=(*separate.notes, note),
        recalled=(*separate.recalled, *recalled),
    )


def _check_complete(values: Any, names: list[str]) -> None:
    missing = np.isnan(values)
    if missing.any():
        which = ", ".join(f"'{name}' in {int(n)}" for name, n in zip(names, missing.sum(axis=0), strict=True) if n)
        hint = "set data.drop_missing=rows; or model.options.rescor=false, with which they are imputed one by one"
        raise fail(KEY, f"responses with correlated residuals are missing ({which} rows)", hint)


def _recalled(sigmas: list[str], pairs: int) -> Iterator[Deterministic]:
    """Compute the Cholesky factor of the posterior's sds and correlations."""
    parts = [variable(name, (), ()) for name in sigmas]
    sd: Value = stack(*parts)
    correlations = replace(variable(RESCOR, ("response_pair",), (pairs,)), sample=np.zeros(pairs))
    matrix = compute("correlations", [correlations], (None, None), len(sigmas))
    factor: Value = compute("scaled_cholesky", [matrix, sd], (None, None))
    yield from (Deterministic(name, value, ()) for name, value in ((_FACTOR, factor), (f"{_FACTOR}_corr", matrix)))
    yield Deterministic(f"{_FACTOR}_stds", sd, ())
