"""Generalised linear models from a formula in the R language.

    eta = sum over terms of the formula of columns * coefficients (+ offset)
    response ~ family with mean inverse-link(eta)

Each term is a variable named as in the formula (`Intercept`, `X1`, `C(g)`); a term of several columns is a vector with
their labels. A term without its own prior uses `priors.default`. In priors of a GLM the name `term_scale` is the
natural scale of the coefficient (`regression.design_matrix.scales`), so that the defaults suit data in any units.
"""

from __future__ import annotations

from collections.abc import Iterator

from bayesrun.data.base import Role
from bayesrun.errors import Problem, UserError, did_you_mean
from bayesrun.errors import check as raise_problems
from bayesrun.language.declaration import Declaration
from bayesrun.language.formulas import INTERCEPT, Formula, plain
from bayesrun.language.grammar import single_name
from bayesrun.lazy import xr
from bayesrun.models.base import ModelType, PriorNames
from bayesrun.models.regression.design_checks import wrong_design, wrong_response
from bayesrun.models.regression.design_matrix import Prepared, labels_in, prepare, response_variables
from bayesrun.models.regression.glm_model import build, build_prepared
from bayesrun.models.regression.glm_rows import at_rows, needs
from bayesrun.models.regression.glm_spec import KEY, GlmSpec
from bayesrun.models.regression.response_families import GLM_FAMILIES

_AUXILIARIES = frozenset(name for family in GLM_FAMILIES.values() for name in family.auxiliaries)


def roles(spec: GlmSpec) -> tuple[Role, ...]:
    """Return the roles: variables of the left side are observed; right side, trials and offset are predictors."""
    formula, options = spec.parsed(), spec.options
    observed = response_variables(formula.response, KEY)
    domain = spec.known_family().domain if single_name(formula.response, KEY) else "real"
    domain = "count" if options.trials and domain == "binary" else domain
    labels = labels_in(formula.response, KEY)
    found = [Role(name, "observed", "any" if name in labels else domain, KEY) for name in observed]
    for name in formula.variables:
        found.append(Role(name, "predictor", "any" if name in formula.categorical else "number_or_date", KEY))
    if options.trials:
        found.append(Role(options.trials, "predictor", "count", "model.options.trials"))
    key = "model.options.offset"
    offset = response_variables(options.offset, key) if options.offset else ()
    return (*found, *(Role(name, "predictor", "real", key) for name in offset))


def static_check(spec: GlmSpec) -> list[Problem]:
    """Find errors in the formula, the link and the names of priors; needs no data."""
    problems: list[Problem] = []
    links = spec.known_family().links
    if spec.link() not in links:
        problems.append(Problem("model.options.link", f"{spec.family} has no link '{spec.link()}'", ", ".join(links)))
    if spec.options.trials and spec.family != "binomial":
        message = f"only binomial has trials, not {spec.family}"
        problems.append(Problem("model.options.trials", message, "set it to null"))
    try:
        roles(spec)
        problems += _wrong_names(spec, spec.parsed())
    except UserError as error:
        problems += error.problems
    return problems


def _wrong_names(spec: GlmSpec, formula: Formula) -> Iterator[Problem]:
    known = {plain(name) for name in formula.terms}
    for name in spec.priors:
        if name not in ("default", INTERCEPT, *_AUXILIARIES) and plain(name) not in known:
            hint = did_you_mean(name, [*formula.terms, "default", *spec.known_family().auxiliaries])
            yield Problem(f"model.priors.{name}", f"'{spec.formula}' has no term '{name}'", hint)


def check(data: xr.Dataset, spec: GlmSpec) -> list[Problem]:
    """Find responses out of range, collinear columns and complete separation, and name them."""
    try:
        return _problems(_prepared(data, spec), spec)
    except UserError as error:
        return list(error.problems)


def checked_build(data: xr.Dataset, spec: GlmSpec) -> Declaration:
    """Build the model; raises `UserError` with the problems that `check` returns."""
    prepared = _prepared(data, spec)
    raise_problems(_problems(prepared, spec))
    return build_prepared(data, spec, prepared)


def _prepared(data: xr.Dataset, spec: GlmSpec) -> Prepared:
    return prepare(data, spec.parsed(), spec.options.offset, spec.options.trials)


def _problems(prepared: Prepared, spec: GlmSpec) -> list[Problem]:
    problems = list(wrong_response(prepared, spec))
    if problems or not spec.options.check_design:
        return problems
    return list(wrong_design(prepared, spec))


MODEL = ModelType(GlmSpec, PriorNames(open=True), roles, build, check, static_check, at_rows, needs)
