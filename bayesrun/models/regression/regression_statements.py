"""The lines of a regression: its likelihood, its linear predictors as sums of terms, and their priors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bayesrun.data.factors import LABELS
from bayesrun.language.formula_grammar import names_in, shown
from bayesrun.language.formulas import INTERCEPT, split_interaction
from bayesrun.language.grammar import SIGNATURES
from bayesrun.language.statements import ROWS, Statement, distribution_in
from bayesrun.lazy import xr
from bayesrun.models.regression.group_effects import GroupEffects
from bayesrun.models.regression.linear_terms import WrittenTerm
from bayesrun.models.regression.missing_predictor import MissingPredictor
from bayesrun.models.regression.offset_term import OffsetTerm
from bayesrun.models.regression.population_term import PopulationTerm
from bayesrun.models.regression.regression_plan import KEY, LinearPredictor, RegressionPlan
from bayesrun.models.regression.regression_spec import RESCOR, RegressionSpec
from bayesrun.models.regression.several_responses import is_correlated, plans_of
from bayesrun.models.regression.term_priors import DEFAULT, prior_of

_PLACE = re.compile(r"\{([\w.]+)\}")
_FACTOR = re.compile(r"C\((`[^`]*`|\w+)[^)]*\)")
_COEFFICIENT = re.compile(r"(coefficient\('[^']*')(?=[,)])")
_LONG = 60  # characters of a distribution's argument, above which the family's own parameters are shown


def statements(spec: RegressionSpec, data: xr.Dataset | None) -> list[Statement]:
    """Return the lines of a regression; the data tell which columns hold labels."""
    labels = frozenset() if data is None else frozenset(str(n) for n in data.variables if _holds_labels(data[n]))
    several, plans = spec.responses() or {"": spec}, plans_of(spec)
    jointly = is_correlated(spec, plans)
    lines = [_joint_likelihood(spec, plans)] if jointly else [_likelihood(several[n], plans[n]) for n in plans]
    # the parameters of several responses bear the name of the response
    for this in plans.values():
        for predictor in this.predictors.values():
            line = _predictor(_of_response(predictor, this), this, labels)
            lines.append(_of_level(line) if _by_level(this) else line)
    for name, this in plans.items():
        for predictor in this.predictors.values():
            priors = _priors(_of_response(predictor, this), several[name])
            lines += map(_of_level, priors) if _by_level(this) else priors
        numbers = [f"{this.prefix}{one}" for one in this.numbers if not (jointly and one == "nu")]
        lines += [Statement("prior", one, (), distribution_in(several[name].priors[one])) for one in numbers]
        if this.family.categories == "thresholds":
            cutpoints = f"{this.prefix}cutpoints"
            prior = distribution_in(several[name].priors[cutpoints])
            lines.append(Statement("prior", cutpoints, (f"{this.prefix}cutpoint",), prior))
    lines += _of_joint_groups(plans, spec)
    if jointly:
        own = spec.priors[RESCOR]
        lines.append(Statement("prior", RESCOR, (), {"dist": "LKJ", "eta": own.get(DEFAULT, own).get("eta", 1.0)}))
        if "nu" in next(iter(plans.values())).numbers:
            lines.append(Statement("prior", "nu", (), distribution_in(spec.priors["nu"])))
    return lines


def _by_level(this: RegressionPlan) -> bool:
    return this.family.categories == "reference"


def _of_level(line: Statement) -> Statement:
    """Return a line of a predictor that each level but the reference has: its coefficients are those of level k."""
    expression, left = (_COEFFICIENT.sub(r"\1, 'k'", text) for text in (line.expression, line.left))
    return replace(line, expression=expression, left=f"{line.name}['k']" if line.kind == "predictor" else left)


def _of_response(predictor: LinearPredictor, this: RegressionPlan) -> LinearPredictor:
    return replace(predictor, parameter=f"{this.prefix}{predictor.parameter}")


def _joint_likelihood(spec: RegressionSpec, plans: Mapping[str, RegressionPlan]) -> Statement:
    first = next(iter(plans.values()))
    means, sds = ("stack(" + ", ".join(f"{name}_{one}" for name in plans) + ")" for one in ("mu", "sigma"))
    body = {"dist": "MvStudentT", "nu": "nu"} if "nu" in first.numbers else {"dist": "MvNormal"}
    left = f"stack({', '.join(this.response.text for this in plans.values())})"
    body |= {"mu": means, "cov": f"covariance({sds}, {RESCOR})"}
    return Statement("likelihood", first.response.names(KEY)[0], (ROWS,), body, left=left)


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
        arguments = {name: f"{this.prefix}{name}" for name in family.parameters}
    if response.error is not None and "sigma" in arguments:
        arguments["sigma"] = (
            f"sqrt({this.prefix}sigma ** 2 + {response.error} ** 2)" if response.adds_sigma else response.error
        )
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
        if response.counts:
            return " + ".join(response.counts)
        return response.trials or f"({response.text} + {response.failures})"
    return f"{this.prefix}eta" if place.endswith((".eta", ".etas")) else f"{this.prefix}{place}"


# ---------------------------------------------------------------- linear predictors


def _predictor(predictor: LinearPredictor, this: RegressionPlan, labels: frozenset[str]) -> Statement:
    terms = [text for term in predictor.terms for text in _summands(term, predictor, labels)]
    used = "".join(this.family.arguments.values())
    scored = predictor.prefix == this.prefix and f"{{{this.family.main}.eta" in used
    name, link = (f"{this.prefix}eta", "identity") if scored else (predictor.parameter, predictor.link)
    return Statement("predictor", name, (ROWS,), expression=" + ".join(terms) or "0", link=link)


def _summands(term: Any, predictor: LinearPredictor, labels: frozenset[str]) -> Iterator[str]:
    if isinstance(term, PopulationTerm):
        names = [name for name in term.formula.terms if term.intercept or name != INTERCEPT]
        yield from (_times(_coefficient(name, predictor), name, labels) for name in names)
    elif isinstance(term, GroupEffects):
        of = _effect_name(term, predictor)
        before, formula = predictor.prefix if term.joint else "", term.term.effects
        yield from (_times(f"effect({of!r}, {before + name!r})", name, labels) for name in formula.terms)
    elif isinstance(term, OffsetTerm):
        yield term.text
    elif isinstance(term, MissingPredictor):
        yield f"{_coefficient(term.label, predictor)} * {term.column}" + (f" * ({term.others})" if term.others else "")
    elif isinstance(term, WrittenTerm):
        yield from term.summands()
    else:  # without it the formulas would be those of another model
        raise TypeError(f"{type(term).__name__} can't be written down: it is no WrittenTerm")


def _coefficient(name: str, predictor: LinearPredictor) -> str:
    plain = ":".join(_FACTOR.sub(r"\1", part) for part in split_interaction(shown(name)))
    parts = [repr(plain), *([repr(predictor.parameter)] if predictor.prefix else [])]
    return f"coefficient({', '.join(parts)})"


def _times(coefficient: str, term: str, labels: frozenset[str]) -> str:
    """Return a term's summand: a coefficient times its columns; a factor picks the coefficient of its level."""
    if term == INTERCEPT:
        return coefficient
    factors, picked = [], []
    for part in split_interaction(term):
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


def _effect_name(term: GroupEffects, predictor: LinearPredictor) -> str:
    return term.joint or f"{predictor.prefix}{term.term.name}"


# ---------------------------------------------------------------- priors


def _priors(predictor: LinearPredictor, spec: RegressionSpec) -> Iterator[Statement]:
    for term in predictor.terms:
        if isinstance(term, PopulationTerm):
            names = [name for name in term.formula.terms if term.intercept or name != INTERCEPT]
            yield from _of_coefficients(names, predictor, spec)
        elif isinstance(term, MissingPredictor):
            yield from _of_coefficients([term.label], predictor, spec)
            if term.modelled:
                continue
            spread = {"dist": "Normal", "mu": f"{term.column}_mean", "sigma": f"{term.column}_sd"}
            yield Statement("prior", term.column, (ROWS,), spread)
        elif isinstance(term, GroupEffects) and not term.joint:
            yield from _of_groups(term, _effect_name(term, predictor), predictor.prefix, term.term.effects.terms, spec)
        elif isinstance(term, WrittenTerm):
            yield from term.prior_statements(spec.priors, predictor.prefix)


def _of_coefficients(names: list[str], predictor: LinearPredictor, spec: RegressionSpec) -> Iterator[Statement]:
    by_prior: dict[str, list[str]] = {}
    for name in names:
        by_prior.setdefault(prior_of(spec.priors, name, predictor.prefix)[0], []).append(name)
    for key, of in by_prior.items():
        left = ", ".join(_coefficient(name, predictor) for name in of)
        yield Statement("prior", of[0], (), distribution_in(spec.priors[key]), left=left)


def _of_joint_groups(plans: Mapping[str, RegressionPlan], spec: RegressionSpec) -> Iterator[Statement]:
    """Write the distributions of effects that several terms share."""
    found: dict[str, tuple[GroupEffects, list[str]]] = {}
    for this in plans.values():
        for predictor in this.predictors.values():
            for term in predictor.terms:
                if isinstance(term, GroupEffects) and term.joint:
                    names = [f"{predictor.prefix}{effect}" for effect in term.term.effects.terms]
                    found.setdefault(term.joint, (term, []))[1].extend(names)
    for joint, (term, effects) in found.items():
        yield from _of_groups(term, joint, "", effects, spec)


def _of_groups(
    term: GroupEffects, name: str, prefix: str, effects: Sequence[str], spec: RegressionSpec
) -> Iterator[Statement]:
    """Write the distribution of the effects, of their sds, and of their correlations."""
    keys = (name, f"{prefix}{':'.join(term.term.columns)}", DEFAULT)
    sd = _first(spec.priors["sd"], keys)
    several = {effect: prior for effect, prior in sd.items() if isinstance(prior, Mapping)} if "dist" not in sd else {}
    if len(effects) == 1:
        own = several.get(effects[0], spec.priors["sd"].get(DEFAULT, {})) if several else sd
        around = {"dist": "Normal", "mu": 0, "sigma": f"sd_{name}"}
        yield Statement("prior", f"r_{name}", (term.dim,), around)
        yield Statement("prior", f"sd_{name}", (), distribution_in(own))
        return
    correlated = term.term.correlated or bool(term.joint)
    if not correlated:
        around = {"dist": "Normal", "mu": 0, "sigma": f"sd_{name}"}
        yield Statement("prior", f"r_{name}", (term.dim, f"{name}_effect"), around)
    else:
        around = {"dist": "MvNormal", "mu": 0, "cov": f"Sigma_{name}"}
        yield Statement("prior", f"r_{name}", (term.dim, f"{name}_effect"), around)
        matrix = f"covariance(sd_{name}, cor_{name})"
        yield Statement("deterministic", f"Sigma_{name}", (), expression=matrix)
    for effect in effects if several else [""]:
        own = several.get(effect, spec.priors["sd"].get(DEFAULT, {})) if several else sd
        left = f"sd_{name}[{effect!r}]" if effect else ""
        yield Statement("prior", f"sd_{name}", (f"{name}_effect",), distribution_in(own), left=left)
    if correlated:
        cor = _first(spec.priors["cor"], keys)
        yield Statement("prior", f"cor_{name}", (), {"dist": "LKJ", "eta": cor.get("eta", 1.0)})


def _first(section: Mapping[str, Any], keys: tuple[str, ...]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(section[key] for key in keys if key in section)
    return found
