"""What a regression means: a declarative model in YAML, and the columns of the design that it names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bayesrun.errors import fail
from bayesrun.models.regression.design_matrix import response_values
from bayesrun.models.regression.families import INVERSE_LINKS
from bayesrun.models.regression.linear_terms import FittedTerm, Part, Rows, Setting
from bayesrun.models.regression.regression_plan import KEY, LinearPredictor, RegressionPlan
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.models.regression.term_priors import numbers_of

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

LARGEST = 35
"""Linear predictor whose exponential is still a mean that an engine can draw counts of."""
_WORDS = {
    "positive": "above 0",
    "nonnegative": "0 or above",
    "unit": "between 0 and 1, both excluded",
    "unit_closed": "between 0 and 1",
    "binary": "0 or 1",
    "count": "counts",
    "trials": "counts from 0 to the number of trials",
    "angle": "angles from -pi to pi",
}


@dataclass(frozen=True)
class Expansion:
    """A regression, expanded.

    Parameters
    ----------
    model
        The declarative model: what its YAML holds.
    columns
        The data variables that it names, over the rows.
    terms
        The fitted terms of each linear predictor, by parameter.
    settings
        What their declarations depend on, by parameter.
    levels
        Categories of the response in order; empty where it is a number.
    helpers
        Variables that users don't look at.
    whitened
        Vectors of coefficients and the matrices that they are multiplied with.
    notes
        What was chosen from the data, in words.
    """

    model: Mapping[str, Any]
    columns: xr.Dataset
    terms: Mapping[str, tuple[FittedTerm, ...]]
    settings: Mapping[str, Setting]
    levels: tuple[Any, ...] = ()
    helpers: frozenset[str] = frozenset()
    whitened: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def likelihood(self) -> str:
        """Name of the likelihood."""
        return str(next(iter(self.model["likelihood"])))

    def state(self) -> dict[str, Any]:
        """Return what was learned from the rows, as plain values that JSON can hold."""
        scales = {name: [s.spread, s.middle] for name, s in self.settings.items()}
        terms = {name: [dict(term.plain()) for term in terms] for name, terms in self.terms.items()}
        levels = [level.item() if hasattr(level, "item") else level for level in self.levels]
        return {"terms": terms, "scales": scales, "levels": levels}


@dataclass(frozen=True)
class Explained:
    """The response and what stands beside it, over the rows.

    Parameters
    ----------
    name
        Name of the response's variable.
    columns
        The response, and further variables that the likelihood names.
    levels
        Its categories; empty where it is a number.
    """

    name: str
    columns: xr.Dataset
    levels: tuple[Any, ...] = ()


def expand(data: xr.Dataset, spec: RegressionSpec, this: RegressionPlan) -> Expansion:
    """Expand a regression on the rows of its fit.

    Raises
    ------
    UserError
        For what the data can't be, and priors that do not fit.
    """
    rows = Rows(data, _row_dim(data, this), KEY)
    explained = _explained(rows, this, ())
    columns = explained.columns
    terms: dict[str, tuple[FittedTerm, ...]] = {}
    settings: dict[str, Setting] = {}
    for name, predictor in this.predictors.items():
        settings[name] = _setting(this, predictor, spec, explained, data)
        fitted = []
        for term in predictor.terms:
            one, more = term.learn(rows, settings[name])
            fitted.append(one)
            columns = _merged(columns, more)
        terms[name] = tuple(fitted)
    return _declared(spec, this, explained, columns, terms, settings)


def expand_at(
    data: xr.Dataset, spec: RegressionSpec, this: RegressionPlan, state: Mapping[str, Any], dim: str, new_levels: bool
) -> Expansion:
    """Expand a fitted regression over new rows: all but the rows is as in the fit.

    Parameters
    ----------
    data
        The new rows; what the model explains may be missing.
    spec, this
        The model.
    state
        What `Expansion.state` returned.
    dim
        The row dimension.
    new_levels
        Whether groups that the fit has not seen are allowed.
    """
    rows = Rows(data, dim, "predict.data", new_levels)
    explained = _explained(rows, this, tuple(state["levels"]), observed=False)
    columns, terms, settings = explained.columns, dict[str, tuple[FittedTerm, ...]](), dict[str, Setting]()
    for name, predictor in this.predictors.items():
        spread, middle = state["scales"][name]
        settings[name] = Setting(predictor.prefix, spec.priors, spread, middle)
        pairs = zip(predictor.terms, state["terms"][name], strict=True)
        terms[name] = tuple(term.restored(content, settings[name]) for term, content in pairs)
        for term in terms[name]:
            columns = _merged(columns, term.columns(rows))
    return _declared(spec, this, explained, columns, terms, settings)


def _row_dim(data: xr.Dataset, this: RegressionPlan) -> str:
    names = this.response.names(KEY)
    if not names:
        raise fail(KEY, f"the left side '{this.response.text}' names no variable", "name the response")
    array = data[names[0]]
    if array.ndim != 1:
        message = f"'{names[0]}' must be over the rows, one value each (its dims are {array.dims})"
        raise fail(KEY, message, "a formula takes columns of one table")
    return str(array.dims[0])


def _merged(columns: xr.Dataset, more: xr.Dataset) -> xr.Dataset:
    """Add columns; those that two predictors share are the same."""
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
    import numpy as np

    parts = {name: [term.declare(settings[name]) for term in of] for name, of in terms.items()}
    every = [part for of in parts.values() for part in of]
    priors: dict[str, Any] = {}
    deterministics: dict[str, Any] = {}
    for part in every:
        priors.update(part.priors)
        deterministics.update(part.deterministics)
    spread = np.asarray(settings[this.family.main].spread)
    for name in this.numbers:
        priors[name] = numbers_of(spec.priors[name], f"model.priors.{name}", spread, settings[this.family.main].data)
    if this.family.categories == "thresholds":
        prior = numbers_of(spec.priors["cutpoints"], "model.priors.cutpoints", spread, None)
        priors["cutpoints"] = {**prior, "dims": ["cutpoint"], "transform": "ordered"}
    likelihood = _likelihood(spec, this, explained, parts)
    model = {"name": spec.name, "type": "declarative", "priors": priors}
    model |= {"deterministics": deterministics} if deterministics else {}
    model["likelihood"] = {f"{explained.name}_obs": likelihood}
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


def _likelihood(
    spec: RegressionSpec, this: RegressionPlan, explained: Explained, parts: Mapping[str, Sequence[Part]]
) -> dict[str, Any]:
    """Write the distribution of the response with its parameters as expressions."""
    family = this.family
    meanings: dict[str, str] = {name: name for name in family.parameters}
    for name, of in parts.items():
        eta = " + ".join(part.expression for part in of if part.expression) or "0"
        meanings[f"{name}.eta"] = eta
        inverse = INVERSE_LINKS[this.predictors[name].link]
        count = name == family.main and family.values == "count" and this.predictors[name].link == "log"
        meanings[name] = inverse.format(eta=f"minimum({eta}, {LARGEST})" if count else eta)
    if "trials" in explained.columns:
        meanings["trials"] = "trials"
    if this.response.error is not None:
        sigma = meanings["sigma"] if this.response.adds_sigma else None
        meanings["sigma"] = "error" if sigma is None else f"sqrt(({sigma}) ** 2 + error ** 2)"
    chosen = dict(family.by_link.get(this.main.link, {}))
    distribution = chosen.pop("dist", family.likelihood)
    arguments = {name: _filled(text, meanings) for name, text in (chosen or family.arguments).items()}
    body: dict[str, Any] = {"dist": distribution, **arguments, "observed": explained.name}
    return body | _observation(this, explained)


def _observation(this: RegressionPlan, explained: Explained) -> dict[str, Any]:
    """Write how the response was observed: weights, censoring, truncation."""
    found: dict[str, Any] = {}
    if this.response.weights is not None:
        found["weights"] = "weights"
    if this.response.censored is not None:
        found["censored"] = {"status": "censored"}
        found["censored"] |= {"upper": "upper"} if this.response.upper is not None else {}
    bounds = {"lower": this.response.at_least, "upper": this.response.at_most}
    if any(bounds.values()):
        names = {"lower": "at_least", "upper": "at_most"}
        found["truncated"] = {side: names[side] for side, text in bounds.items() if text is not None}
    return found


def _filled(template: str, meanings: Mapping[str, str]) -> str:
    """Put expressions into a template, in parentheses where it has them."""
    text = re.sub(r"\{([\w.]+)\}", lambda found: meanings[found[1]], template)
    # ((x)) is (x), and (name) is name
    text = re.sub(r"(?<!\w)\((\w+)\)", r"\1", text)
    return text


def _explained(rows: Rows, this: RegressionPlan, levels: tuple[Any, ...], observed: bool = True) -> Explained:
    """Evaluate the response and what stands beside it."""
    import xarray as xr

    from bayesrun.language.learned import Learned

    response, family = this.response, this.family
    name, dim = response.names(KEY)[0], rows.dim
    labels = {dim: rows.data[dim].values} if dim in rows.data.coords else {}
    columns = xr.Dataset(coords=labels, attrs=rows.data.attrs)
    learned = Learned(dim)
    found: dict[str, xr.DataArray] = {
        part: response_values(rows.data, text, KEY, learned)
        for part, text in response.others().items()
        if observed or part in ("trials", "failures", "error")
    }
    if observed:
        values = response_values(rows.data, response.text, KEY, learned)
        if family.categories:
            values, levels = _coded(values)
        if "failures" in found:
            found["trials"] = (values + found.pop("failures")).astype(int)
        _check_values(values, this, found)
        columns = columns.assign({name: (dim, values.values)})
    elif "failures" in found:
        successes = response_values(rows.data, response.text, KEY, learned)
        found["trials"] = (successes + found.pop("failures")).astype(int)
    for part, array in found.items():
        columns = columns.assign({part: (dim, array.values)})
    if family.categories == "thresholds":
        between = [f"{a}|{b}" for a, b in pairwise(levels)]
        columns = columns.assign_coords(cutpoint=between)
    return Explained(name, columns, levels)


def _coded(values: xr.DataArray) -> tuple[xr.DataArray, tuple[Any, ...]]:
    """Write the categories of a response as codes from 0."""
    import numpy as np

    from bayesrun.data.factors import as_levels, codes_of, levels_of

    given = values.attrs.get("levels")
    levels = as_levels(np.atleast_1d(given).tolist()) if given is not None else levels_of(values.values)[0]
    codes = codes_of(values.values, levels)[0]
    missing = codes < 0
    coded = np.where(missing, np.nan, codes) if missing.any() else codes
    if len(levels) < 2:
        raise fail(KEY, f"every row of the response is '{levels[0]}'", "the data hold no information about it")
    return values.copy(data=coded), tuple(levels.tolist())


def _check_values(values: xr.DataArray, this: RegressionPlan, beside: Mapping[str, xr.DataArray]) -> None:
    """Refuse responses that the family can't have."""
    import numpy as np

    from bayesrun.data.arrays import shown_values

    kind = this.family.values
    if kind in ("real", "level"):
        return
    y = values.values.astype(float)
    with np.errstate(invalid="ignore"):
        whole = y == np.round(y)
        trials = beside["trials"].values if "trials" in beside else np.ones_like(y)
        right = {
            "positive": y > 0,
            "nonnegative": y >= 0,
            "unit": (y > 0) & (y < 1),
            "unit_closed": (y >= 0) & (y <= 1),
            "binary": (y == 0) | (y == 1),
            "count": (y >= 0) & whole,
            "trials": (y >= 0) & whole & (y <= trials),
            "angle": np.abs(y) <= np.pi,
        }[kind]
    bad = ~right & ~np.isnan(y)
    if bad.any():
        got = shown_values(values, values.copy(data=bad))
        hint = "give the left side a condition (y > 0), trials (y | trials(n)), or choose another family"
        raise fail(KEY, f"the response of this family must be {_WORDS[kind]} (got {got})", hint)


def _setting(
    this: RegressionPlan, predictor: LinearPredictor, spec: RegressionSpec, explained: Explained, data: xr.Dataset
) -> Setting:
    """Return the natural scale of a linear predictor, and what each row tells about it."""
    import numpy as np

    prefix, link = predictor.prefix, predictor.link
    y = explained.columns[explained.name].values.astype(float) if explained.name in explained.columns else np.zeros(1)
    if this.family.likelihood == "LogNormal":
        with np.errstate(all="ignore"):
            y = np.log(y)
    spread, middle = float(np.nanstd(y)) or 1.0, float(np.nanmean(y))
    own_units = link == "identity" and this.family.values in ("real", "positive", "nonnegative")
    if predictor.parameter != this.family.main:
        is_scale = predictor.parameter == "sigma" and this.main.link == "identity"
        middle = float(np.log(spread)) if is_scale and link == "log" else 0.0
        return Setting(prefix, spec.priors, 1.0, middle, None, data)
    if not own_units:
        middle, spread = 0.0, 1.0
    return Setting(prefix, spec.priors, spread, middle, _row_information(this, explained, y, spread), data)


def _row_information(this: RegressionPlan, explained: Explained, y: NDArray[Any], spread: float) -> NDArray[Any]:
    """Return about how much each row tells of its linear predictor (inverse variance), at the mean of all."""
    import numpy as np

    size = len(y)
    if this.family.values in ("trials", "binary"):
        trials = explained.columns["trials"].values if "trials" in explained.columns else np.ones(size)
        share = float(np.clip(np.nansum(y) / max(1.0, float(np.sum(trials))), 0.02, 0.98))
        return np.asarray(trials * share * (1 - share), dtype=float)
    if this.family.values == "count":
        mean = float(np.nanmean(y))
        return np.full(size, mean / (1.0 + max(0.0, float(np.nanvar(y)) / max(mean, 1e-9) - 1.0)) if mean > 0 else 0.1)
    return np.full(size, 1.0 / spread**2)
