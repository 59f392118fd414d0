"""Families of regressions: what their responses are, their parameters with links and default priors, their likelihood.

A family is one declaration. Its likelihood is a distribution of the language, whose arguments are expressions in which
`{mu}` stands for the parameter `mu` (its inverse link of the linear predictor), and `{mu.eta}` for the linear
predictor itself. A plug-in adds a family by an entry point of the group `bayesrun.families`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bayesrun.registry import TableRegistry

Prior = Mapping[str, Any]
Values = Literal[
    "real", "positive", "nonnegative", "unit", "unit_closed", "binary", "count", "trials", "angle", "level"
]
"""Which responses a family explains; `level` is an ordered or unordered category, `trials` counts successes."""

INVERSE_LINKS: Mapping[str, str] = {
    "identity": "{eta}",
    "log": "exp({eta})",
    "logit": "sigmoid({eta})",
    "probit": "0.5 * (1 + erf(({eta}) / 1.4142135623730951))",
    "cloglog": "-expm1(-exp({eta}))",
    "inverse": "1 / ({eta})",
    "sqrt": "({eta}) ** 2",
    "softplus": "log1p(exp({eta}))",
    "tan_half": "2 * atan({eta})",
}
"""Name of a link to the parameter as an expression of the linear predictor."""

_SCALE: Prior = {"dist": "HalfNormal", "sigma": "10 * term_scale"}
_DEGREES: Prior = {"dist": "Gamma", "alpha": 2.0, "beta": 0.1}
# 1 / sqrt(alpha) ~ HalfNormal(5): the coefficient of variation beyond a Poisson's, see docs/models.md
_OVERDISPERSION: Prior = {"dist": "InverseGamma", "alpha": 0.5, "beta": 0.02}
_SHAPE: Prior = {"dist": "Gamma", "alpha": 0.01, "beta": 0.01}
_SHARE: Prior = {"dist": "Beta", "alpha": 1.0, "beta": 1.0}
_CUTPOINTS: Prior = {"dist": "StudentT", "nu": 3, "mu": 0, "sigma": 2.5}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a family.

    Parameters
    ----------
    links
        Links that it may have when a formula predicts it, its own first.
    prior
        Its default prior where it is one number for all rows; None where a formula must predict it.
    """

    links: tuple[str, ...]
    prior: Prior | None = None


@dataclass(frozen=True)
class Family:
    """A family.

    Parameters
    ----------
    values
        Responses that it explains.
    parameters
        Its parameters by name; the first is predicted by the formula.
    likelihood
        Name of the distribution of the response.
    arguments
        The distribution's parameters as expressions of the family's.
    by_link
        Other distributions or arguments for a link of the first parameter: `{"dist": NAME, ARGUMENT: expression}`.
    categories
        For responses with levels: `thresholds` between them, or a linear predictor for each but the `reference`.
    """

    values: Values
    parameters: Mapping[str, Parameter]
    likelihood: str
    arguments: Mapping[str, str]
    by_link: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    categories: Literal["thresholds", "reference"] | None = None

    @property
    def main(self) -> str:
        """Name of the parameter that the formula predicts."""
        return next(iter(self.parameters))


def _location(*links: str) -> Parameter:
    return Parameter(links)


_ANY = _location("identity", "log", "inverse")
_ABOVE_0 = _location("log", "identity", "inverse", "softplus")
_COUNTED = _location("log", "identity", "sqrt", "softplus")
_CHANCE = _location("logit", "probit", "cloglog", "identity", "log")
_SIGMA = Parameter(("log", "identity", "softplus"), _SCALE)
_NU = Parameter(("log", "identity"), _DEGREES)
_ALPHA = Parameter(("log", "identity", "softplus"), _OVERDISPERSION)
_FORM = Parameter(("log", "identity", "softplus"), _SHAPE)
_ZERO = Parameter(("logit", "identity", "probit", "cloglog"), _SHARE)

FAMILY_TABLE: Mapping[str, Family] = {
    "normal": Family("real", {"mu": _ANY, "sigma": _SIGMA}, "Normal", {"mu": "{mu}", "sigma": "{sigma}"}),
    "student": Family(
        "real",
        {"mu": _ANY, "sigma": _SIGMA, "nu": _NU},
        "StudentT",
        {"mu": "{mu}", "sigma": "{sigma}", "nu": "{nu}"},
    ),
    "lognormal": Family(
        "positive",
        {"mu": _location("identity", "inverse"), "sigma": Parameter(_SIGMA.links, {"dist": "HalfNormal", "sigma": 5})},
        "LogNormal",
        {"mu": "{mu}", "sigma": "{sigma}"},
    ),
    "gamma": Family(
        "positive",
        {"mu": _ABOVE_0, "alpha": _FORM},
        "Gamma",
        {"alpha": "{alpha}", "beta": "({alpha}) / ({mu})"},
    ),
    "inverse_gaussian": Family("positive", {"mu": _ABOVE_0, "lam": _FORM}, "Wald", {"mu": "{mu}", "lam": "{lam}"}),
    "exponential": Family("nonnegative", {"mu": _ABOVE_0}, "Exponential", {"lam": "1 / ({mu})"}),
    "weibull": Family(
        "positive",
        {"mu": _ABOVE_0, "alpha": _FORM},
        "Weibull",
        {"alpha": "{alpha}", "beta": "({mu}) / exp(gammaln(1 + 1 / ({alpha})))"},
    ),
    "beta": Family(
        "unit",
        {"mu": _CHANCE, "phi": _FORM},
        "Beta",
        {"alpha": "({mu}) * ({phi})", "beta": "(1 - ({mu})) * ({phi})"},
    ),
    "bernoulli": Family(
        "binary",
        {"mu": _CHANCE},
        "Bernoulli",
        {"p": "{mu}"},
        by_link={"logit": {"logit_p": "{mu.eta}"}},
    ),
    "binomial": Family("trials", {"mu": _CHANCE}, "Binomial", {"n": "{trials}", "p": "{mu}"}),
    "beta_binomial": Family(
        "trials",
        {"mu": _CHANCE, "phi": _FORM},
        "BetaBinomial",
        {"n": "{trials}", "alpha": "({mu}) * ({phi})", "beta": "(1 - ({mu})) * ({phi})"},
    ),
    "poisson": Family("count", {"mu": _COUNTED}, "Poisson", {"mu": "{mu}"}),
    "negative_binomial": Family(
        "count", {"mu": _COUNTED, "alpha": _ALPHA}, "NegativeBinomial", {"mu": "{mu}", "alpha": "{alpha}"}
    ),
    "geometric": Family("count", {"mu": _COUNTED}, "NegativeBinomial", {"mu": "{mu}", "alpha": "1"}),
    "zero_inflated_poisson": Family(
        "count", {"mu": _COUNTED, "zi": _ZERO}, "ZeroInflatedPoisson", {"psi": "1 - ({zi})", "theta": "{mu}"}
    ),
    "zero_inflated_negative_binomial": Family(
        "count",
        {"mu": _COUNTED, "alpha": _ALPHA, "zi": _ZERO},
        "ZeroInflatedNegativeBinomial",
        {"psi": "1 - ({zi})", "mu": "{mu}", "alpha": "{alpha}"},
    ),
    "zero_inflated_binomial": Family(
        "trials",
        {"mu": _CHANCE, "zi": _ZERO},
        "ZeroInflatedBinomial",
        {"psi": "1 - ({zi})", "n": "{trials}", "p": "{mu}"},
    ),
    "cumulative": Family(
        "level",
        {"mu": _location("logit", "probit"), "cutpoints": Parameter((), _CUTPOINTS)},
        "OrderedLogistic",
        {"eta": "{mu.eta}", "cutpoints": "{cutpoints}"},
        by_link={"probit": {"dist": "OrderedProbit", "eta": "{mu.eta}", "cutpoints": "{cutpoints}"}},
        categories="thresholds",
    ),
    "von_mises": Family(
        "angle",
        {"mu": _location("tan_half", "identity"), "kappa": _FORM},
        "VonMises",
        {"mu": "{mu}", "kappa": "{kappa}"},
    ),
}

ALIASES: Mapping[str, str] = {
    "gaussian": "normal",
    "t": "student",
    "negbinomial": "negative_binomial",
    "negativebinomial": "negative_binomial",
    "Gamma": "gamma",
    "inverse.gaussian": "inverse_gaussian",
    "wald": "inverse_gaussian",
    "vonmises": "von_mises",
    "cratio": "",
}
"""Names of other packages, for the hint of an unknown family."""

FAMILIES: TableRegistry[Family] = TableRegistry("family", "bayesrun.families", "FAMILY", Family, table=FAMILY_TABLE)
