"""Config of `type: regression`, and of its alias `glm`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import field_validator, model_validator

from bayesrun.language.formula_grammar import with_symbols
from bayesrun.language.formulas import INTERCEPT
from bayesrun.models.base import ModelSpec
from bayesrun.models.regression.families import COEFFICIENT, FAMILIES, Family
from bayesrun.models.regression.shrinkage_priors import is_shrinkage
from bayesrun.models.regression.term_priors import DEFAULT, SECTIONS, sections_in
from bayesrun.schema import Section

RESPONSES = "responses"
RESCOR = "rescor"
_KEYS = ("family", "link")
_MVBIND = re.compile(r"\s*mvbind\s*\(([^()]*)\)\s*((?:\|[^~]*)?~.*)", re.DOTALL)
_IMPUTED = re.compile(r"[^~]*\|[^~]*\bmi\s*\(\s*\)[^~]*~")
_SEVERAL = 'several responses are written {responses: {a: "a ~ x", b: {mu: "b ~ x", sigma: "~ x", family: student}}}'
_OTHER_DEFAULT: Mapping[str, Any] = {"dist": "Normal", "mu": 0.0, "sigma": "2.5 * term_scale"}


class RegressionOptions(Section):
    """Options of the model type.

    Parameters
    ----------
    form
        `whitened` samples the coefficients in coordinates in which they are nearly independent, `direct` as they are.
        Priors, posterior and names are the same.
    link
        Link of the parameter that the formula predicts, or links by parameter; null = the family's default.
    trials
        Data variable with the number of trials per row, as `y | trials(n)`.
    offset
        Expression that is added to the linear predictor, as `offset(...)` in the formula.
    check_design
        Whether collinear columns and complete separation are errors. With False the priors have to resolve them.
    rescor
        Whether the residuals of several responses are correlated; null = if all are `normal` or all `student`.
    """

    form: Literal["whitened", "direct"] = "whitened"
    link: str | dict[str, str] | None = None
    trials: str | None = None
    offset: str | None = None
    check_design: bool = True
    rescor: bool | None = None


class RegressionSpec(ModelSpec):
    """Config of `type: regression`. Missing priors are set to their defaults.

    Parameters
    ----------
    formula
        One formula, a mapping of the family's parameters to formulas, or `{responses: {NAME: formula}}`, where each
        is a formula or a mapping of parameters, with a `family` and a `link` of its own.
    family
        Registered name of the family of the response.
    """

    formula: str | dict[str, Any]
    family: str = "normal"
    options: RegressionOptions = RegressionOptions()

    @field_validator("formula", mode="before")
    @classmethod
    def _text_or_mapping(cls, value: Any) -> Any:
        several = value.get(RESPONSES) if isinstance(value, Mapping) else None
        if several is not None:
            if len(value) > 1 or not isinstance(several, Mapping) or len(several) < 2:
                raise ValueError(_SEVERAL)
            value_of = [
                each for one in several.values() for each in (one.values() if isinstance(one, Mapping) else [one])
            ]
            if not all(isinstance(text, str) for text in value_of) or not all(map(str.isidentifier, several)):
                raise ValueError(_SEVERAL)
            return value
        texts = list(value.values()) if isinstance(value, Mapping) else [value]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError('must be a formula, "y ~ x + (1 | g)", or formulas by parameter')
        return value

    @model_validator(mode="before")
    @classmethod
    def _fill_in_priors(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("priors") or {}, Mapping):
            return raw
        several = parts_of(raw.get("formula"), str(raw.get("family") or "normal"))
        priors = dict(raw.get("priors") or {})
        for family, formula in several.values():
            if family in FAMILIES.names():
                own = _filled_in(FAMILIES.load(family, "model.family"), {"formula": formula, "priors": priors})
                priors = {**own, **priors, **{name: own[name] for name in SECTIONS if name in own}}
        if len(several) > 1 and "" not in several:
            mine = priors.get(RESCOR)
            priors[RESCOR] = {DEFAULT: {"dist": "LKJ", "eta": 1.0} if mine is None else mine.get(DEFAULT, mine)}
        return {**raw, "priors": priors}

    def responses(self) -> dict[str, RegressionSpec]:
        """Return the regressions of several responses by name; empty for a single response.

        The name of the response of `mu`, beside predictors with a formula of their own, is empty.
        """
        found = parts_of(self.formula, self.family)
        if len(found) < 2:
            return {}
        links = {name: one.get("link") for name, one in _mappings(self.formula).items()}
        content = self.model_dump()
        made = {}
        for name, (family, formula) in found.items():
            options = {**content["options"], "link": links.get(name) or content["options"]["link"]}
            given = {key: value for key, value in content["priors"].items() if key != RESCOR}
            if name and "" in found:  # priors without a name are those of the response of mu
                given = {key: value for key, value in given.items() if key.startswith(f"{name}_") or key in SECTIONS}
            sub = {**content, "formula": formula, "family": family, "options": options, "priors": given}
            one = RegressionSpec.model_validate(sub)
            made[name] = one.model_copy(update={"priors": _of_response(one.priors, name)}) if name else one
        return made

    def formulas(self) -> dict[str, str]:
        """Return the formulas by parameter, the main parameter's first; of several responses, those of the first."""
        main = self.known_family().main
        if several := self.responses():
            return next(iter(several.values())).formulas()
        if isinstance(self.formula, str):
            return {main: self.formula}
        return {main: self.formula[main], **self.formula} if main in self.formula else dict(self.formula)

    def known_family(self) -> Family:
        """Return the family; raises `UserError` for an unknown one."""
        return FAMILIES.load(self.family, "model.family")

    def link(self, parameter: str) -> str:
        """Return a parameter's link: the requested one, otherwise the family's default."""
        family, given = self.known_family(), self.options.link
        own = family.parameters[parameter].links[0]
        if isinstance(given, str):
            return given if parameter == family.main else own
        return (given or {}).get(parameter, own)


def parts_of(formula: Any, family: str) -> dict[str, tuple[str, Any]]:
    """Return family and formula of each response, by name; a single response has an empty name.

    Several are `mvbind(a, b) ~ x`, `{responses: {a: "a ~ x", b: "b ~ x"}}`, or predictors with missing values beside
    the response, `{mu: "y ~ mi(x)", x: "x | mi() ~ z"}`.
    """
    if isinstance(formula, str):
        bound = _MVBIND.fullmatch(formula)
        names = [name.strip() for name in bound[1].split(",")] if bound else []
        if len(names) > 1 and all(map(str.isidentifier, names)):
            return {name: (family, f"{name} {bound[2]}") for name in names}  # type: ignore[index]
        return {"": (family, formula)}
    if not isinstance(formula, Mapping):
        return {}
    if isinstance(formula.get(RESPONSES), Mapping):
        own = {str(name): one if isinstance(one, Mapping) else {} for name, one in formula[RESPONSES].items()}
        return {
            name: (str(one.get("family", family)), {k: v for k, v in one.items() if k not in _KEYS})
            if one
            else (family, formula[RESPONSES][name])
            for name, one in own.items()
        }
    parameters = FAMILIES.load(family, "model.family").parameters if family in FAMILIES.names() else {}
    beside = [name for name, text in formula.items() if name not in parameters and _IMPUTED.match(str(text))]
    imputed = {name: formula[name] for name in beside}
    main = {name: text for name, text in formula.items() if name not in imputed}
    return {"": (family, main if main else formula), **{str(n): ("normal", t) for n, t in imputed.items() if main}}


def _mappings(formula: Any) -> Mapping[str, Mapping[str, Any]]:
    several = formula.get(RESPONSES, {}) if isinstance(formula, Mapping) else {}
    return {name: one for name, one in several.items() if isinstance(one, Mapping)}


def _of_response(priors: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return priors under the names of one response: those for all responses, unless it has its own."""
    found: dict[str, Any] = {}
    for key, prior in priors.items():
        if key in SECTIONS:
            common = {f"{name}_{n}": p for n, p in prior.items() if n != DEFAULT and f"{name}_{n}" not in prior}
            found[key] = {**prior, **common}
        else:
            found[key] = prior
            found.setdefault(f"{name}_{key}", priors.get(f"{name}_{key}", prior))
    return found


def _filled_in(family: Family, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the priors, with defaults for those that are missing, in the order in which they are evaluated."""
    given = dict(raw.get("priors") or {})
    formula = raw.get("formula")
    predicted = set(formula) if isinstance(formula, Mapping) else {family.main}
    own: dict[str, Any] = {DEFAULT: dict(COEFFICIENT), INTERCEPT: dict(COEFFICIENT)}
    for name, parameter in family.parameters.items():
        if name in predicted:
            own |= {} if name == family.main else {f"{name}_{DEFAULT}": dict(_OTHER_DEFAULT)}
        elif parameter.prior is not None:
            own[name] = dict(parameter.prior)
    for name in set(predicted) - {family.main}:
        if is_shrinkage(given.get(f"{name}_{DEFAULT}")):
            own[f"{name}_{INTERCEPT}"] = dict(_OTHER_DEFAULT)
    texts = list(formula.values()) if isinstance(formula, Mapping) else [str(formula)]
    rights = [with_symbols(text).rpartition("~")[2] for text in map(str, texts)]
    for section in dict.fromkeys(name for right in rights for name in sections_in(right)):
        own[section] = {DEFAULT: dict(SECTIONS[section])}
    for section in SECTIONS:
        mine = given.get(section)
        if section in own and isinstance(mine, Mapping):
            given[section] = {**own[section], **({DEFAULT: mine} if "dist" in mine else mine)}
    return {**own, **given}
