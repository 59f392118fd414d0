"""Families of generalised linear models: the domain of the response, the links and the auxiliary parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.base import Domain
from bayesrun.language.values import Value, apply, constant
from bayesrun.lazy import special
from bayesrun.models.regression.families import FAMILY_TABLE, Prior

FamilyName = Literal["normal", "student", "binomial", "poisson", "negative_binomial"]
Link = Literal["identity", "log", "logit", "probit", "cloglog"]


@dataclass(frozen=True)
class GlmFamily:
    """A family as `type: glm` has it.

    Parameters
    ----------
    links
        The links that it may have, the default first.
    domain
        Values that the response may take.
    auxiliaries
        Further parameters, each with its default prior.
    """

    links: tuple[Link, ...]
    domain: Domain
    auxiliaries: Mapping[str, Prior]


def _family(name: str, links: tuple[Link, ...], domain: Domain) -> GlmFamily:
    """Return a family of the table of all regressions, with the links that the fast forms know."""
    of_table = FAMILY_TABLE[name]
    auxiliaries = {n: p.prior for n, p in of_table.parameters.items() if n != of_table.main and p.prior is not None}
    return GlmFamily(links, domain, auxiliaries)


GLM_FAMILIES: Mapping[str, GlmFamily] = {
    "normal": _family("normal", ("identity", "log"), "real"),
    "student": _family("student", ("identity", "log"), "real"),
    "binomial": _family("binomial", ("logit", "probit", "cloglog"), "binary"),
    "poisson": _family("poisson", ("log", "identity"), "count"),
    "negative_binomial": _family("negative_binomial", ("log", "identity"), "count"),
}


def mean(link: str, predictor: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of the response (for `binomial`: its probability) at values of the linear predictor."""
    inverse = {
        "identity": lambda x: x,
        "log": np.exp,
        "logit": special.expit,
        "probit": special.ndtr,
        "cloglog": lambda x: -np.expm1(-np.exp(x)),
    }
    return np.asarray(inverse[link](predictor))


def mean_value(link: str, predictor: Value) -> Value:
    """Return the same for a value of the model."""
    operations = {"log": "exp", "logit": "sigmoid", "probit": "normal_cdf"}
    if link == "identity":
        return predictor
    if link == "cloglog":
        return -apply("expm1", [-apply("exp", [predictor])])
    return apply(operations[link], [predictor])


def likelihood(
    family: str, link: str, predictor: Value, auxiliaries: Mapping[str, Value], trials: NDArray[Any] | None
) -> tuple[str, dict[str, Value]]:
    """Return the distribution of the response and its parameters.

    Parameters
    ----------
    family, link
        Their names.
    predictor
        The linear predictor over the rows.
    auxiliaries
        The family's further parameters by name.
    trials
        For `binomial` counts: how many trials each row has; None when the response is 0 or 1.

    Returns
    -------
    name : str
        Name of the distribution.
    parameters : dict
        Its parameters.
    """
    if family == "binomial":
        if trials is not None:
            return "Binomial", {"n": constant(trials, predictor.dims), "p": mean_value(link, predictor)}
        # the logit keeps its precision where the probability rounds to 0 or 1
        return "Bernoulli", {"logit_p": predictor} if link == "logit" else {"p": mean_value(link, predictor)}
    names = {"normal": "Normal", "student": "StudentT", "poisson": "Poisson", "negative_binomial": "NegativeBinomial"}
    return names[family], {"mu": mean_value(link, predictor), **auxiliaries}
