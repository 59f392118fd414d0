"""Generalised linear models from a formula in the R language.

    eta = sum over terms of the formula of columns * coefficients (+ offset)
    response ~ family with mean inverse-link(eta)

Each term is a variable named as in the formula (`Intercept`, `X1`, `C(g)`); a term of several columns is a vector with
their labels. A term without a prior of its own takes `priors.default`. In priors of a GLM the name `term_scale` is the
natural size of the coefficient (`_glm_data.scales`), so that the defaults hold for data in any units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from bayesrun.data.base import Role
from bayesrun.errors import Problem, UserError, did_you_mean
from bayesrun.language.formulas import INTERCEPT, Formula, Term, parse, plain
from bayesrun.models._glm_data import Prepared, prepare, response_variables, scales
from bayesrun.models._glm_families import FAMILIES, FamilyName, Link, likelihood
from bayesrun.models.base import ModelSpec, ModelType, PriorNames, add_coords, notes, observed_values
from bayesrun.schema import Section

if TYPE_CHECKING:
    import pymc3 as pm
    import xarray as xr

_KEY = "model.formula"
_TERM_DEFAULT: Mapping[str, Any] = {"dist": "Normal", "mu": 0.0, "sigma": "10 * term_scale"}
_AUXILIARY_NAMES = frozenset(name for family in FAMILIES.values() for name in family.auxiliaries)
_TAKEN = {*_AUXILIARY_NAMES, "design", "default"}


class Options(Section):
    """Options of the type.

    Parameters
    ----------
    link
        Link function; null = the family's own.
    trials
        For `binomial` counts of successes: the data variable with the number of trials a row.
    offset
        Expression over data variables that is added to the linear predictor, such as `log(population)`.
    check_design
        Whether collinear columns and complete separation are errors. False leaves them to the priors.
    """

    link: Link | None = None
    trials: str | None = None
    offset: str | None = None
    check_design: bool = True


class GlmSpec(ModelSpec):
    """Config of `type: glm`. Priors that are not given are filled in: `default`, `Intercept` and the family's own."""

    formula: str
    family: FamilyName = "normal"
    options: Options = Options()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_priors(cls, raw: Any) -> Any:
        family = FAMILIES.get(str(raw.get("family", "normal"))) if isinstance(raw, Mapping) else None
        if family is None or not isinstance(raw.get("priors") or {}, Mapping):
            return raw
        own = {"default": _TERM_DEFAULT, INTERCEPT: _TERM_DEFAULT, **family.auxiliaries}
        return {**raw, "priors": {**{n: dict(p) for n, p in own.items()}, **(raw.get("priors") or {})}}

    def link(self) -> Link:
        """Return the link: the one that was asked for, else the family's own."""
        return self.options.link or FAMILIES[self.family].links[0]


def roles(spec: GlmSpec) -> tuple[Role, ...]:
    """Variables of the left side are observed, those of the right side, trials and offset are predictors."""
    formula = parse(spec.formula, _KEY)
    observed = response_variables(formula.response, _KEY)
    domain = FAMILIES[spec.family].domain if observed == (formula.response,) else "real"
    domain = "count" if spec.options.trials and domain == "binary" else domain
    found = [Role(name, "observed", domain, _KEY) for name in observed]
    for name in formula.variables:
        found.append(Role(name, "predictor", "any" if name in formula.categorical else "real", _KEY))
    if spec.options.trials:
        found.append(Role(spec.options.trials, "predictor", "count", "model.options.trials"))
    return (*found, *(Role(name, "predictor", "real", "model.options.offset") for name in _offset_variables(spec)))


def _offset_variables(spec: GlmSpec) -> tuple[str, ...]:
    return response_variables(spec.options.offset, "model.options.offset") if spec.options.offset else ()


def static_check(spec: GlmSpec) -> list[Problem]:
    """Find what is wrong with the formula, the link and the names of priors; needs no data."""
    problems: list[Problem] = []
    links = FAMILIES[spec.family].links
    if spec.link() not in links:
        problems.append(Problem("model.options.link", f"{spec.family} has no link '{spec.link()}'", ", ".join(links)))
    if spec.options.trials and spec.family != "binomial":
        problems.append(
            Problem("model.options.trials", f"only binomial has trials, not {spec.family}", "set it to null")
        )
    try:
        formula = parse(spec.formula, _KEY)
        roles(spec)
    except UserError as error:
        return [*problems, *error.problems]
    return [*problems, *_wrong_names(spec, formula)]


def _wrong_names(spec: GlmSpec, formula: Formula) -> Iterator[Problem]:
    known = {plain(name) for name in formula.terms}
    for name in spec.priors:
        if name not in ("default", INTERCEPT, *_AUXILIARY_NAMES) and plain(name) not in known:
            hint = did_you_mean(name, [*formula.terms, "default", *FAMILIES[spec.family].auxiliaries])
            yield Problem(f"model.priors.{name}", f"'{spec.formula}' has no term '{name}'", hint)
    for name in _TAKEN & set(formula.terms):
        yield Problem(_KEY, f"a term can't be called '{name}'", "rename the column with data.columns")


def check(data: xr.Dataset, spec: GlmSpec) -> list[Problem]:
    """Find responses out of range, collinear columns and complete separation, and name them."""
    try:
        prepared = _prepare(data, spec)
    except UserError as error:
        return list(error.problems)
    problems = list(_wrong_response(prepared, spec))
    if problems or not spec.options.check_design:
        return problems
    return list(_wrong_design(prepared, spec))


def _prepare(data: xr.Dataset, spec: GlmSpec) -> Prepared:
    return prepare(data, parse(spec.formula, _KEY), spec.options.offset, spec.options.trials)


def _wrong_response(prepared: Prepared, spec: GlmSpec) -> Iterator[Problem]:
    import numpy as np

    values = prepared.response.values.astype(float)
    values = values[~np.isnan(values)]
    most = np.inf if prepared.trials is None else prepared.trials[~prepared.response.isnull().values]
    if FAMILIES[spec.family].domain == "real":
        return
    top = 1 if spec.family == "binomial" and prepared.trials is None else most
    words = "0 or 1" if spec.family == "binomial" else "counts"
    words = f"counts from 0 to {spec.options.trials}" if prepared.trials is not None else words
    if np.any((values < 0) | (values != np.round(values)) | (values > top)):
        hint = "give the left side a condition (Y > median(Y)), model.options.trials, or another family"
        yield Problem(_KEY, f"the response of family {spec.family} must be {words}", hint)


def _wrong_design(prepared: Prepared, spec: GlmSpec) -> Iterator[Problem]:
    import numpy as np

    from bayesrun.models._glm_checks import collinear, separating

    made = prepared.design
    known = ~prepared.response.isnull().values
    matrix = made.matrix if known.all() else made.matrix[known]
    anyway = "or let the priors alone tell them apart: model.options.check_design=false"
    for names in collinear(matrix, made.columns):
        message = f"columns are collinear: {', '.join(names)}" if len(names) > 1 else f"'{names[0]}' is 0 in every row"
        yield Problem(_KEY, message, f"leave one of them out; {anyway}")
    if spec.family != "binomial":
        return
    successes = prepared.response.values[known].astype(float)
    trials = np.ones(successes.size) if prepared.trials is None else prepared.trials[known]
    if np.any((successes > 0) & (successes < trials)):
        return  # a row with both has no separation
    if np.all(successes > 0) or not np.any(successes > 0):
        yield Problem(_KEY, f"every row of the response is {int(successes[0] > 0)}", "nothing can be learned from it")
        return
    names = separating(matrix, successes > 0, made.columns)
    if names:
        message = f"complete separation: {', '.join(names)} tells every success from every failure"
        hint = f"the likelihood has no maximum: leave it out, or join levels; {anyway}, with priors narrow enough"
        yield Problem(_KEY, message, hint)


def build(data: xr.Dataset, spec: GlmSpec) -> pm.Model:
    """Build the model: a variable a term, the family's further parameters, and the likelihood `RESPONSE_obs`."""
    import pymc3 as pm
    import theano.tensor as tt

    prepared = _prepare(data, spec)
    natural = scales(prepared, spec.link())
    with pm.Model() as model:
        terms = [_declare_term(data, spec, term, natural[term.name]) for term in prepared.design.terms]
        family = FAMILIES[spec.family]
        auxiliaries = {name: _declare(name, name, data, spec, natural[""]) for name in family.auxiliaries}
        predictor = tt.dot(_design(prepared, data), tt.concatenate([t if t.ndim else tt.shape_padleft(t) for t in terms]))
        if prepared.offset is not None:
            predictor = predictor + prepared.offset
        law, parameters = likelihood(spec.family, spec.link(), predictor, auxiliaries, prepared.trials)
        name = f"{response_variables(parse(spec.formula, _KEY).response, _KEY)[0]}_obs"
        values, dims = observed_values(data.assign({name: prepared.response}), name, name)
        law(name, **parameters, observed=values, dims=dims)
    notes(model)
    return model


def _design(prepared: Prepared, data: xr.Dataset) -> Any:
    import pymc3 as pm

    dim = str(prepared.response.dims[0])
    model = pm.modelcontext(None)
    add_coords(data.assign({"response": prepared.response}), ["response"])
    model.add_coords({"column": list(prepared.design.columns)})
    return pm.Data("design", prepared.design.matrix, dims=(dim, "column"))


def _declare_term(data: xr.Dataset, spec: GlmSpec, term: Term, scale: Any) -> Any:
    import pymc3 as pm

    own = {plain(name): name for name in spec.priors}
    prior = own.get(plain(term.name), "default")
    dims: tuple[str, ...] = ()
    if term.labels is not None:
        dims = (f"{term.name}_level",)
        pm.modelcontext(None).add_coords({dims[0]: list(term.labels)})
    return _declare(term.name, prior, data, spec, scale, dims)


def _declare(name: str, prior: str, data: xr.Dataset, spec: GlmSpec, scale: Any, dims: tuple[str, ...] = ()) -> Any:
    from bayesrun.language.priors import Scope, declare

    scope = Scope(data)
    scope.add("term_scale", scale, dims)
    return declare(name, spec.priors[prior], scope, f"model.priors.{prior}", dims=dims)


MODEL = ModelType(GlmSpec, PriorNames(open=True), roles, build, check, static_check)
