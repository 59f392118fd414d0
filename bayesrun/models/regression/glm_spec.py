"""Config of `type: glm`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from bayesrun.language.formulas import INTERCEPT, Formula, parse
from bayesrun.models.base import ModelSpec
from bayesrun.models.regression.families import COEFFICIENT
from bayesrun.models.regression.response_families import GLM_FAMILIES, FamilyName, GlmFamily, Link
from bayesrun.schema import Section

KEY = "model.formula"


class Options(Section):
    """Options of the model type.

    Parameters
    ----------
    form
        `whitened` samples the coefficients in coordinates in which they are nearly independent, `direct` as they are.
        Priors, posterior and names are the same.
    link
        Link function; null = the family's default.
    trials
        For `binomial` counts of successes: the data variable with the number of trials per row.
    offset
        Expression over data variables that is added to the linear predictor, such as `log(population)`.
    check_design
        Whether collinear columns and complete separation are errors. With False the priors have to resolve them.
    """

    form: Literal["whitened", "direct"] = "whitened"
    link: Link | None = None
    trials: str | None = None
    offset: str | None = None
    check_design: bool = True


class GlmSpec(ModelSpec):
    """Config of `type: glm`. Missing priors are set to their defaults: `default`, `Intercept` and the family's."""

    formula: str
    family: FamilyName = "normal"
    options: Options = Options()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_priors(cls, raw: Any) -> Any:
        family = GLM_FAMILIES.get(str(raw.get("family", "normal"))) if isinstance(raw, Mapping) else None
        if family is None or not isinstance(raw.get("priors") or {}, Mapping):
            return raw
        own = {"default": COEFFICIENT, INTERCEPT: COEFFICIENT, **family.auxiliaries}
        return {**raw, "priors": {**{n: dict(p) for n, p in own.items()}, **(raw.get("priors") or {})}}

    def link(self) -> Link:
        """Return the link: the requested one, otherwise the family's default."""
        return self.options.link or self.known_family().links[0]

    def known_family(self) -> GlmFamily:
        """Return the family."""
        return GLM_FAMILIES[self.family]

    def parsed(self) -> Formula:
        """Return the checked formula; raises `UserError`."""
        return parse(self.formula, KEY)
