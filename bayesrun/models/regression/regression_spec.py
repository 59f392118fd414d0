"""Config of `type: regression`, and of its alias `glm`."""

from __future__ import annotations

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
    """

    form: Literal["whitened", "direct"] = "whitened"
    link: str | dict[str, str] | None = None
    trials: str | None = None
    offset: str | None = None
    check_design: bool = True


class RegressionSpec(ModelSpec):
    """Config of `type: regression`. Missing priors are set to their defaults.

    `formula` is one formula, or a mapping of the family's parameters to formulas.
    """

    formula: str | dict[str, str]
    family: str = "normal"
    options: RegressionOptions = RegressionOptions()

    @field_validator("formula", mode="before")
    @classmethod
    def _text_or_mapping(cls, value: Any) -> Any:
        texts = list(value.values()) if isinstance(value, Mapping) else [value]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError('must be a formula, "y ~ x + (1 | g)", or formulas by parameter')
        return value

    @model_validator(mode="before")
    @classmethod
    def _fill_in_priors(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("priors") or {}, Mapping):
            return raw
        name = str(raw.get("family") or "normal")
        if name not in FAMILIES.names():
            return raw
        return {**raw, "priors": _filled_in(FAMILIES.load(name, "model.family"), raw)}

    def formulas(self) -> dict[str, str]:
        """Return the formulas by parameter; the main parameter's first."""
        main = self.known_family().main
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
