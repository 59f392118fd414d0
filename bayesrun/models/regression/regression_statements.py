"""The lines of a regression: its likelihood, its linear predictors as sums of terms, and their priors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bayesrun.data.factors import LABELS
from bayesrun.language.formula_grammar import names_in, shown
from bayesrun.language.formulas import INTERCEPT
from bayesrun.language.grammar import SIGNATURES
from bayesrun.language.statements import ROWS, Statement, distribution_in
from bayesrun.lazy import xr
from bayesrun.models.regression.gaussian_process_term import GaussianProcess
from bayesrun.models.regression.group_effects import GroupEffects
from bayesrun.models.regression.missing_predictor import MissingPredictor
from bayesrun.models.regression.monotonic_term import MonotonicTerm
from bayesrun.models.regression.offset_term import OffsetTerm
from bayesrun.models.regression.population_term import PopulationTerm
from bayesrun.models.regression.regression_plan import KEY, LinearPredictor, RegressionPlan, plan
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.models.regression.smooth_term import SmoothTerm
from bayesrun.models.regression.term_priors import DEFAULT, prior_of

_PLACE = re.compile(r"\{([\w.]+)\}")
_FACTOR = re.compile(r"C\((`[^`]*`|\w+)[^)]*\)")
_LONG = 60  # characters of a distribution's argument, above which the family's own parameters are shown


def statements(spec: RegressionSpec, data: xr.Dataset | None) -> list[Statement]:
    """Return the lines of a regression; the data tell which columns hold labels."""
    this = plan(spec)
    labels = frozenset() if data is None else frozenset(str(n) for n in data.variables if _holds_labels(data[n]))
    lines = [_likelihood(spec, this)]
    for predictor in this.predictors.values():
        lines.append(_predictor(predictor, this, labels))
    for predictor in this.predictors.values():
        lines += _priors(predictor, spec)
    lines += [Statement("prior", name, (), distribution_in(spec.priors[name])) for name in this.numbers]
    if this.family.categories == "thresholds":
        lines.append(Statement("prior", "cutpoints", ("cutpoint",), distribution_in(spec.priors["cutpoints"])))
    return lines


def _holds_labels(column: xr.DataArray) -> bool:
    return column.dtype.kind in "OUSb" or LABELS in column.attrs


# ---------------------------------------------------------------- likelihood


def _likelihood(spec: RegressionSpec, this: RegressionPlan) -> Statement:
    family, response = this.family, this.response
    chosen = {k: v for k, v in family.by_link.get(this.main.link, {}).items() if k == "dist"}
    arguments = {
        name: _PLACE.sub(lambda found: _symbol(found[1], this), text) for name, text in family.arguments.items()
    }
    if any(len(text) > _LONG for text in arguments.values()):
        arguments = {name: name for name in family.parameters}
    if response.error is not None and "sigma" in arguments:
        arguments["sigma"] = f"sqrt(sigma ** 2 + {response.error} ** 2)" if response.adds_sigma else response.error
    body: dict[str, Any] = {"dist": chosen.get("dist", family.likelihood), **arguments}
    body |= {"weights": response.weights} if response.weights else {}
    if response.censored:
        body["censored"] = {"status": response.censored, **({"upper": response.upper} if response.upper else {})}
    limits = {"lower": response.at_least, "upper": response.at_most}
    if any(limits.values()):
        body["truncated"] = {side: text for side, text in limits.items() if text}
    name = response.names(KEY)[0]
    counts = f"stack({', '.join(response.counts)})" if response.counts else response.text
    return Statement("likelihood", name, (ROWS,), body, left="" if counts == name else counts)


def _symbol(place: str, this: RegressionPlan) -> str:
    """Return what stands in a distribution for a place of the family's template."""
    response = this.response
    if place == "trials":
        rest = re.fullmatch(r"(.+) - (.+)", response.failures or "")
        if rest and rest[2].strip() == response.text:  # cbind(y, n - y)
            return rest[1].strip()
        return response.trials or f"({response.text} + {response.failures})"
    return "eta" if place.endswith((".eta", ".etas")) else place


# ---------------------------------------------------------------- linear predictors


def _predictor(predictor: LinearPredictor, this: RegressionPlan, labels: frozenset[str]) -> Statement:
    terms = [text for term in predictor.terms for text in _summands(term, predictor, labels)]
    used = "".join(this.family.arguments.values())
    scored = predictor is this.main and f"{{{predictor.parameter}.eta" in used
    name, link = ("eta", "identity") if scored else (predictor.parameter, predictor.link)
    return Statement("predictor", name, (ROWS,), expression=" + ".join(terms) or "0", link=link)


def _summands(term: Any, predictor: LinearPredictor, labels: frozenset[str]) -> Iterator[str]:
    if isinstance(term, PopulationTerm):
        names = [name for name in term.formula.terms if term.intercept or name != INTERCEPT]
        yield from (_times(_coefficient(name, predictor), name, labels) for name in names)
    elif isinstance(term, GroupEffects):
        of = _effect_name(term, predictor)
        formula = term.term.effects
        yield from (_times(f"effect({of!r}, {name!r})", name, labels) for name in formula.terms)
    elif isinstance(term, OffsetTerm):
        yield term.text
    elif isinstance(term, MissingPredictor):
        yield f"{_coefficient(term.label, predictor)} * {term.column}"
    elif isinstance(term, SmoothTerm | GaussianProcess | MonotonicTerm):
        yield from term.summands()


def _coefficient(name: str, predictor: LinearPredictor) -> str:
    plain = ":".join(_FACTOR.sub(r"\1", part) for part in _interacting(shown(name)))
    parts = [repr(plain), *([repr(predictor.parameter)] if predictor.prefix else [])]
    return f"coefficient({', '.join(parts)})"


def _times(coefficient: str, term: str, labels: frozenset[str]) -> str:
    """Return a term's summand: a coefficient times its columns; a factor picks the coefficient of its level."""
    if term == INTERCEPT:
        return coefficient
    factors, picked = [], []
    for part in _interacting(term):
        names = names_in(part)
        if part.startswith("C(") or (len(names) == 1 and part == names[0] and part in labels):
            picked.append(shown(names[0]) if names else part)
        elif re.match(r"\w+\(", part) and part.partition("(")[0] not in SIGNATURES and part.partition("(")[0] != "I":
            factors.append(f"column({shown(part)!r})")
        else:
            factors.append(shown(part.removeprefix("I") if part.startswith("I(") else part))
    if picked:
        coefficient = f"{coefficient[:-1]}, level=({', '.join(map(repr, picked))},))"
    return " * ".join([coefficient, *(f"({factor})" for factor in factors)])


def _interacting(term: str) -> list[str]:
    """Split a term at colons outside parentheses."""
    parts, depth = [""], 0
    for char in term:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _effect_name(term: GroupEffects, predictor: LinearPredictor) -> str:
    return f"{predictor.prefix}{term.term.name}"


# ---------------------------------------------------------------- priors


def _priors(predictor: LinearPredictor, spec: RegressionSpec) -> Iterator[Statement]:
    for term in predictor.terms:
        if isinstance(term, PopulationTerm):
            names = [name for name in term.formula.terms if term.intercept or name != INTERCEPT]
            yield from _of_coefficients(names, predictor, spec)
        elif isinstance(term, MissingPredictor):
            yield from _of_coefficients([term.label], predictor, spec)
            spread = {"dist": "Normal", "mu": f"{term.column}_mean", "sigma": f"{term.column}_sd"}
            yield Statement("prior", term.column, (ROWS,), spread)
        elif isinstance(term, GroupEffects):
            yield from _of_groups(term, predictor, spec)
        elif isinstance(term, SmoothTerm | GaussianProcess | MonotonicTerm):
            yield from term.prior_statements(spec.priors, predictor.prefix)


def _of_coefficients(names: list[str], predictor: LinearPredictor, spec: RegressionSpec) -> Iterator[Statement]:
    by_prior: dict[str, list[str]] = {}
    for name in names:
        by_prior.setdefault(prior_of(spec.priors, name, predictor.prefix)[0], []).append(name)
    for key, of in by_prior.items():
        left = ", ".join(_coefficient(name, predictor) for name in of)
        yield Statement("prior", of[0], (), distribution_in(spec.priors[key]), left=left)


def _of_groups(term: GroupEffects, predictor: LinearPredictor, spec: RegressionSpec) -> Iterator[Statement]:
    """Write the distribution of the effects, of their sds, and of their correlations."""
    name, effects = _effect_name(term, predictor), term.term.effects.terms
    keys = (name, f"{predictor.prefix}{':'.join(term.term.columns)}", DEFAULT)
    sd = _first(spec.priors["sd"], keys)
    several = {effect: prior for effect, prior in sd.items() if isinstance(prior, Mapping)} if "dist" not in sd else {}
    if len(effects) == 1:
        own = several.get(effects[0], spec.priors["sd"].get(DEFAULT, {})) if several else sd
        around = {"dist": "Normal", "mu": 0, "sigma": f"sd_{name}"}
        yield Statement("prior", f"r_{name}", (term.dim,), around)
        yield Statement("prior", f"sd_{name}", (), distribution_in(own))
        return
    if not term.term.correlated:
        around = {"dist": "Normal", "mu": 0, "sigma": f"sd_{name}"}
        yield Statement("prior", f"r_{name}", (term.dim, f"{name}_effect"), around)
    else:
        around = {"dist": "MvNormal", "mu": 0, "cov": f"covariance(sd_{name}, cor_{name})"}
        yield Statement("prior", f"r_{name}", (term.dim, f"{name}_effect"), around)
    for effect in effects if several else [""]:
        own = several.get(effect, spec.priors["sd"].get(DEFAULT, {})) if several else sd
        left = f"sd_{name}[{effect!r}]" if effect else ""
        yield Statement("prior", f"sd_{name}", (f"{name}_effect",), distribution_in(own), left=left)
    if term.term.correlated:
        cor = _first(spec.priors["cor"], keys)
        yield Statement("prior", f"cor_{name}", (), {"dist": "LKJ", "eta": cor.get("eta", 1.0)})


def _first(section: Mapping[str, Any], keys: tuple[str, ...]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(section[key] for key in keys if key in section)
    return found
