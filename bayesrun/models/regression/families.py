"""Families of regressions: their responses, their parameters with links and default priors, and their likelihoods.

A family is one declaration. Its likelihood is a distribution of the language, whose arguments are expressions. In them
`{mu}` stands for the parameter `mu` (its inverse link of the linear predictor), `{mu.eta}` for the linear predictor
itself, and `{mu.etas}` for those of all levels but the first. A plug-in adds a family by an entry point of the group
`bayesrun.families`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bayesrun.registry import TableRegistry

Prior = Mapping[str, Any]
Values = Literal[
    "real", "positive", "nonnegative", "unit", "unit_closed", "binary", "count", "trials", "angle", "level", "counts"
]
"""Which responses a family explains: `trials` counts successes, `level` is a category, `counts` one count each."""

INVERSE_LINKS: Mapping[str, str] = {
    "identity": "{eta}",
    "log": "exp({eta})",
    "logit": "sigmoid({eta})",
    "probit": "0.5 * (1 + erf(({eta}) / 1.4142135623730951))",
    "cloglog": "-expm1(-exp({eta}))",
    "inverse": "1 / ({eta})",
    "sqrt": "({eta}) ** 2",
    "softplus": "log1p(exp(minimum({eta}, 35))) + maximum({eta} - 35, 0)",  # exp(eta) is infinite from 710 on
    "tan_half": "2 * atan({eta})",
}
"""Name of a link to the parameter as an expression of the linear predictor."""

COEFFICIENT: Prior = {"dist": "Normal", "mu": 0.0, "sigma": "10 * term_scale"}
"""Default prior of the coefficients of the formula."""
_SCALE: Prior = {"dist": "HalfNormal", "sigma": "10 * term_scale"}
_DEGREES: Prior = {"dist": "Gamma", "alpha": 2.0, "beta": 0.1}
# 1 / sqrt(shape) ~ HalfNormal(5): about the coefficient of variation, which is dimensionless and needs no scale of the
# data; the prior is flat wherever the data put the shape, at 0.5 as at 10,000,000
_SHAPE: Prior = {"dist": "InverseGamma", "alpha": 0.5, "beta": 0.02}
# the shape of an inverse Gaussian response has the response's units: lam / sd in place of the shape
_WALD_SHAPE: Prior = {"dist": "InverseGamma", "alpha": 0.5, "beta": "0.02 * term_scale"}
# flat in the shape of overdispersed counts, not in 1 / sqrt(shape): with few rows that widens intervals beyond those of
# maximum likelihood; counts set no upper limit to the shape if they vary as a Poisson's, so the tail must be finite
_COUNT_SHAPE: Prior = {"dist": "HalfCauchy", "beta": "10 * term_scale"}
_SHARE: Prior = {"dist": "Beta", "alpha": 1.0, "beta": 1.0}
_SKEWNESS: Prior = {"dist": "Normal", "mu": 0.0, "sigma": 4.0}
# thresholds of columns that are far from 0 are far from 0 as well
_CUTPOINTS: Prior = {"dist": "StudentT", "nu": 3.0, "mu": 0.0, "sigma": "2.5 * term_scale"}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a family.

    Parameters
    ----------
    links
        Links that it may have when a formula predicts it, the default first.
    prior
        Its default prior if it is constant over the rows; None if a formula must predict it.
    """

    links: tuple[str, ...]
    prior: Prior | None = None


@dataclass(frozen=True)
class Family:
    """A family.

    Parameters
    ----------
    values
        Types of responses that it can have.
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
    ordered
        Whether thresholds increase; those of sequential and adjacent-category families need not.
    """

    values: Values
    parameters: Mapping[str, Parameter]
    likelihood: str
    arguments: Mapping[str, str]
    by_link: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    categories: Literal["thresholds", "reference"] | None = None
    ordered: bool = True

    @property
    def main(self) -> str:
        """Name of the parameter that the formula predicts."""
        return next(iter(self.parameters))


_LINE = Parameter(("identity", "log", "inverse"))
_MEAN = Parameter(("log", "identity", "inverse", "softplus"))
_COUNT = Parameter(("log", "identity", "sqrt", "softplus"))
_CHANCE = Parameter(("logit", "probit", "cloglog", "identity", "log"))
_ABOVE_0 = ("log", "identity", "softplus")
_SIGMA = Parameter(_ABOVE_0, _SCALE)
_LOG_SIGMA = Parameter(_ABOVE_0, {"dist": "HalfNormal", "sigma": 5.0})
_NU = Parameter(_ABOVE_0, _DEGREES)
_FORM = Parameter(_ABOVE_0, _SHAPE)
_WALD_FORM = Parameter(_ABOVE_0, _WALD_SHAPE)
_COUNT_FORM = Parameter(_ABOVE_0, _COUNT_SHAPE)
_ZERO = Parameter(("logit", "identity", "probit", "cloglog"), _SHARE)
_STEPS = Parameter((), _CUTPOINTS)
_LOGIT_STEPS = {"mu": Parameter(("logit",)), "cutpoints": _STEPS}
_SKEW = "({alpha}) / sqrt(1 + ({alpha}) ** 2)"
_SKEW_SCALE = "({sigma}) / sqrt(1 - 0.6366197723675814 * (" + _SKEW + ") ** 2)"
_SCORED = {"eta": "{mu.eta}", "cutpoints": "{cutpoints}"}
_BETA = {"alpha": "({mu}) * ({phi})", "beta": "(1 - ({mu})) * ({phi})"}


def _named(*same: str, **others: str) -> dict[str, str]:
    """Return arguments that are a parameter of the family, or the trials, each by the same name or by another one."""
    return {**{name: f"{{{name}}}" for name in same}, **{name: f"{{{value}}}" for name, value in others.items()}}


FAMILY_TABLE: Mapping[str, Family] = {
    # real-valued
    "normal": Family("real", {"mu": _LINE, "sigma": _SIGMA}, "Normal", _named("mu", "sigma")),
    "student": Family("real", {"mu": _LINE, "sigma": _SIGMA, "nu": _NU}, "StudentT", _named("mu", "sigma", "nu")),
    # mu and sigma are mean and sd, as in brms
    "skew_normal": Family(
        "real",
        {"mu": _LINE, "sigma": _SIGMA, "alpha": Parameter(("identity",), _SKEWNESS)},
        "SkewNormal",
        {
            "mu": f"{{mu}} - 0.7978845608028654 * ({_SKEW_SCALE}) * ({_SKEW})",
            "sigma": _SKEW_SCALE,
            "alpha": "{alpha}",
        },
    ),
    "von_mises": Family(
        "angle", {"mu": Parameter(("tan_half", "identity")), "kappa": _FORM}, "VonMises", _named("mu", "kappa")
    ),
    # above 0
    "lognormal": Family(
        "positive", {"mu": Parameter(("identity", "inverse")), "sigma": _LOG_SIGMA}, "LogNormal", _named("mu", "sigma")
    ),
    "gamma": Family("positive", {"mu": _MEAN, "alpha": _FORM}, "GammaMean", _named("mu", "alpha")),
    "inverse_gaussian": Family("positive", {"mu": _MEAN, "lam": _WALD_FORM}, "InverseGaussian", _named("mu", "lam")),
    "weibull": Family("positive", {"mu": _MEAN, "alpha": _FORM}, "WeibullMean", _named("mu", "alpha")),
    "exponential": Family("nonnegative", {"mu": _MEAN}, "Exponential", {"lam": "1 / ({mu})"}),
    "hurdle_gamma": Family(
        "nonnegative", {"mu": _MEAN, "alpha": _FORM, "hu": _ZERO}, "HurdleGamma", _named("mu", "alpha", zero="hu")
    ),
    "hurdle_lognormal": Family(
        "nonnegative",
        {"mu": Parameter(("identity", "inverse")), "sigma": _LOG_SIGMA, "hu": _ZERO},
        "HurdleLogNormal",
        _named("mu", "sigma", zero="hu"),
    ),
    # proportions
    "beta": Family("unit", {"mu": _CHANCE, "phi": _FORM}, "BetaProportion", _named("mu", "phi")),
    "zero_inflated_beta": Family(
        "unit_closed", {"mu": _CHANCE, "phi": _FORM, "zi": _ZERO}, "ZeroInflatedBeta", _named("mu", "phi", zero="zi")
    ),
    "zero_one_inflated_beta": Family(
        "unit_closed",
        {"mu": _CHANCE, "phi": _FORM, "zoi": _ZERO, "coi": _ZERO},
        "ZeroOneInflatedBeta",
        _named("mu", "phi", zero_one="zoi", one="coi"),
    ),
    # successes
    "bernoulli": Family(
        "binary", {"mu": _CHANCE}, "Bernoulli", _named(p="mu"), by_link={"logit": {"logit_p": "{mu.eta}"}}
    ),
    "binomial": Family("trials", {"mu": _CHANCE}, "Binomial", _named(n="trials", p="mu")),
    "beta_binomial": Family("trials", {"mu": _CHANCE, "phi": _FORM}, "BetaBinomial", {"n": "{trials}", **_BETA}),
    "zero_inflated_binomial": Family(
        "trials",
        {"mu": _CHANCE, "zi": _ZERO},
        "ZeroInflatedBinomial",
        {"psi": "1 - ({zi})", "n": "{trials}", "p": "{mu}"},
    ),
    "zero_inflated_beta_binomial": Family(
        "trials",
        {"mu": _CHANCE, "phi": _FORM, "zi": _ZERO},
        "ZeroInflatedBetaBinomial",
        {"n": "{trials}", "mu": "{mu}", "phi": "{phi}", "zero": "{zi}"},
    ),
    # counts
    "poisson": Family("count", {"mu": _COUNT}, "Poisson", _named("mu")),
    "negative_binomial": Family(
        "count", {"mu": _COUNT, "alpha": _COUNT_FORM}, "NegativeBinomial", _named("mu", "alpha")
    ),
    # from 0 on, with this mean
    "geometric": Family("count", {"mu": _COUNT}, "NegativeBinomial", {"mu": "{mu}", "alpha": "1"}),
    "zero_inflated_poisson": Family(
        "count", {"mu": _COUNT, "zi": _ZERO}, "ZeroInflatedPoisson", {"psi": "1 - ({zi})", "theta": "{mu}"}
    ),
    "zero_inflated_negative_binomial": Family(
        "count",
        {"mu": _COUNT, "alpha": _COUNT_FORM, "zi": _ZERO},
        "ZeroInflatedNegativeBinomial",
        {"psi": "1 - ({zi})", "mu": "{mu}", "alpha": "{alpha}"},
    ),
    "zero_inflated_geometric": Family(
        "count", {"mu": _COUNT, "zi": _ZERO}, "ZeroInflatedGeometric", _named("mu", zero="zi")
    ),
    "hurdle_poisson": Family("count", {"mu": _COUNT, "hu": _ZERO}, "HurdlePoisson", _named("mu", zero="hu")),
    "hurdle_negative_binomial": Family(
        "count",
        {"mu": _COUNT, "alpha": _COUNT_FORM, "hu": _ZERO},
        "HurdleNegativeBinomial",
        _named("mu", "alpha", zero="hu"),
    ),
    # levels
    "cumulative": Family(
        "level",
        {"mu": Parameter(("logit", "probit", "cloglog")), "cutpoints": _STEPS},
        "OrderedLogistic",
        _SCORED,
        {"probit": {"dist": "OrderedProbit", **_SCORED}, "cloglog": {"dist": "OrderedCloglog", **_SCORED}},
        "thresholds",
    ),
    "sequential": Family("level", _LOGIT_STEPS, "SequentialLogistic", _SCORED, categories="thresholds", ordered=False),
    "adjacent": Family("level", _LOGIT_STEPS, "AdjacentLogistic", _SCORED, categories="thresholds", ordered=False),
    "categorical": Family(
        "level", {"mu": Parameter(("logit",))}, "CategoricalLogit", {"eta": "{mu.etas}"}, categories="reference"
    ),
    "multinomial": Family(
        "counts",
        {"mu": Parameter(("logit",))},
        "MultinomialLogit",
        {"n": "{trials}", "eta": "{mu.etas}"},
        categories="reference",
    ),
}

ELSEWHERE: Mapping[str, str] = {
    "gaussian": "normal",
    "t": "student",
    "Gamma": "gamma",
    "Beta": "beta",
    "negbinomial": "negative_binomial",
    "negativebinomial": "negative_binomial",
    "inverse.gaussian": "inverse_gaussian",
    "wald": "inverse_gaussian",
    "vonmises": "von_mises",
    "beta_binomial2": "beta_binomial",
    "betabinomial": "beta_binomial",
    "hurdle_negbinomial": "hurdle_negative_binomial",
    "zero_inflated_negbinomial": "zero_inflated_negative_binomial",
    "sratio": "sequential",
    "cratio": "sequential",
    "acat": "adjacent",
}
"""Names of families in R, brms and Bambi, and their closest equivalents here."""
FAMILIES: TableRegistry[Family] = TableRegistry("family", "bayesrun.families", "FAMILY", Family, table=FAMILY_TABLE)
