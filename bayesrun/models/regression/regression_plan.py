"""A regression's parsed config, without data: its response, its family, and a linear predictor per parameter."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bayesrun.errors import fail
from bayesrun.language.formula_grammar import quoted, with_symbols
from bayesrun.language.formulas import parse
from bayesrun.language.spellings import fault_elsewhere
from bayesrun.models.regression.category_term import without_categories
from bayesrun.models.regression.families import FAMILIES, Family
from bayesrun.models.regression.gaussian_process_term import GaussianProcess
from bayesrun.models.regression.group_effects import GroupEffects
from bayesrun.models.regression.group_terms import GroupTerm, joined, split, summands
from bayesrun.models.regression.linear_terms import Term
from bayesrun.models.regression.membership_term import without_memberships
from bayesrun.models.regression.missing_predictor import without_missing
from bayesrun.models.regression.monotonic_term import without_monotonic
from bayesrun.models.regression.offset_term import OffsetTerm
from bayesrun.models.regression.population_term import PopulationTerm
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.models.regression.response_terms import Response, read_response
from bayesrun.models.regression.smooth_calls import without_smooths
from bayesrun.models.regression.smooth_term import SmoothTerm

KEY = "model.formula"
_HAS_TRIALS = re.compile(r"\b(cbind|p|prop|proportion|(resp_)?trials)\s*\(")
_HINT = "write y ~ x + (1 | g), or formulas by parameter: {mu: 'y ~ x', sigma: '~ x'}"


@dataclass(frozen=True)
class LinearPredictor:
    """A sum of terms that predicts a parameter through its link.

    Parameters
    ----------
    parameter
        Name of the parameter.
    prefix
        Prefix of its variables' names: empty for the main parameter.
    link
        Name of the link.
    terms
        The summands.
    """

    parameter: str
    prefix: str
    link: str
    terms: tuple[Term, ...]

    @property
    def population(self) -> PopulationTerm | None:
        """The population part; None if there is none."""
        return next((term for term in self.terms if isinstance(term, PopulationTerm)), None)


@dataclass(frozen=True)
class RegressionPlan:
    """A regression as written by the user.

    Parameters
    ----------
    response
        The response.
    family
        The family.
    predictors
        The linear predictors by parameter, the main one first.
    prefix
        Prefix of all names of its variables: empty for a single response.
    """

    response: Response
    family: Family
    predictors: Mapping[str, LinearPredictor]
    prefix: str = ""

    @property
    def main(self) -> LinearPredictor:
        """The linear predictor of the main parameter."""
        return self.predictors[self.family.main]

    @property
    def numbers(self) -> tuple[str, ...]:
        """Parameters that are constant over the rows."""
        return tuple(
            name
            for name, parameter in self.family.parameters.items()
            if name not in self.predictors
            and parameter.links
            and not (name == "sigma" and self.response.error and not self.response.adds_sigma)
        )


def plan(spec: RegressionSpec, name: str = "", modelled: Collection[str] = ()) -> RegressionPlan:
    """Parse a regression's formulas.

    Parameters
    ----------
    spec
        The regression of one response.
    name
        Name of the response among several; empty for a single one.
    modelled
        Predictors with missing values that have a formula of their own.

    Raises
    ------
    UserError
        For every part that can't be parsed.
    """
    family, formulas = spec.known_family(), spec.formulas()
    text = formulas.get(family.main, "")
    if spec.family == "binomial" and not (spec.options.trials or _HAS_TRIALS.search(text.partition("~")[0])):
        family = FAMILIES.load("bernoulli", "model.family")  # a binary response
    if family.main not in formulas:
        raise fail(KEY, f"there is no formula for '{family.main}' (got {', '.join(formulas)})", _HINT)
    left, right = _sides(formulas[family.main], KEY if isinstance(spec.formula, str) else f"{KEY}.{family.main}")
    if not left:
        raise fail(KEY, f"'{formulas[family.main]}' has no response", _HINT)
    response = read_response(left, KEY)
    if spec.options.trials and not (response.trials or response.failures):
        response = Response(**{**vars(response), "trials": spec.options.trials})
    predictors = {}
    for parameter, text in formulas.items():
        key = KEY if isinstance(spec.formula, str) else f"{KEY}.{parameter}"
        if parameter not in family.parameters or not family.parameters[parameter].links:
            able = ", ".join(n for n, p in family.parameters.items() if p.links)
            raise fail(key, f"family {spec.family} has no parameter '{parameter}' to predict", f"it has: {able}")
        own, right = _sides(text, key)
        if own and parameter != family.main:
            raise fail(key, f"'{text}' has a response of its own", f"write '~ {right}'")
        predictors[parameter] = _predictor(
            parameter, family, spec, left, right, key, f"{name}_" if name else "", modelled
        )
    return RegressionPlan(response, family, predictors, f"{name}_" if name else "")


def _sides(text: str, key: str) -> tuple[str, str]:
    """Return both sides; names in back-ticks are symbols on the right."""
    hidden = with_symbols(text)
    if fault := fault_elsewhere(hidden):
        raise fail(key, f"{quoted(fault[0])}, in '{text}'", fault[1])
    if hidden.count("~") != 1:
        raise fail(key, f"a formula has one '~' (got {text!r})", _HINT)
    left, right = (side.strip() for side in hidden.split("~"))
    if not right:
        raise fail(key, f"the right side of '~' is missing (got {text!r})", _HINT)
    return quoted(left), right


def _predictor(
    name: str,
    family: Family,
    spec: RegressionSpec,
    left: str,
    right: str,
    key: str,
    prefix: str,
    modelled: Collection[str],
) -> LinearPredictor:
    main = name == family.main
    rest, offsets = _without_offsets(right, key)
    rest, missing = without_missing(rest, key, modelled)
    rest, smooths = without_smooths(rest, key)
    rest, monotonic = without_monotonic(rest, key)
    rest, memberships = without_memberships(rest, key)
    in_steps = main and family.categories == "thresholds" and not family.ordered
    rest, by_category = without_categories(rest, key) if in_steps else (rest, [])
    if main and spec.options.offset:
        key_of, texts = "model.options.offset", [*(one.text for one in offsets), spec.options.offset]
        offsets = [OffsetTerm(" + ".join(f"({text})" for text in texts), key_of)]
    population, groups = split(rest, key, quoted(f"{left} ~ {right}" if main else f"~ {right}"))
    _check_names(groups, key)
    terms: list[Term] = []
    if population not in ("0", "- 1"):
        intercept = not (main and family.categories == "thresholds")
        terms.append(PopulationTerm(parse(f"{left if main else name} ~ {population}", key), intercept))
    taken = {str(term) for one in terms if isinstance(one, PopulationTerm) for term in one.formula.terms}
    taken |= set() if prefix or main else _main_terms(spec, family, key)
    for one in groups:
        others = tuple(dict.fromkeys(other.columns for other in groups if other.columns != one.columns))
        dim = f"{one.grouping}_group" if one.grouping in taken else one.grouping
        terms.append(GroupEffects(one, dim, others))
    terms += [*memberships, *monotonic, *by_category]
    both = sorted(taken & {effect for one in by_category for effect in one.effects})
    if both:
        message = f"'{both[0]}' has an effect of its own beside cs({both[0]}), which has one at each threshold"
        raise fail(key, message, "leave one of them out")
    beside = {name for one in terms if isinstance(one, PopulationTerm) for name in one.formula.variables}
    beside |= {name for one in groups for name in one.columns}
    for call in smooths:
        kind = GaussianProcess if call.function == "hsgp" else SmoothTerm
        terms.append(kind(call, alone=call.by is not None and call.by not in beside))
    return LinearPredictor(name, prefix if main else f"{prefix}{name}_", spec.link(name), (*terms, *missing, *offsets))


def _check_names(groups: Sequence[GroupTerm], key: str) -> None:
    """Reject groupings by different columns whose variables would have one name, such as `a_b` and `a:b`."""
    columns: dict[str, tuple[str, ...]] = {}
    for one in groups:
        before = columns.setdefault(one.name, one.columns)
        if before != one.columns:
            both = " and ".join(f"'{':'.join(of)}'" for of in (before, one.columns))
            message = f"the effects of the groupings {both} would both be called r_{one.name}"
            raise fail(key, message, "rename a column by data.columns")


def _main_terms(spec: RegressionSpec, family: Family, key: str) -> set[str]:
    """Return the coefficients of the main linear predictor, whose names are also theirs in the model."""
    population = split(_sides(spec.formulas()[family.main], key)[1], key, "")[0]
    crossed = re.compile(r"\w+(?=\s*[*/])|(?<=[*/])\s*\w+")
    return {name.strip() for _, text in summands(population) for name in (text, *crossed.findall(text))}


def _without_offsets(right: str, key: str) -> tuple[str, list[OffsetTerm]]:
    """Extract the offsets from the right side of a formula."""
    kept, offsets = [], list[OffsetTerm]()
    for sign, part in summands(right):
        if part.replace(" ", "").startswith("offset(") and part.endswith(")"):
            if sign == "-":
                raise fail(key, f"'- {part}' removes an offset", "write offset(-x) for one that is subtracted")
            offsets.append(OffsetTerm(quoted(part[part.index("(") + 1 : -1].strip()), key))
        else:
            kept.append((sign, part))
    if len(offsets) > 1:
        offsets = [OffsetTerm(" + ".join(f"({one.text})" for one in offsets), key)]
    return joined(kept), offsets
