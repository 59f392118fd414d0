"""Priors of a regression: the prior of each term, and its numbers once the scale of the data is known.

Priors of the parts that terms of one kind have are sections: `model.priors.sd` of group effects, `sds` of smooths. A
section holds a default, and priors by the name of a term.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import fail
from bayesrun.language.expressions import read
from bayesrun.language.formulas import INTERCEPT, plain
from bayesrun.language.scope import Scope
from bayesrun.language.values import constant
from bayesrun.lazy import xr
from bayesrun.models.regression.shrinkage_priors import is_shrinkage

DEFAULT = "default"
_SD: Mapping[str, Any] = {"dist": "HalfStudentT", "nu": 3.0, "sigma": "2.5 * term_scale"}
SECTIONS: Mapping[str, Mapping[str, Any]] = {
    "sd": _SD,
    "cor": {"dist": "LKJ", "eta": 1.0},
    "sds": _SD,
    "sdgp": _SD,
    "lscale": {"dist": "LogNormal", "mu": "log(0.5 * term_scale)", "sigma": 1.0},
    "simo": {"dist": "Dirichlet", "a": 1.0},
}
"""Default prior of each section."""
_USED = {
    "sd": r"\|",
    "cor": r"\|",
    "sds": r"(?<![\w.])(s|t2)\s*\(",
    "sdgp": r"(?<![\w.])hsgp\s*\(",
    "lscale": r"(?<![\w.])hsgp\s*\(",
    "simo": r"(?<![\w.])mo\s*\(",
}
_OPTIONS = ("dims", "shape", "initval", "transform", "parameterization")


def prior_of(
    priors: Mapping[str, Any], name: str | Sequence[str], prefix: str, default: str = DEFAULT
) -> tuple[str, Mapping[str, Any]]:
    """Return the key and the prior of a term: its own, by one of its names, or the default of its parameter.

    A default of all coefficients together does not cover intercepts, which then have the prior of the main one.
    """
    own = {plain(str(known)): str(known) for known in priors}
    names = [name] if isinstance(name, str) else [*name]
    key = next((own[of] for one in (*names, default) if (of := plain(f"{prefix}{one}")) in own), default)
    if name == INTERCEPT and is_shrinkage(priors[key]):
        key = INTERCEPT
    return key, priors[key]


def own_prior_of(priors: Mapping[str, Any], name: str | Sequence[str], prefix: str) -> tuple[str, Mapping[str, Any]]:
    """Return the key and the prior of a term that can't be part of a prior of all coefficients together.

    Raises
    ------
    UserError
        If its default is such a prior.
    """
    key, prior = prior_of(priors, name, prefix)
    if is_shrinkage(prior):
        term = f"{prefix}{name if isinstance(name, str) else name[0]}"
        message = f"{prior['dist']} does not cover '{term}': it needs its own prior"
        raise fail(f"model.priors.{key}", message, f"write model.priors.{term}: {{dist: Normal, mu: 0, sigma: 1}}")
    return key, prior


def sections_in(right: str) -> list[str]:
    """Return the sections that the terms of a formula's right side have; names in back-ticks are symbols."""
    return [name for name, pattern in _USED.items() if re.search(pattern, right)]


def prior_in(section: str, priors: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
    """Return the config key and the prior of a term in a section: that of the first of its names, or the default."""
    given = priors.get(section) or {DEFAULT: SECTIONS[section]}
    own = {plain(str(known)): str(known) for known in given}
    found = next((own[plain(name)] for name in names if plain(name) in own), DEFAULT)
    return f"model.priors.{section}.{found}", given.get(found, SECTIONS[section])


def numbers_of(prior: Mapping[str, Any], key: str, scale: NDArray[Any], data: xr.Dataset | None) -> dict[str, Any]:
    """Return a prior whose parameters are numbers: expressions of `term_scale`, and of the data, are evaluated.

    Parameters
    ----------
    prior
        The prior in the config.
    key
        Its config key.
    scale
        The natural scale of its coefficients: a number, or one per coefficient.
    data
        Data variables that an expression may use.

    Returns
    -------
    dict
        The same prior with numbers, or lists of one number per coefficient.

    Raises
    ------
    UserError
        For an expression that depends on anything else.
    """
    scope = Scope(data)
    scope.add("term_scale", constant(scale), replace=True)
    found: dict[str, Any] = {}
    for name, given in prior.items():
        if not isinstance(given, str) or name in ("dist", *_OPTIONS):
            found[name] = given
            continue
        value = read(given, scope, f"{key}.{name}")
        if value.known is None or value.shape not in ((), np.shape(scale)):
            raise fail(
                f"{key}.{name}", f"'{given}' must be a number", "the only name in priors of a regression is term_scale"
            )
        found[name] = np.asarray(value.known, dtype=float).tolist()
    return found


def as_vector(priors: Sequence[Mapping[str, Any]], sizes: Sequence[int]) -> dict[str, Any] | None:
    """Combine priors of several terms into one of a vector; None if their families differ.

    Parameters
    ----------
    priors
        Priors with numbers, or lists of them.
    sizes
        Number of coefficients of each.
    """
    first = priors[0]
    if any(p.keys() != first.keys() or p["dist"] != first["dist"] or set(p) & set(_OPTIONS) for p in priors):
        return None
    found: dict[str, Any] = {"dist": first["dist"]}
    for name in first:
        if name == "dist":
            continue
        whole: list[Any] = []
        for prior, size in zip(priors, sizes, strict=True):
            given = prior[name]
            if not (isinstance(given, list) or _is_number(given)):
                return None
            whole += given if isinstance(given, list) else [given] * size
        found[name] = whole[0] if all(value == whole[0] for value in whole) else whole
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
