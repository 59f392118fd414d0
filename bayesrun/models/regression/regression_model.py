"""The model type `regression`: its data, its checks, its declaration, and its likelihood over new rows."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bayesrun.data.base import Domain, Role
from bayesrun.data.factors import row_column
from bayesrun.errors import Problem, UserError, did_you_mean
from bayesrun.errors import check as raise_problems
from bayesrun.language.declaration import Declaration, Deterministic, ModelDesign
from bayesrun.language.formula_grammar import with_symbols
from bayesrun.language.formulas import INTERCEPT, plain
from bayesrun.language.grammar import single_name
from bayesrun.language.prior_checks import check_prior
from bayesrun.lazy import xr
from bayesrun.models import declarative
from bayesrun.models.base import ModelType, NewRows, PriorNames, Quantity
from bayesrun.models.declarative import declarative_rows
from bayesrun.models.regression import glm_rows, glm_type
from bayesrun.models.regression.design_checks import collinear_problems
from bayesrun.models.regression.design_matrix import labels_in
from bayesrun.models.regression.expansion import Expansion
from bayesrun.models.regression.explained_response import NEEDED_OF_NEW_ROWS
from bayesrun.models.regression.families import ELSEWHERE, FAMILIES, FAMILY_TABLE
from bayesrun.models.regression.glm_spec import GlmSpec
from bayesrun.models.regression.grouped_sums import summed
from bayesrun.models.regression.hierarchical_centring import around_population
from bayesrun.models.regression.linear_terms import RangedTerm, Rows
from bayesrun.models.regression.population_term import FittedPopulation
from bayesrun.models.regression.regression_plan import KEY, RegressionPlan, plan
from bayesrun.models.regression.regression_spec import RESCOR, RegressionSpec
from bayesrun.models.regression.regression_statements import statements
from bayesrun.models.regression.response_families import GLM_FAMILIES
from bayesrun.models.regression.response_terms import names_of
from bayesrun.models.regression.several_responses import (
    expanded,
    expanded_at,
    plans_of,
    wrong_correlation,
)
from bayesrun.models.regression.shrinkage_priors import SHRINKAGE, is_shrinkage, shrinkage_problems
from bayesrun.models.regression.smooth_calls import is_smooth
from bayesrun.models.regression.smooth_term import FittedSmooth
from bayesrun.models.regression.term_priors import DEFAULT, SECTIONS
from bayesrun.models.regression.whitened_coefficients import whitened

log = logging.getLogger("bayesrun")

_NEW = re.compile(r"\||\b(offset|mvbind|cbind|prop|proportion|mi)\s*\(|^\s*p\s*\(")
# a prior of another family's parameter is ignored, so that a sweep can vary the family
_PARAMETERS = frozenset(name for family in FAMILY_TABLE.values() for name in family.parameters)
_DOMAINS: Mapping[str, Domain] = {
    "real": "real",
    "positive": "positive",
    "nonnegative": "nonnegative",
    "unit": "unit",
    "unit_closed": "unit",
    "binary": "binary",
    "count": "count",
    "trials": "count",
    "angle": "real",
    "level": "any",
    "counts": "count",
}


def as_glm(spec: RegressionSpec) -> GlmSpec | None:
    """Return a regression as a generalised linear model if it is a plain one; otherwise None."""
    family = "binomial" if spec.family == "bernoulli" else spec.family
    link = spec.options.link
    if family not in GLM_FAMILIES or not isinstance(spec.formula, str) or isinstance(link, dict):
        return None
    if any(map(is_shrinkage, spec.priors.values())) or spec.options.rescor:
        return None
    text = with_symbols(spec.formula)
    if (
        _NEW.search(text)
        or is_smooth(text.rpartition("~")[2])
        or (link is not None and link not in GLM_FAMILIES[family].links)
    ):
        return None
    content = spec.model_dump()
    del content["options"]["rescor"]
    # priors of group effects and smooths, in a model without any
    content["priors"] = {n: p for n, p in content["priors"].items() if n not in SECTIONS or set(p) - {DEFAULT}}
    return GlmSpec.model_validate({**content, "family": family})


def roles(spec: RegressionSpec) -> tuple[Role, ...]:
    """Return the response's variables as observed, all others as predictors."""
    glm = as_glm(spec)
    if glm is not None:
        return glm_type.roles(glm)
    return tuple(dict.fromkeys(role for this in plans_of(spec).values() for role in _roles(this)))


def _roles(this: RegressionPlan) -> tuple[Role, ...]:
    response = this.response
    observed = response.names(KEY)
    plainly = single_name(response.text, KEY) is not None or observed == response.counts
    domain = _DOMAINS[this.family.values] if plainly else "real"
    labels = labels_in(response.text, KEY)
    found = [Role(name, "observed", "any" if name in labels else domain, KEY) for name in observed]
    for part, text in response.others().items():
        kind: Domain = "any" if part == "censored" else "real"
        # the upper end of an interval is that of the rows that are one
        names = names_of(text, KEY)
        found += [Role(name, "predictor", kind, KEY, optional=part == "upper") for name in names]
    return (*found, *_predictors(this))


def _predictors(this: RegressionPlan) -> tuple[Role, ...]:
    return tuple(role for one in this.predictors.values() for term in one.terms for role in term.roles())


def static_check(spec: RegressionSpec) -> list[Problem]:
    """Find errors in formulas, family, links and priors; needs no data."""
    if spec.family not in FAMILIES.names():
        return [_unknown_family(spec.family)]
    glm = as_glm(spec)
    if glm is not None:
        return glm_type.static_check(glm)
    unknown = [one.family for one in spec.responses().values() if one.family not in FAMILIES.names()]
    if unknown:
        return [_unknown_family(unknown[0])]
    try:
        plans = plans_of(spec)
        roles(spec)
    except UserError as error:
        return list(error.problems)
    several = spec.responses() or {"": spec}
    problems = [p for name, this in plans.items() for p in _wrong_links(several[name], this)]
    problems += [p for name, this in plans.items() for p in _wrong_response(several[name], this)]
    return [*problems, *wrong_correlation(spec, plans), *_wrong_priors(spec, plans)]


def _unknown_family(name: str) -> Problem:
    here = ELSEWHERE.get(name)
    hint = f"here it is '{here}'" if here else did_you_mean(name, FAMILIES.names())
    return Problem("model.family", f"unknown family '{name}'", f"{hint}; see docs/regression.md")


def _wrong_links(spec: RegressionSpec, this: RegressionPlan) -> Iterator[Problem]:
    given = spec.options.link
    if isinstance(given, dict):
        for name in given:
            if name not in this.predictors:
                message = f"no formula predicts '{name}'"
                yield Problem(f"model.options.link.{name}", message, f"predicted: {', '.join(this.predictors)}")
    for name, predictor in this.predictors.items():
        links = this.family.parameters[name].links
        if predictor.link not in links:
            key = "model.options.link" if isinstance(given, str) else f"model.options.link.{name}"
            yield Problem(key, f"{name} of {spec.family} has no link '{predictor.link}'", ", ".join(links))


def _wrong_response(spec: RegressionSpec, this: RegressionPlan) -> Iterator[Problem]:
    response, counted = this.response, this.family.values == "trials"
    if (this.family.values == "counts") != bool(response.counts):
        hint = "write cbind(a, b, c) ~ x with family: multinomial, cbind(successes, failures) with family: binomial"
        yield Problem(KEY, f"family {spec.family} does not explain '{response.text}'", hint)
        return
    if counted and not (response.trials or response.failures):
        hint = "write y | trials(n), or cbind(successes, failures); for a response of 0 and 1 family: bernoulli"
        yield Problem(KEY, f"family {spec.family} needs the number of trials", hint)
    if not counted and (response.trials or response.failures):
        hint = "family: binomial has"
        if response.failures:
            hint = f"{hint}; two responses are mvbind({response.text}, {response.failures})"
        yield Problem(KEY, f"family {spec.family} has no trials", hint)
    if response.error and "sigma" not in this.family.parameters:
        yield Problem(KEY, f"family {spec.family} has no sigma that se() could replace", "family: normal has")


def _wrong_priors(spec: RegressionSpec, plans: Mapping[str, RegressionPlan]) -> Iterator[Problem]:
    """Find priors that match nothing in the model, and errors in its sections."""
    names: list[str] = [DEFAULT, INTERCEPT]
    for this in plans.values():
        mine = [*this.numbers, DEFAULT, INTERCEPT]
        mine += ["cutpoints"] if this.family.categories == "thresholds" else []
        # a prior without the response's name is that of all responses
        names += [f"{prefix}{name}" for prefix in dict.fromkeys(("", this.prefix)) for name in mine]
        for predictor in this.predictors.values():
            for prefix in dict.fromkeys((predictor.prefix, predictor.prefix.removeprefix(this.prefix))):
                names += [name for term in predictor.terms for name in term.prior_names(prefix)]
    within = {section: [n.partition(".")[2] for n in names if n.startswith(f"{section}.")] for section in SECTIONS}
    names = [name for name in names if name.partition(".")[0] not in SECTIONS]
    known = {plain(name) for name in names}
    by_level = any(this.family.categories == "reference" for this in plans.values())
    ends = tuple(f"_{name}" for name in names) if by_level else ()
    for name, prior in spec.priors.items():
        if name in SECTIONS:
            yield from _wrong_section(name, prior, within[name])
        elif name == RESCOR:
            yield from _wrong_section("cor", prior if DEFAULT in prior else {DEFAULT: prior}, [])
        elif is_shrinkage(prior):
            yield from _wrong_shrinkage(name, prior, plans)
        elif plain(name) not in known and name not in _PARAMETERS and not name.endswith(ends):
            yield Problem(f"model.priors.{name}", f"the model has no '{name}'", did_you_mean(name, names))


def _wrong_shrinkage(name: str, prior: Mapping[str, Any], plans: Mapping[str, RegressionPlan]) -> Iterator[Problem]:
    """Find errors of a prior of all coefficients together, which only a default can be."""
    prefixes = [(this.prefix, one.prefix) for this in plans.values() for one in this.predictors.values()]
    allowed = [f"{of}{DEFAULT}" for first, one in prefixes for of in dict.fromkeys((one.removeprefix(first), one))]
    by_level = any(this.family.categories == "reference" for this in plans.values())
    if name not in allowed and not by_level:
        hint = f"write it as model.priors.{' or model.priors.'.join(dict.fromkeys(allowed))}"
        yield Problem(f"model.priors.{name}", f"{prior['dist']} is a prior of all coefficients together", hint)
    yield from shrinkage_problems(f"model.priors.{name}", prior)


def _wrong_section(section: str, priors: Mapping[str, Any], names: Sequence[str]) -> Iterator[Problem]:
    known = {plain(name) for name in (*names, DEFAULT)}
    for name, prior in priors.items():
        key = f"model.priors.{section}.{name}"
        if plain(name) not in known:
            message = f"no effects vary with '{name}'" if section in ("sd", "cor") else f"no term is '{name}'"
            yield Problem(key, message, did_you_mean(name, names))
        elif section == "cor":
            if not isinstance(prior, Mapping) or set(prior) - {"dist", "eta"} or prior.get("dist") != "LKJ":
                yield Problem(key, f"correlations have an LKJ prior (got {prior!r})", "write {dist: LKJ, eta: 2}")
            elif not isinstance(prior.get("eta", 1.0), int | float) or not prior.get("eta", 1.0) > 0:
                yield Problem(f"{key}.eta", f"must be a number above 0 (got {prior['eta']!r})")
        elif section == "simo" and (not isinstance(prior, Mapping) or prior.get("dist") != "Dirichlet"):
            yield Problem(key, f"a simplex has a Dirichlet prior (got {prior!r})", "write {dist: Dirichlet, a: 1}")
        elif section != "sd" or not isinstance(prior, Mapping) or "dist" in prior:
            yield from check_prior(key, prior)
        else:
            for effect, one in prior.items():
                yield from check_prior(f"{key}.{effect}", one)


def check(data: xr.Dataset, spec: RegressionSpec) -> list[Problem]:
    """Find errors that depend on the data: responses out of range, collinear columns, groups that don't fit."""
    glm = as_glm(spec)
    if glm is not None:
        return glm_type.check(data, glm)
    try:
        _checked(expanded(data, spec), spec)
    except UserError as error:
        return list(error.problems)
    return []


def _checked(expansion: Expansion, spec: RegressionSpec) -> Expansion:
    """Return an expansion without problems; raises `UserError` with those that there are."""
    raise_problems(list(_collinear(expansion)) if spec.options.check_design else [])
    raise_problems(declarative.check(expansion.columns, _declarative(expansion)))
    return expansion


def _collinear(expansion: Expansion) -> Iterator[Problem]:
    whitened = {name for _, name in expansion.whitened}
    for terms in expansion.terms.values():
        parts: list[tuple[Any, tuple[str, ...]]] = []
        for term in terms:
            if isinstance(term, FittedSmooth):
                parts.append(term.unpenalised(expansion.columns))
            elif isinstance(term, FittedPopulation) and f"{term.prefix}design" in whitened:
                design = expansion.columns[f"{term.prefix}design"]
                parts.append((design.values, tuple(map(str, design[design.dims[1]].values))))
        matrix = np.concatenate([values for values, _ in parts], axis=1) if parts else np.empty((0, 0))
        if matrix.size:
            yield from collinear_problems(matrix, [name for _, names in parts for name in names])


def expansion_of(data: xr.Dataset, spec: RegressionSpec) -> Expansion:
    """Return the declarative model equivalent to a regression, even if a faster form of it is built.

    Raises
    ------
    UserError
        With the problems that `check` returns.
    """
    glm = as_glm(spec)
    if glm is None:
        return _checked(expanded(data, spec), spec)
    raise_problems(glm_type.check(data, glm))
    return expanded(data, spec)


def _declarative(expansion: Expansion) -> declarative.DeclarativeSpec:
    return declarative.DeclarativeSpec.model_validate(dict(expansion.model))


def build(data: xr.Dataset, spec: RegressionSpec) -> Declaration:
    """Build the declarative model equivalent to the regression.

    With `options.form: whitened` it is sampled in another form: whitened coefficients, centred effects around them, and
    one number as the likelihood of many rows. It is reported as the model as written.

    Raises
    ------
    UserError
        With the problems that `check` returns.
    """
    glm = as_glm(spec)
    if glm is not None:
        return glm_type.checked_build(data, glm)
    expansion = _checked(expanded(data, spec), spec)
    for note in expansion.notes:
        log.info(note)
    declared = declarative.build(expansion.columns, _declarative(expansion))
    design = ModelDesign(rows=declared.design.rows, terms=expansion.state())
    direct = replace(declared, helpers=declared.helpers | expansion.helpers, design=design)
    if spec.options.form == "direct":
        return direct
    sampled = _with_intercepts_at_means(whitened(direct, expansion), expansion)
    sampled = around_population(sampled, expansion)
    return sampled if expansion.responses else summed(sampled, expansion, plan(spec), spec.family)


def _with_intercepts_at_means(declared: Declaration, expansion: Expansion) -> Declaration:
    for terms in expansion.terms.values():
        for term in terms:
            if isinstance(term, FittedPopulation):
                declared = term.with_intercept_at_means(declared, expansion.columns)
    return declared


def needs(rows: NewRows, spec: RegressionSpec) -> tuple[Role, ...]:
    """Return the columns that new rows must have."""
    glm = as_glm(spec)
    if glm is not None:
        return glm_rows.needs(rows, glm)
    return tuple(dict.fromkeys(role for this in plans_of(spec).values() for role in _needs(this)))


def _needs(this: RegressionPlan) -> tuple[Role, ...]:
    response = this.response
    texts = [text for part, text in response.others().items() if part in NEEDED_OF_NEW_ROWS]
    texts += [response.text] if response.failures is not None else list(response.counts)
    beside = tuple(Role(name, "predictor", "real", KEY) for text in texts for name in names_of(text, KEY))
    return (*beside, *_predictors(this))


def at_rows(rows: NewRows, spec: RegressionSpec) -> Declaration:
    """Declare the likelihood over new rows with the learned state of the fit.

    Raises
    ------
    UserError
        If rows can't be predicted; also for the column of a factor that they lack, whose dim has the labels of the fit.
    """
    absent = [
        Problem(
            f"predict.data.{role.variable}",
            f"predictor '{role.variable}' is not in data set '{rows.data.attrs.get('name', '')}'",
            "add the column",
        )
        for role in needs(rows, spec)
        if role.kind == "predictor"
        and role.variable != rows.dim
        and row_column(rows.data, role.variable).dims == (role.variable,)
    ]
    raise_problems(absent)
    glm = as_glm(spec)
    if glm is not None:
        return glm_rows.at_rows(rows, glm)
    expansion = expanded_at(rows.data, spec, rows.design.terms, rows.dim, rows.draw_over_rows)
    grown = {
        dim: size
        for terms in expansion.terms.values()
        for term in terms
        for dim, size in term.known_groups().items()
        if expansion.columns.sizes[dim] > size
    }
    recalled = [*expansion.recalled]
    recalled += [
        item
        for name, terms in expansion.terms.items()
        for term in terms
        for item in term.recalled(expansion.settings[name])
    ]
    quantities = {**rows.quantities, **{i.name: Quantity(i.value.dims, i.value.shape) for i in recalled}}
    likelihoods = {name: (rows.dim, *rows.likelihoods.get(name, ())[1:]) for name in expansion.model["likelihood"]}
    over = replace(rows, data=expansion.columns, grown=grown, quantities=quantities, likelihoods=likelihoods)
    known = replace(expansion, model=_without_definitions(expansion.model, recalled))
    declared: Declaration = declarative_rows.at_rows(over, _declarative(known))
    given = Rows(rows.data, rows.dim, "predict.data", rows.draw_over_rows)
    ranged = [term for terms in expansion.terms.values() for term in terms if isinstance(term, RangedTerm)]
    notes = tuple(note for term in ranged for note in term.outside(given))
    return replace(declared, items=(*recalled, *declared.items), notes=notes)


def _without_definitions(model: Mapping[str, Any], recalled: Sequence[Deterministic]) -> dict[str, Any]:
    """Return a model without the definitions of what is recalled: it depends on variables that were not kept."""
    given = dict(model.get("deterministics", {}))
    known = {i.name: {"dist": "Flat", "dims": list(i.dims)} for i in recalled if given.pop(i.name, None) is not None}
    return {**model, "priors": {**model["priors"], **known}, "deterministics": given}


MODEL = ModelType(
    RegressionSpec,
    PriorNames(open=True, nested=(*SECTIONS, RESCOR), joint=tuple(SHRINKAGE)),
    roles,
    build,
    check,
    static_check,
    at_rows,
    needs,
    build_checks=True,
    statements=statements,
)
