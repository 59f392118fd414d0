"""Families of generalised linear models: which values they explain, their link and their further parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bayesrun.data.base import Domain

if TYPE_CHECKING:
    from numpy.typing import NDArray

FamilyName = Literal["normal", "student", "binomial", "poisson", "negative_binomial"]
Link = Literal["identity", "log", "logit", "probit", "cloglog"]
Prior = Mapping[str, Any]

_SCALE: Prior = {"dist": "HalfNormal", "sigma": "10 * term_scale"}


@dataclass(frozen=True)
class Family:
    """A family.

    Parameters
    ----------
    links
        The links that it may have, its own first.
    domain
        Values that the response may take.
    auxiliaries
        Further parameters, each with its default prior.
    """

    links: tuple[Link, ...]
    domain: Domain
    auxiliaries: Mapping[str, Prior]


FAMILIES: Mapping[str, Family] = {
    "normal": Family(("identity", "log"), "real", {"sigma": _SCALE}),
    "student": Family(
        ("identity", "log"), "real", {"sigma": _SCALE, "nu": {"dist": "Gamma", "alpha": 2.0, "beta": 0.1}}
    ),
    "binomial": Family(("logit", "probit", "cloglog"), "binary", {}),
    "poisson": Family(("log", "identity"), "count", {}),
    "negative_binomial": Family(("log", "identity"), "count", {"alpha": {"dist": "Exponential", "lam": 0.1}}),
}


def mean(link: str, predictor: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of the response (for `binomial`: its probability) at values of the linear predictor."""
    import numpy as np
    from scipy.special import expit, ndtr

    inverse = {
        "identity": lambda x: x,
        "log": np.exp,
        "logit": expit,
        "probit": ndtr,
        "cloglog": lambda x: -np.expm1(-np.exp(x)),
    }
    return np.asarray(inverse[link](predictor))


def mean_tensor(link: str, predictor: Any) -> Any:
    """Return the same of a Theano tensor."""
    import theano.tensor as tt

    inverse = {
        "identity": lambda x: x,
        "log": tt.exp,
        "logit": tt.nnet.sigmoid,
        "probit": lambda x: 0.5 * tt.erfc(-x / 2**0.5),
        "cloglog": lambda x: -tt.expm1(-tt.exp(x)),
    }
    return inverse[link](predictor)


def likelihood(family: str, link: str, predictor: Any, auxiliaries: Mapping[str, Any], trials: Any) -> Any:
    """Return the PyMC3 distribution class of the response and its parameters.

    Parameters
    ----------
    family, link
        Their names.
    predictor
        The linear predictor over the rows, a tensor.
    auxiliaries
        The family's further parameters by name.
    trials
        For `binomial` counts: how many trials each row has; None when the response is 0 or 1.

    Returns
    -------
    tuple
        The class, and a mapping of parameters.
    """
    import pymc3 as pm

    if family == "binomial":
        if trials is not None:
            return pm.Binomial, {"n": trials, "p": mean_tensor(link, predictor)}
        # the logit as such keeps its precision where the probability is 0 or 1 to the last digit
        logit = {"logit_p": predictor} if link == "logit" else {"p": mean_tensor(link, predictor)}
        return pm.Bernoulli, logit
    classes = {"normal": pm.Normal, "student": pm.StudentT, "poisson": pm.Poisson}
    return classes.get(family, pm.NegativeBinomial), {"mu": mean_tensor(link, predictor), **auxiliaries}
