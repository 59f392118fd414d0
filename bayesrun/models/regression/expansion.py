"""Expansion of a regression into a declarative model in YAML and the columns of the design that it uses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import check, fail
from bayesrun.language.declaration import Deterministic
from bayesrun.language.formulas import INTERCEPT
from bayesrun.language.unicode_names import identifier_of
from bayesrun.lazy import xr
from bayesrun.models.regression.blocked_algebra import level_on_link, reach, spread_on_link
from bayesrun.models.regression.category_term import FittedCategories
from bayesrun.models.regression.design_matrix import likelihood_of
from bayesrun.models.regression.explained_response import Explained, explain
from bayesrun.models.regression.families import INVERSE_LINKS
from bayesrun.models.regression.linear_terms import FittedTerm, Part, Rows, Setting, repeated_names
from bayesrun.models.regression.offset_term import FittedOffset, OffsetTerm
from bayesrun.models.regression.population_term import FittedPopulation
from bayesrun.models.regression.regression_plan import KEY, LinearPredictor, RegressionPlan
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.models.regression.term_priors import numbers_of
from bayesrun.models.regression.working_responses import (
    further_by_moments,
    of_levels,
    of_mean,
    of_shares,
    slope_of_link,
    target,
)

LARGEST = 35
"""Largest linear predictor whose exponential is a mean from which an engine can draw counts."""


@dataclass(frozen=True)
class Expansion:
    """A regression, expanded.

    Parameters
    ----------
    model
        The declarative model, as its YAML would be.
    columns
        The data variables that it uses, over the rows.
    terms
        The fitted terms of each linear predictor, by parameter.
    settings
        Settings of their declarations, by parameter.
    levels
        Categories of the response in order; empty for a numeric response.
    helpers
        Auxiliary variables, which are not reported.
    whitened
        Vectors of coefficients and the matrices by which they are multiplied.
    notes
        Descriptions of choices that were made from the data.
    recalled
        Auxiliary variables that don't belong to a term, as functions of the posterior's variables.
    responses
        The expansions of several responses, by name; empty for a single one.
    """

    model: Mapping[str, Any]
    columns: xr.Dataset
    terms: Mapping[str, tuple[FittedTerm, ...]]
    settings: Mapping[str, Setting]
    levels: tuple[Any, ...] = ()
    helpers: frozenset[str] = frozenset()
    whitened: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    recalled: tuple[Deterministic, ...] = ()
    responses: Mapping[str, Expansion] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """Return what was learned from the rows, as plain values that JSON can hold."""
        if self.responses:
            return {"responses": {name: one.state() for name, one in self.responses.items()}}
        scales = {name: [s.spread, s.middle, s.response] for name, s in self.settings.items()}
        terms = {name: [dict(term.plain()) for term in terms] for name, terms in self.terms.items()}
        levels = [level.item() if hasattr(level, "item") else level for level in self.levels]
        return {"terms": terms, "scales": scales, "levels": levels}


def expand(data: xr.Dataset, spec: RegressionSpec, this: RegressionPlan) -> Expansion:
    """Expand a regression for the fitted rows.

    Raises
    ------
    UserError
        For invalid data, and priors that do not fit.
    """
    rows = Rows(data, _row_dim(data, this), KEY)
    explained = explain(rows, this, ())
    columns = explained.columns
    terms: dict[str, tuple[FittedTerm, ...]] = {}
    settings: dict[str, Setting] = {}
    for name, predictor in predictors_of(this, explained.levels).items():
        settings[name] = _setting(this, predictor, spec, explained, data)
        fitted = []
        for term in predictor.terms:
            one, more = term.learn(rows, settings[name])
            if isinstance(one, FittedPopulation):
                settings[name] = _without_population(settings[name], more)
            fitted.append(one)
            columns = merged(columns, more)
        terms[name] = tuple(fitted)
    return _declared(spec, this, *_prefixed(explained, columns, this), terms, settings)


def expand_at(
    data: xr.Dataset, spec: RegressionSpec, this: RegressionPlan, state: Mapping[str, Any], dim: str, new_levels: bool
) -> Expansion:
    """Expand a fitted regression for new rows; everything but the rows is taken from the fit.

    Parameters
    ----------
    data
        The new rows; the response may be missing.
    spec, this
        The model.
    state
        The output of `Expansion.state`.
    dim
        The row dimension.
    new_levels
        Whether groups not seen in the fit are allowed.
    """
    rows = Rows(data, dim, "predict.data", new_levels)
    explained = explain(rows, this, tuple(state["levels"]), observed=False)
    columns, terms, settings = explained.columns, dict[str, tuple[FittedTerm, ...]](), dict[str, Setting]()
    for name, predictor in predictors_of(this, explained.levels).items():
        spread, middle, in_units = state["scales"][name]
        settings[name] = Setting(
            predictor.prefix, spec.priors, spread, middle, response=in_units, noise=_noise(this, predictor)
        )
        pairs = zip(predictor.terms, state["terms"][name], strict=True)
        terms[name] = tuple(term.restored(content, settings[name]) for term, content in pairs)
        for term in terms[name]:
            columns = merged(columns, term.columns(rows))
    return _declared(spec, this, *_prefixed(explained, columns, this), terms, settings)


def _prefixed(explained: Explained, columns: xr.Dataset, this: RegressionPlan) -> tuple[Explained, xr.Dataset]:
    """Name the response and its additions after the response, if it is one of several."""
    if not this.prefix:
        return explained, columns
    names = {str(name): f"{this.prefix}{name}" for name in explained.columns.data_vars}
    names |= {str(name): f"{this.prefix}{name}" for name in ("cutpoint", "level") if name in explained.columns.dims}
    name = f"{this.prefix}counts" if this.response.counts else this.prefix.removesuffix("_")
    names[explained.name] = name
    of = {old: new for old, new in names.items() if old in columns.variables or old in columns.dims}
    return replace(explained, name=name, columns=explained.columns.rename(of)), columns.rename(of)


def _row_dim(data: xr.Dataset, this: RegressionPlan) -> str:
    names = this.response.names(KEY)
    if not names:
        raise fail(KEY, f"the left side '{this.response.text}' names no variable", "name the response")
    array = data[names[0]]
    if array.ndim != 1:
        message = f"'{names[0]}' must be over the rows, one value each (its dims are {array.dims})"
        raise fail(KEY, message, "a formula takes columns of one table")
    return str(array.dims[0])


def merged(columns: xr.Dataset, more: xr.Dataset) -> xr.Dataset:
    """Add columns; columns shared by two predictors are identical."""
    known = {str(name) for name in (*columns.data_vars, *columns.coords)}
    return columns.merge(more.drop_vars([n for n in more.variables if str(n) in known]), join="override")


def _declared(
    spec: RegressionSpec,
    this: RegressionPlan,
    explained: Explained,
    columns: xr.Dataset,
    terms: Mapping[str, tuple[FittedTerm, ...]],
    settings: Mapping[str, Setting],
) -> Expansion:
    """Write the declarative model."""
    parts = {name: [term.declare(settings[name]) for term in of] for name, of in terms.items()}
    every = [part for of in parts.values() for part in of]
    priors: dict[str, Any] = {}
    deterministics: dict[str, Any] = {}
    check(repeated_names(every, KEY))
    for part in every:
        priors.update(part.priors)
        deterministics.update(part.deterministics)
    main = next(iter(settings.values()))
    for parameter in this.numbers:
        name = f"{this.prefix}{parameter}"
        priors[name] = numbers_of(spec.priors[name], f"model.priors.{name}", np.asarray(main.response), main.data)
    if this.family.categories == "thresholds":
        name = f"{this.prefix}cutpoints"
        scale = np.asarray(_reach_of_thresholds(terms[this.family.main], columns, main.spread))
        prior = numbers_of(spec.priors[name], f"model.priors.{name}", scale, None)
        several = len(explained.levels or ()) > 2  # two levels have a single cutpoint, which has no order
        transform = {"transform": "ordered"} if this.family.ordered and several else {}
        priors[name] = {**prior, "dims": [f"{this.prefix}cutpoint"], **transform}
    likelihood = _likelihood(spec, this, explained, parts)
    model = {"name": spec.name, "type": "declarative", "priors": priors}
    model |= {"deterministics": deterministics} if deterministics else {}
    predictors = {name: body for part in every for name, body in part.likelihood.items()}
    # a response of which missing values are a predictor's has the predictor's name
    own = explained.name if this.response.imputed and this.prefix else likelihood_of(explained.name)
    model["likelihood"] = {own: likelihood, **predictors}
    return Expansion(
        model,
        columns,
        terms,
        settings,
        explained.levels,
        frozenset().union(*(part.helpers for part in every)),
        tuple(part.whitened for part in every if part.whitened is not None),
        tuple(note for part in every for note in part.notes),
    )


def _reach_of_thresholds(terms: Sequence[FittedTerm], columns: xr.Dataset, spread: float) -> float:
    """Return the natural scale of thresholds: the reach of an intercept, `s sqrt(1 + sum (m/s)^2)`, and of offsets.

    Columns that are not centred move the thresholds away from 0, and so does the mean of an offset.
    """
    found, moved = 1.0, 0.0
    for term in terms:
        if isinstance(term, FittedPopulation) and INTERCEPT in term.design.columns:
            own = float(term.by_spread[term.design.columns.index(INTERCEPT)])
        elif isinstance(term, FittedPopulation) and f"{term.prefix}design" in columns:
            own = _reach_beside(columns[f"{term.prefix}design"].values)
        elif isinstance(term, FittedCategories):
            own = _reach_beside(term.matrix(columns))
        else:
            moved += float(np.mean(columns[f"{term.prefix}offset"].values)) if isinstance(term, FittedOffset) else 0.0
            continue
        found += own**2 - 1.0
    return float(np.hypot(spread * np.sqrt(found), moved))


def _reach_beside(design: NDArray[Any]) -> float:
    """Return the reach of an intercept beside the columns (row, column) of a design."""
    return float(reach(np.column_stack([np.ones(len(design)), design]))[0][0])


def _likelihood(
    spec: RegressionSpec, this: RegressionPlan, explained: Explained, parts: Mapping[str, Sequence[Part]]
) -> dict[str, Any]:
    """Write the distribution of the response with its parameters as expressions."""
    family = this.family
    meanings: dict[str, str] = {name: f"{this.prefix}{name}" for name in family.parameters}
    etas = {name: " + ".join(part.expression for part in of if part.expression) or "0" for name, of in parts.items()}
    steps = [part.by_threshold for of in parts.values() for part in of if part.by_threshold]
    if steps:
        meanings["cutpoints"] = f"{this.prefix}cutpoints - ({' + '.join(steps)})"
    if family.categories == "reference":
        main = [eta for name, eta in etas.items() if name not in this.predictors or name == family.main]
        meanings[f"{family.main}.etas"] = f"stack({', '.join(main)})"
    for name, eta in etas.items():
        if name not in this.predictors:
            continue
        meanings[f"{name}.eta"] = eta
        inverse = INVERSE_LINKS[this.predictors[name].link]
        count = name == family.main and family.values == "count" and this.predictors[name].link == "log"
        meanings[name] = inverse.format(eta=f"minimum({eta}, {LARGEST})" if count else eta)
    if f"{this.prefix}trials" in explained.columns:
        meanings["trials"] = f"{this.prefix}trials"
    if this.response.error is not None:
        sigma = meanings["sigma"] if this.response.adds_sigma else None
        error = f"{this.prefix}error"
        meanings["sigma"] = error if sigma is None else f"sqrt(({sigma}) ** 2 + {error} ** 2)"
    chosen = dict(family.by_link.get(this.main.link, {}))
    distribution = chosen.pop("dist", family.likelihood)
    arguments = {name: _filled(text, meanings) for name, text in (chosen or family.arguments).items()}
    body: dict[str, Any] = {"dist": distribution, **arguments, "observed": explained.name}
    return body | _observation(this, explained)


def _observation(this: RegressionPlan, explained: Explained) -> dict[str, Any]:
    """Write the response's modifiers: weights, censoring, truncation."""
    found: dict[str, Any] = {}
    named = {part: f"{this.prefix}{part}" for part in ("weights", "censored", "upper", "at_least", "at_most")}
    there = {part for part, name in named.items() if name in explained.columns}
    if "weights" in there:
        found["weights"] = named["weights"]
    if "censored" in there:
        found["censored"] = {"status": named["censored"]}
        found["censored"] |= {"upper": named["upper"]} if "upper" in there else {}
    bounds = {"lower": "at_least", "upper": "at_most"}
    limits = {side: named[part] for side, part in bounds.items() if part in there}
    return found | ({"truncated": limits} if limits else {})


def _filled(template: str, meanings: Mapping[str, str]) -> str:
    """Substitute expressions into a template; redundant parentheses around a name are removed."""
    text = re.sub(r"\{([\w.]+)\}", lambda found: meanings[found[1]], template)
    # ((x)) is (x), and (name) is name
    text = re.sub(r"(?<!\w)\((\w+)\)", r"\1", text)
    return text


def predictors_of(this: RegressionPlan, levels: Sequence[Any]) -> dict[str, LinearPredictor]:
    """Return the linear predictors by name; those of levels other than the first are named after the level."""
    if this.family.categories != "reference":
        return dict(this.predictors)
    found: dict[str, LinearPredictor] = {}
    for place, level in enumerate(levels[1:], start=1):
        word = identifier_of(str(level))
        name = word if str(level)[:1].isalpha() else f"level_{word.removeprefix('X') or place}"
        if name in found:  # `a-b` and `a b`
            name = f"{name}_{place}"
        found[name] = replace(this.main, prefix=f"{this.prefix}{name}_")
    return found | {name: one for name, one in this.predictors.items() if name != this.family.main}


def _setting(
    this: RegressionPlan, predictor: LinearPredictor, spec: RegressionSpec, explained: Explained, data: xr.Dataset
) -> Setting:
    """Return the natural scale of a linear predictor, and the information of each row about it."""
    prefix, link = predictor.prefix, predictor.link
    y = explained.columns[explained.name].values.astype(float) if explained.name in explained.columns else np.zeros(1)
    if this.family.likelihood in ("LogNormal", "HurdleLogNormal"):
        y = np.log(np.where(y > 0, y, np.nan))
    if this.family.categories:
        if predictor.parameter != this.family.main:
            return Setting(prefix, spec.priors, 1.0, 0.0, data=data)
        residual, information = _working_response(this, predictor, explained, y)
        steps = this.family.categories == "thresholds"
        return Setting(prefix, spec.priors, 1.0, 0.0, 0.0, residual, information, data, thresholds=steps)
    sizes = explained.columns["trials"].values if "trials" in explained.columns else np.ones(len(y))
    total = float(np.sum(sizes[~np.isnan(y)]))
    mean, in_units = float(np.nansum(y) / total), float(np.nanstd(y)) or 1.0
    if this.family.values == "angle":
        mean = float(np.angle(np.nanmean(np.exp(1j * y))))
        in_units = float(np.sqrt(np.nanmean(np.angle(np.exp(1j * (y - mean))) ** 2))) or 1.0
    if predictor.parameter != this.family.main:
        value = further_by_moments(predictor.parameter, this.family.values, mean, in_units)
        spread, middle = spread_on_link(value, value, link), level_on_link(value, link, 1e-300) if value else 0.0
        return Setting(prefix, spec.priors, spread, middle, middle, data=data)
    offset = _offset(predictor, Rows(data, _row_dim(data, this), KEY))
    has_units = this.family.values in ("real", "positive", "nonnegative", "count", "angle")
    spread = spread_on_link(in_units, mean, link) if has_units else 1.0
    middle = level_on_link(mean, link, 0.5 / total) - float(np.mean(offset))
    towards = target(y, sizes, link) - offset
    residual, information = _working_response(this, predictor, explained, y)
    noise = _noise(this, predictor)
    return Setting(prefix, spec.priors, spread, middle, towards, residual, information, data, in_units, noise)


def _noise(this: RegressionPlan, predictor: LinearPredictor) -> str | None:
    """Return the name of the sd of the noise around the main linear predictor, if it is one number."""
    one = predictor.parameter == this.family.main and "sigma" in this.numbers
    return f"{this.prefix}sigma" if one else None


def _without_population(setting: Setting, columns: xr.Dataset) -> Setting:
    """Subtract from the residual what the population part explains."""
    name = f"{setting.prefix}design"
    if setting.residual is None or name not in columns:
        return setting
    matrix, known = columns[name].values, np.isfinite(setting.residual)
    found = np.linalg.lstsq(matrix[known], setting.residual[known], rcond=None)[0]
    return replace(setting, residual=setting.residual - matrix @ found)


def _offset(predictor: LinearPredictor, rows: Rows) -> NDArray[Any] | float:
    """Return the offset of the linear predictor."""
    found: NDArray[Any] | float = 0.0
    for term in predictor.terms:
        if isinstance(term, OffsetTerm):
            columns = term.learn(rows, Setting(predictor.prefix, {}, 1.0, 0.0))[1]
            found = found + columns[f"{predictor.prefix}offset"].values
    return found


def _working_response(
    this: RegressionPlan, predictor: LinearPredictor, explained: Explained, y: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return responses on the scale of the linear predictor, and the information of each row (`working_responses`)."""
    columns, family = explained.columns, this.family
    trials = columns["trials"].values if "trials" in columns else np.ones(len(y))
    if family.categories == "thresholds":
        chosen = family.by_link.get(predictor.link, {})
        return of_levels(y, len(explained.levels), chosen.get("dist", family.likelihood))
    if family.categories == "reference":
        # the level against all others
        prefixes = [one.prefix for one in predictors_of(this, explained.levels).values()]
        place = 1 + prefixes.index(predictor.prefix)
        own = y[:, place] if y.ndim == 2 else np.where(np.isnan(y), np.nan, y == place)
        return of_shares(own, trials)
    if family.values in ("trials", "binary"):
        return of_shares(y, trials)
    link = "identity" if family.likelihood == "LogNormal" else predictor.link
    residual, information = of_mean(y, link, family.values == "count")
    if "error" in columns and not this.response.adds_sigma:  # known, and not the same for all rows
        error = columns["error"].values
        floor = 1e-6 * float(np.max(error)) or 1.0  # one that is 0 is refused later
        information = 1.0 / (np.maximum(error, floor) * slope_of_link(float(np.nanmean(y)), link)) ** 2
    return residual, information
